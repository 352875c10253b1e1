"""Text of the code as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_CODE = re.compile(r"(`[^`\n]+`)")
_SPECIAL = re.compile(r"([\\*_\[\]<>|#])")


def prose(text: str) -> str:
    """Plain text on one line, so that Markdown changes nothing in it but code in backticks."""
    parts = _CODE.split(re.sub(r"``([^`]+)``", r"`\1`", " ".join(text.split())))
    return "".join(part if _CODE.fullmatch(part) else _SPECIAL.sub(r"\\\1", part) for part in parts)


def code(text: str) -> str:
    """Code on one line, also in a cell of a table."""
    return f"`{text}`"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a pipe in a cell is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return re.sub(r"(?<!\\)\|", r"\\|", text)


def block(text: str, language: str = "text") -> str:
    """A block of code."""
    return f"```{language}\n{text}\n```"


def page(*parts: str) -> str:
    """Parts of a page, with a line between them; empty ones are left out."""
    return "\n\n".join(part for part in parts if part) + "\n"
