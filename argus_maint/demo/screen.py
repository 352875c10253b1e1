"""What the demo prints: one line an event, with the time since its start.

Colours on a terminal, plain text in a pipe. Lines are cut nowhere, so they can be copied.
"""

from __future__ import annotations

import time

from rich.console import Console
from rich.text import Text

STYLES = {
    "KILL": "bold white on red",
    "dead": "red",
    "rescued": "bold yellow",
    "again": "bold green",
    "ok": "green",
    "OFF": "bold red",
}


class Screen:
    """The terminal, or the pipe, and the clock that started with it."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, emoji=False)
        self.started = time.monotonic()

    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def heading(self, text: str) -> None:
        """A title with an empty line above it."""
        self.console.print()
        self.console.print(Text(text, "bold"), soft_wrap=True)

    def event(self, kind: str, text: str, at: float | None = None) -> None:
        """Something that happened."""
        when = self.elapsed() if at is None else at
        line = Text.assemble(
            (f"{when:6.2f} s  ", "dim"), (f"{kind:<8}", STYLES.get(kind, "cyan")), f" {text}"
        )
        self.console.print(line, soft_wrap=True)

    def check(self, good: bool, text: str) -> None:
        """One thing that was checked."""
        kind = "ok" if good else "OFF"
        self.console.print(Text.assemble((f"  {kind:<4}", STYLES[kind]), text), soft_wrap=True)

    def text(self, text: str) -> None:
        """The output of a program, as it is."""
        self.console.print(Text.from_ansi(text.rstrip("\n")), soft_wrap=True)

    def verdict(self, good: bool, text: str) -> None:
        """The last line."""
        self.console.print()
        self.console.print(Text(text, "bold green" if good else "bold red"), soft_wrap=True)
