"""What a prune would delete: counted by status, queue and age, with an estimate of its time.

The count goes through the same steps in the same order as the prune does, in batches, and
so holds no snapshot open for long. The time is an estimate from one batch that is deleted
and rolled back, so it is measured on this very table; nothing is changed by it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django.db import IntegrityError, OperationalError, transaction

from argus_maint.backends.walk import Walk
from argus_maint.clock import now
from argus_maint.database import short_transaction
from argus_maint.jobs.expiry import Step, kind_of, steps
from argus_maint.jobs.pace import PATIENCE
from argus_maint.jobs.prune import Order

PAGE = 20_000  # rows counted in one statement
TRIAL = 500  # rows of the batch that is rolled back
GROUP = ("queue_name", "task_path", "exception_class_path")


@dataclass(slots=True)
class Group:
    """Tasks of one kind and queue that would go."""

    kind: str
    queue: str
    rows: int = 0
    oldest: Any = None  # finished_at
    newest: Any = None


@dataclass(slots=True)
class Plan:
    """All that would go."""

    groups: dict[tuple[str, str], Group] = field(default_factory=dict)
    seconds: float | None = None  # None: there is nothing to measure, or a lock was in the way

    @property
    def rows(self) -> int:
        """How many rows."""
        return sum(group.rows for group in self.groups.values())


def plan(order: Order) -> Plan:
    """Count, and estimate. Changes nothing."""
    made, rate = Plan(), None
    for step in steps(order.selection, order.using):
        walk = step.walk(order.using)
        if rate is None:
            rate = _trial(walk, step, order)
        for row in _counted(walk):
            _add(made, step, row)
    if rate is not None and made.rows:
        made.seconds = made.rows / rate / order.duty
    return made


def _counted(walk: Walk) -> Iterator[tuple[Any, ...]]:
    """(queue, path, exception, rows, oldest, newest), for each page anew."""
    more = True
    while more:
        edge = walk.edge(PAGE)
        yield from walk.count(GROUP, walk.batch(edge))
        more, walk.after = edge is not None, edge


def _add(made: Plan, step: Step, row: tuple[Any, ...]) -> None:
    queue, path, exception, rows, oldest, newest = row
    if not step.takes(queue, path, exception):
        return
    kind = kind_of(step.status, exception)
    group = made.groups.setdefault((kind, queue), Group(kind, queue))
    group.rows += rows
    group.oldest = oldest if group.oldest is None else min(group.oldest, oldest)
    group.newest = newest if group.newest is None else max(group.newest, newest)


def _trial(walk: Walk, step: Step, order: Order) -> float | None:
    """Rows a second, from one batch that is rolled back."""
    pieces = walk.batch(walk.edge(TRIAL))
    began = now()
    try:
        with short_transaction(order.using, PATIENCE):
            deleted = walk.delete(pieces)
            transaction.set_rollback(True, using=order.using)
    except (OperationalError, IntegrityError):
        return None
    # What passes through this process is read first, and that costs about as much again.
    share = 1.0 if step.chooses is None and order.archive is None else 0.5
    return share * deleted / max(now() - began, 1e-6) if deleted else None
