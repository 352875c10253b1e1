"""One task backend with its real server and real workers, for the conformance suite.

Each backend that can be run here has a ``World``; the suite (``test_conformance``) asks all
of them the same, as far as their adapter supports it. The truth is what the tasks themselves
left behind, never what the backend or the adapter says of itself.
"""

from __future__ import annotations

import os
import signal
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from argus_maint.backends.adapters import adapters
from argus_maint.backends.adapters.base import Adapter, PruneOrder
from argus_maint.jobs import foreign
from argus_maint.jobs.errand import Errand
from argus_maint.models import LedgerEntry
from argus_maint.retention import Retention
from tests import tasks
from tests.lab import Lab, Supervised


class World(ABC):
    """``alias`` is that of the settings of these tests."""

    alias: str
    queue = "default"
    patience = 30.0  # seconds within which the tasks of a dead worker are found

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    @property
    def adapter(self) -> Adapter:
        """A new one each time, as each process and pass has."""
        return next(each for each in adapters("default") if each.alias == self.alias)

    def enqueue(self, task: Any, *arguments: Any) -> str:
        """The id of a task that was enqueued on this backend."""
        return str(task.using(backend=self.alias, queue_name=self.queue).enqueue(*arguments).id)

    def append(self, path: Path, text: str, seconds: float = 0) -> str:
        """Enqueue a task that leaves "begin" and "end" lines with its pid in a file."""
        return self.enqueue(tasks.append, str(path), text, seconds)

    @abstractmethod
    def worker(self, name: str = "") -> Supervised:
        """Start one real worker, as the backend's own documentation says, and wait for it."""

    @abstractmethod
    def status(self, task_id: str) -> str:
        """READY, RUNNING, SUCCESSFUL or FAILED, by the backend's own ``get_result``."""

    def errors(self, task_id: str) -> list[str]:
        """Class paths of what the task failed of, by the backend's own ``get_result``."""
        result = self.adapter.backend.get_result(task_id)
        return [each.exception_class_path for each in result.errors]

    def rescue(self) -> list[LedgerEntry]:
        """One pass over the tasks of dead workers, by the policies of the setting."""
        return foreign.make(Errand("default", "test", wait=False)).acts

    def prune(self, retention: Retention, **narrowed: Any) -> int:
        """How many tasks went that were past it; ``queues`` and ``pattern`` as in the order."""
        return self.adapter.prune(PruneOrder(retention, duty=1.0, **narrowed)).deleted.total()

    def kill(self, worker: Supervised) -> None:
        """SIGKILL to a worker and all that came from it."""
        worker.signal_tree(signal.SIGKILL)
        worker.process.wait(10)

    @abstractmethod
    def age(self, seconds: float) -> None:
        """Let what finished so far have finished so many seconds earlier."""


def lines(path: Path) -> list[str]:
    """What the tasks wrote."""
    return path.read_text().splitlines() if path.exists() else []


def began(path: Path, text: str) -> list[int]:
    """Pids of the processes in which a task of this text began."""
    return [int(line.split()[2]) for line in lines(path) if line.startswith(f"begin {text} ")]


def ended(path: Path, text: str) -> int:
    """How often a task of this text came to its end."""
    return sum(line.startswith(f"end {text} ") for line in lines(path))


def alive(pid: int) -> bool:
    """Whether a process is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
