"""Our lines in a crontab that is somebody else's: found, put in, taken out.

Using it::

    block = find(crontab, "argus-maint")          # None, where there is none
    put(crontab, "argus-maint", lines)            # the crontab with our lines in it
    take_out(crontab, "argus-maint")              # and without

A crontab is bytes, for it may be in any encoding. What is outside the markers stays byte
for byte.

Raises ``Damaged``, which names the line, where the markers are not one pair in order.
"""

from __future__ import annotations

from dataclasses import dataclass

BEGIN = "# BEGIN argus_maint {name}: made by manage.py maint crontab --install; do not edit"
END = "# END argus_maint {name}"


class Damaged(ValueError):
    """Markers without their other half; the message is one line."""


@dataclass(frozen=True, slots=True)
class Block:
    """Where our lines are, markers included, and what they say without them."""

    begin: int
    end: int
    lines: bytes


def markers(name: str) -> tuple[bytes, bytes]:
    """First and last line."""
    return BEGIN.format(name=name).encode(), END.format(name=name).encode()


def find(crontab: bytes, name: str) -> Block | None:
    """Our block. What follows the name in the first marker may be of another version."""
    first, last = (marker.partition(b":")[0] for marker in markers(name))
    begin: tuple[int, int, int] | None = None
    found: Block | None = None
    at = 0
    for number, line in enumerate(crontab.splitlines(keepends=True), 1):
        text = line.rstrip()
        if text == first or text.startswith(first + b":"):
            if begin or found:
                raise Damaged(f"line {number} of the crontab begins our lines a second time")
            begin = (number, at, at + len(line))
        elif text == last:
            if not begin or found:
                raise Damaged(f"line {number} of the crontab ends what has not begun")
            found = Block(begin[1], at + len(line), crontab[begin[2] : at])
        at += len(line)
    if begin and not found:
        raise Damaged(f"line {begin[0]} of the crontab begins our lines, and nothing ends them")
    return found


def put(crontab: bytes, name: str, lines: str) -> bytes:
    """With these lines: where ours were, else at the end."""
    first, last = markers(name)
    block = first + b"\n" + lines.encode() + last + b"\n"
    if old := find(crontab, name):
        return crontab[: old.begin] + block + crontab[old.end :]
    gap = b"\n" if crontab and not crontab.endswith(b"\n") else b""
    return crontab + gap + block


def take_out(crontab: bytes, name: str) -> bytes:
    """Without our lines and their markers."""
    if old := find(crontab, name):
        return crontab[: old.begin] + crontab[old.end :]
    return crontab
