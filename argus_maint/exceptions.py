"""What is recorded, or raised, when a task does not end by itself.

The first three name why a task is FAILED: their dotted path stands in the
``exception_class_path`` of its row, the evidence in its ``traceback``. They are
recorded, never raised, so a receiver of ``task_finished`` looks at
``task_result.errors[-1].exception_class``::

    from argus_maint.exceptions import TaskQuarantined

    @receiver(task_finished)
    def page_someone(sender, task_result, **kwargs):
        if task_result.errors and task_result.errors[-1].exception_class is TaskQuarantined:
            ...

Their paths are part of the public API: rows that outlive an upgrade hold them.
"""

from __future__ import annotations

from typing import Any


class WorkerLost(Exception):
    """The task's worker died, and its policy says ``on_lost: "fail"``.

    How far the task had come is unknown: its effects may or may not have happened.
    """


class TaskQuarantined(Exception):
    """The task is poison: it has lost its worker ``max_losses`` times.

    It is never retried by itself. Once its cause is found, ``maint requeue`` gives
    it a new start.
    """


class TaskDiscarded(Exception):
    """A person failed the task by hand, with ``maint fail``."""


class TaskOverdue(BaseException):
    """Raised inside a task that is being ended, so that its ``finally`` blocks run.

    The worker raises it when its supervisor ends an overdue task by policy
    (``on_overdue: "kill"``), or one that a person wants ended (``maint fail --kill``).
    Catching it does not save the task: the supervisor kills the worker shortly after, and
    the task is lost. It is no ``Exception``, so that ``except Exception`` does not swallow
    it by chance.
    """


class ArchiveError(Exception):
    """An archive cannot be written or read; the text says why, in one line."""


class JobError(Exception):
    """A job could not do all of its work. ``report`` says what it did do."""

    def __init__(self, message: str, report: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.report = report or {}


class Overlap(Exception):
    """A job is asked to run while it runs. ``run`` is that run, if it is still there."""

    def __init__(self, job: str, run: Any) -> None:
        where = f" on {run.host} since {run.started_at:%Y-%m-%d %H:%M:%S} UTC" if run else ""
        super().__init__(f"{job} is running{where}; it does not run twice at a time.")
        self.run = run


class JobStopped(Exception):
    """A job was asked to stop before its end: its process is going. The tick is run again."""


class HandedOver(Exception):
    """A job was put into the task queue; a worker goes on with its run."""

    def __init__(self, task_id: str) -> None:
        super().__init__(task_id)
        self.task_id = task_id
