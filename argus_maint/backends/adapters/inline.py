"""Django's own backends: tasks that run at once, and tasks that are only noted down.

Of ``django.tasks`` and of the backport alike. Nothing of theirs can be lost but the process
itself, and nothing is kept that could be pruned.
"""

from __future__ import annotations

from argus_maint.backends.adapters.base import CAPABILITIES, Adapter


class Immediate(Adapter):
    """``ImmediateBackend``: a task runs where it is enqueued, before ``enqueue`` returns."""

    name = "immediate"
    why_not = dict.fromkeys(CAPABILITIES, "nothing to do: a task runs while it is enqueued")

    def warnings(self) -> list[str]:
        """It is no queue."""
        return [
            "ImmediateBackend runs each task inside the request that enqueues it: there is no "
            "queue, and a request that is killed takes its tasks with it"
        ]


class Dummy(Adapter):
    """``DummyBackend``: a task is noted down in memory and never run."""

    name = "dummy"
    why_not = dict.fromkeys(CAPABILITIES, "nothing to do: no task is ever run")

    def warnings(self) -> list[str]:
        """It runs nothing."""
        return ["DummyBackend never runs a task: it is meant for tests"]
