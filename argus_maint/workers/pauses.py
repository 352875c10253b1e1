"""Paused queues and drained workers: which pauses hold now, as a claim asks it.

A claim asks in its own statement, so one that begins after the commit of a pause takes
nothing of that queue. ``until`` is judged by the database's clock; a pause that is past it
holds no more, whether or not anybody has removed its row.
"""

from __future__ import annotations

from typing import Any

from django.db.models import Exists, Q, QuerySet

from argus_maint.dbtime import DbNow
from argus_maint.models import Pause


def holding(using: str) -> QuerySet[Pause]:
    """Pauses that hold now."""
    return Pause.objects.using(using).filter(Q(until=None) | Q(until__gt=DbNow()))


def live(using: str) -> list[Pause]:
    """Pauses that hold now: queues first, then drained workers, each by name."""
    return list(holding(using).order_by("worker", "backend_name", "queue_name"))


def paused_queues(backend_name: str, using: str) -> QuerySet[Pause, Any]:
    """Names of the paused queues of a backend, for a subquery."""
    return holding(using).filter(backend_name=backend_name, worker="").values("queue_name")


def drained(worker: str, using: str) -> Exists:
    """Whether the supervisor of this name is drained, for a WHERE clause."""
    return Exists(holding(using).filter(worker=worker))
