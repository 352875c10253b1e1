"""The demo's only task. It works for a second, and leaves a line before and after."""

from __future__ import annotations

import os
import time

from django_tasks_db.models import TaskResultStatus

from argus_maint.demo.settings import FOLDER

if TaskResultStatus.__module__.startswith("django.tasks"):
    from django.tasks import task
else:
    from django_tasks import task  # type: ignore[no-redef]

LINES = FOLDER / "lines"


@task
def work(name: str, seconds: float) -> None:
    """Leave a line, work, and leave another: a run that was cut short has only the first."""
    _leave(f"begin {name}")
    time.sleep(seconds)
    _leave(f"end {name}")


def _leave(line: str) -> None:
    # One write in append mode: lines of several processes never mix.
    descriptor = os.open(LINES, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


def lines(kind: str) -> list[str]:
    """The names in the lines of one kind, ``begin`` or ``end``, in their order."""
    if not LINES.exists():
        return []
    pairs = (line.split() for line in LINES.read_text().splitlines())
    return [name for word, name in pairs if word == kind]
