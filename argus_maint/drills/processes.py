"""Processes that a play with faults starts, and how each of them is found and ended.

What is started carries a mark in its environment, and so does all that comes of it, also
what a pasted command left in the background. ``marked`` finds them, on Linux by /proc;
elsewhere only what was started directly is ended.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from argus_maint.clock import now
from argus_maint.workers.identity import Presence, presence

T = TypeVar("T")
PATIENCE = 20.0  # seconds for a process to end after SIGKILL
LOOK = 0.03  # seconds between two looks
PROC = Path("/proc")


class NotWithin(Exception):
    """Something did not come in time; says what."""


def until(condition: Callable[[], T], seconds: float, what: str) -> T:
    """Wait until ``condition()`` is true, and return its value. Raises NotWithin."""
    deadline = now() + seconds
    while not (value := condition()):
        if now() > deadline:
            raise NotWithin(f"not within {seconds:g} s: {what}")
        time.sleep(LOOK)
    return value


class Started:
    """A process in a session of its own; its output is in ``log``."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name, self.process, self.log = name, process, log

    @property
    def pid(self) -> int:
        """Its pid."""
        return self.process.pid

    def children(self) -> list[int]:
        """Pids of its children: the keeper and the workers. Empty where /proc is not Linux's."""
        try:
            text = (PROC / f"{self.pid}/task/{self.pid}/children").read_text()
        except OSError:
            return []
        return [int(word) for word in text.split()]

    def kill(self) -> None:
        """SIGKILL to it alone."""
        self.process.kill()

    def signal_all(self, number: int) -> None:
        """A signal to it and its children."""
        for pid in (self.pid, *self.children()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def stop(self, seconds: float = 45) -> int:
        """SIGTERM; its exit status."""
        self.process.terminate()
        return self.process.wait(seconds)

    def end(self) -> None:
        """SIGKILL to it and whatever of its session is left."""
        if self.process.poll() is None:
            # Not reaped yet, so the group is still its own.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            self.process.wait(PATIENCE)


def start(
    name: str, arguments: list[str], env: dict[str, str], folder: Path, cwd: Path | None = None
) -> Started:
    """Start it in a session of its own: Ctrl-C is for who plays, and that one ends it."""
    log = folder / f"{name}.log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            arguments,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Started(name, process, log)


def marked(name: str, value: str) -> list[int]:
    """Pids of all processes, but for this one, with that variable in their environment."""
    wanted, found = f"{name}={value}".encode(), []
    for path in PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # gone meanwhile, or another's
            if wanted in (path / "environ").read_bytes().split(b"\0"):
                found.append(int(path.name))
    return [pid for pid in found if pid != os.getpid()]


def end_marked(name: str, value: str) -> None:
    """SIGKILL to all of them, until none is left. Raises NotWithin."""

    def none_left() -> bool:
        pids = [pid for pid in marked(name, value) if alive(pid)]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not pids

    until(none_left, PATIENCE, "the end of what was started")


def remove(folder: Path) -> None:
    """Remove a folder. A file may still come from a process that is just being ended."""
    for _ in range(50):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie, which nobody may be there to collect."""
    return presence(pid, "") is not Presence.GONE
