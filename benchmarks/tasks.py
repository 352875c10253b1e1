"""Tasks for the benchmarks. They import nothing of argus_maint, so the stock worker can run them.

``append`` leaves lines in a file; when it is the ledger of a run, so does ``task_finished``:
that signal is sent once for every completion that counted.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from django_tasks_db.management.commands.db_worker import task_finished
from django_tasks_db.models import TaskResultStatus

if TaskResultStatus.__module__.startswith("django.tasks"):
    from django.tasks import task
else:
    from django_tasks import task  # type: ignore[no-redef]


@task
def nothing() -> None:
    """The cheapest task there is."""


@task
def append(path: str, text: str, seconds: float) -> None:
    """Leave a line, work, and leave another."""
    _line(path, f"begin {text} {os.getpid()}")
    time.sleep(seconds)
    _line(path, f"end {text} {os.getpid()}")


@task
def wait_for(path: str, seconds: float = 600) -> None:
    """Run until a file appears."""
    until = time.monotonic() + seconds
    while not Path(path).exists() and time.monotonic() < until:
        time.sleep(0.01)


def _line(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, text.encode() + b"\n")
    os.close(descriptor)


def _note_finished(sender: Any, task_result: Any, **kwargs: Any) -> None:
    if len(task_result.args) == 3:
        path, text, _ = task_result.args
        _line(path, f"{task_result.status.name} {text} {os.getpid()}")


task_finished.connect(_note_finished)
