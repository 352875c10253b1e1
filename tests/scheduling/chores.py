"""What the jobs of these tests do; each leaves a line that tells of its run."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from argus_maint.models import Run


def note(path: str, job: str, seconds: float = 0.0) -> None:
    """Leave a line at the begin and one at the end: word, job, tick, attempt, pid."""
    run = Run.objects.get(running=job)
    about = f"{job} {run.tick.timestamp() if run.tick else 0:.0f} {run.attempt} {os.getpid()}"
    write(path, f"begin {about}")
    time.sleep(seconds)
    write(path, f"end {about}")


def first_long(path: str, job: str, seconds: float) -> None:
    """As ``note``; only what runs for the first time takes long."""
    run = Run.objects.get(running=job)
    note(path, job, seconds if run.attempt == 1 else 0.0)


def hang(path: str, job: str, go: str) -> None:
    """As ``note``, and stay until a file appears."""
    write(path, f"begin {job} {os.getpid()}")
    while not Path(go).exists():
        time.sleep(0.02)
    write(path, f"end {job} {os.getpid()}")


def fail(path: str, job: str) -> None:
    write(path, f"begin {job} {os.getpid()}")
    raise ZeroDivisionError("as asked")


def leave(path: str, job: str) -> None:
    """What no thread should do."""
    write(path, f"begin {job} {os.getpid()}")
    sys.exit(7)


def write(path: str, line: str) -> None:
    """One line, whole, whoever else writes."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)
