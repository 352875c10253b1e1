"""Whether a command printed what its page says, and where it first did not.

``...`` in a line of the page stands for any text, and as a line for any number of lines.
``$NAME`` stands for that value, letter by letter. Spaces at the end of a line, and empty
lines at the end, do not count.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from argus_maint.runbooks.variables import IN_TEXT

ANYTHING = "..."
NOTHING = ""  # where the output, or what the page says, has ended
_PARTS = re.compile(rf"{re.escape(ANYTHING)}|{IN_TEXT.pattern}")


@dataclass(frozen=True, slots=True)
class Difference:
    """The first place where output and page part.

    Attributes:
        at: which of the page's lines, from 0; their number where the output goes on.
        expected: that line; empty where the page has no more.
        got: the line that came; empty where no more came.
    """

    at: int
    expected: str
    got: str


def difference(
    expected: Sequence[str], output: Sequence[str], values: Mapping[str, str]
) -> Difference | None:
    """None where the output is what the page says."""
    got = [line.rstrip() for line in output]
    while got and not got[-1]:
        got.pop()
    patterns = [None if line.strip() == ANYTHING else _pieces(line, values) for line in expected]
    # As with * in file names: what fails after a "..." is tried again one line further on.
    want = have = 0
    back: tuple[int, int] | None = None
    furthest = (-1, 0)
    while have < len(got) or want < len(patterns):
        pattern = patterns[want] if want < len(patterns) else []
        if pattern is None:
            want += 1
            back = (want, have)
        elif pattern and have < len(got) and _matches(pattern, got[have]):
            want, have = want + 1, have + 1
        else:
            furthest = max(furthest, (want, have), key=lambda place: place[0])
            if back is None or back[1] >= len(got):
                return _difference(expected, got, *furthest)
            want, have = back = (back[0], back[1] + 1)
    return None


def _difference(expected: Sequence[str], got: Sequence[str], want: int, have: int) -> Difference:
    return Difference(
        want,
        expected[want] if want < len(expected) else NOTHING,
        got[have] if have < len(got) else NOTHING,
    )


def _pieces(line: str, values: Mapping[str, str]) -> list[str]:
    """The literal texts of a line, between which anything may stand."""
    pieces, at = [""], 0
    for found in _PARTS.finditer(line):
        pieces[-1] += line[at : found.start()]
        at = found.end()
        value = values.get(found[1], "") if found[1] else ""
        if value.isprintable() and value:
            pieces[-1] += value
        else:  # "...", a value that nobody knows, or one that is shown otherwise than it is
            pieces.append("")
    pieces[-1] += line[at:]
    return pieces


def _matches(pieces: list[str], text: str) -> bool:
    first, last = pieces[0], pieces[-1]
    if len(pieces) == 1:
        return text == first
    if not text.startswith(first) or not text.endswith(last) or len(text) < len(first + last):
        return False
    at, end = len(first), len(text) - len(last)
    for piece in pieces[1:-1]:
        found = text.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True
