"""Filling in what the prose of a page has as code, ``like this``: commands, and values.

What stands in fences is left as it is. A value that would end its code is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from argus_maint.runbooks.calling import WRITTEN, Calling

_FENCE = re.compile(r"(^```.*?^`{3,}[ ]*$)", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"(?<!`)`([^`\n]+(?:\n[^`\n]+)*)`(?!`)")
_VALUE = re.compile(r'"\$([A-Z][A-Z0-9_]*)"|\$([A-Z][A-Z0-9_]*)\b')
_SPLIT = re.compile(r"\bpython\s+manage\.py\b")  # over two lines, where a paragraph was wrapped


def filled_prose(
    text: str, values: Mapping[str, str], calling: Calling | None, quoted: Callable[[str], str]
) -> str:
    """The text, with its code filled in; ``quoted`` makes a word of the shell of a value."""

    def value(found: re.Match[str]) -> str:
        known = values.get(found[1] or found[2])
        word = None if known is None else quoted(known)
        return found[0] if word is None or "`" in word else word

    def code(found: re.Match[str]) -> str:
        filled = _VALUE.sub(value, found[1])
        if calling is not None:
            filled = calling.filled(_SPLIT.sub(WRITTEN, filled))
        return f"`{filled}`"

    parts = _FENCE.split(text)  # prose and fences in turn
    parts[::2] = [_CODE.sub(code, part) for part in parts[::2]]
    return "".join(parts)
