"""Tasks that only the fault tests need."""

from __future__ import annotations

from tests import tasks
from tests.tasks import task


@task
def append_and_wait(path: str, text: str, go: str, seconds: float = 120) -> None:
    """Leave a line, run until the file ``go`` appears, and leave another."""
    tasks.append.func(path, text)
    tasks.wait_for.func(go, seconds)
    tasks.append.func(path, f"done-{text}")
