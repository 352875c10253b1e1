"""What a job says, as every database can hold it.

``plain(value)`` turns a report, or a text, into what JSON has. Of a text it replaces what one
database or another refuses: a NUL byte, and half of a pair of surrogates. A run whose end
is refused would be under way, and in the way of its job, until its process ends.
"""

from __future__ import annotations

import json
from typing import Any


def plain(value: Any) -> Any:
    """The value; what JSON cannot hold becomes text, and so does a number that is none."""
    return _readable(json.loads(json.dumps(value, default=str), parse_constant=str))


def _readable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
    if isinstance(value, list):
        return [_readable(each) for each in value]
    if isinstance(value, dict):
        return {_readable(key): _readable(each) for key, each in value.items()}
    return value
