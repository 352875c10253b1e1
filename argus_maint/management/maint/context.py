"""What a subcommand works with: the database, two screens, and a person or none."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from argus_maint.observe.screen import Cell, Screen
from argus_maint.options import did_you_mean

INTERRUPTED = 130  # exit status


@dataclass(frozen=True, slots=True)
class Context:
    """Where a subcommand reads and writes."""

    using: str
    out: Screen
    err: Screen

    def show(self, lines: Iterable[Cell]) -> None:
        """Print lines for a person."""
        self.out.show(lines)

    def json(self, value: dict[str, Any], *, compact: bool = False) -> None:
        """Print one JSON document: on one line where more may follow."""
        self.out.out.write(json.dumps(value, indent=None if compact else 2) + "\n")
        self.out.out.flush()

    def note(self, line: Cell) -> None:
        """Say something beside the output."""
        self.err.show([line])

    def can_ask(self) -> bool:
        """Whether a person sits at both ends."""
        return self.err.terminal and sys.stdin is not None and sys.stdin.isatty()

    def confirmed(self, question: str) -> bool:
        """Ask; anything but yes is no."""
        self.err.out.write(f"{question} [y/N] ")
        self.err.out.flush()
        answer = sys.stdin.readline().strip().lower()
        return answer in ("y", "yes")


def known_backend(alias: str | None) -> str:
    """The alias, if the setting TASKS has it; empty for none."""
    aliases = getattr(settings, "TASKS", None) or {"default": {}}
    if alias and alias not in aliases:
        known = ", ".join(sorted(aliases))
        raise CommandError(
            f"TASKS has no backend {alias!r}.{did_you_mean(alias, aliases)} It has: {known}.",
            returncode=2,
        )
    return alias or ""


@contextmanager
def term_is_an_interrupt() -> Generator[None, None, None]:
    """SIGTERM unwinds the stack like Ctrl-C, so that ``finally`` blocks run."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
