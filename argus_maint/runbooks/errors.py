"""What is wrong with a page: always with the file and the line at fault."""

from __future__ import annotations

from pathlib import Path


class PageError(Exception):
    """A page cannot be used. ``str()`` is one line, ``file:line: what would be right``."""

    def __init__(self, path: Path, line: int, message: str) -> None:
        super().__init__(f"{path}:{line}: {message}")
        self.path, self.line, self.message = path, line, message
