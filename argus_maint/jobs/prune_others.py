"""Prune on task backends that keep their tasks elsewhere than in the task table.

``prune_others(order, go_on)`` deletes, on every alias whose adapter can, what is past the
order's retention, with the order's pace. Each alias has a ``Done``: what was deleted, or why
nothing was. Only tasks of the table can be archived or counted against ``max_rows``, so with
either nothing is deleted elsewhere; that is said too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from argus_maint.backends.adapters import elsewhere
from argus_maint.backends.adapters.base import (
    Adapter,
    Pruned,
    PruneOrder,
    Unreachable,
    in_one_line,
)
from argus_maint.exceptions import JobStopped
from argus_maint.jobs.prune import Order
from argus_maint.log import get_logger

logger = get_logger(__name__)


@dataclass(slots=True)
class Done:
    """What became of one alias. ``left_alone`` is a reason, ``trouble`` a failure."""

    alias: str
    pruned: Pruned = field(default_factory=Pruned)
    left_alone: str = ""
    trouble: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        made = self.pruned
        return {
            "backend": self.alias,
            "deleted": dict(made.deleted),
            "seconds": round(made.seconds, 3),
            "worst_step": round(made.worst, 4),
            "stopped": made.stopped or None,
            "left_alone": self.left_alone or None,
            "trouble": self.trouble or None,
        }


def prune_others(
    order: Order, go_on: Callable[[], object] = lambda: None, *, dry_run: bool = False
) -> list[Done]:
    """One pass over them; ``go_on`` may raise JobStopped to stop it."""
    return [
        _one(adapter, order, go_on, dry_run=dry_run)
        for adapter in elsewhere(order.using, order.selection.backend, "prune")
    ]


def _one(adapter: Adapter, order: Order, go_on: Callable[[], object], *, dry_run: bool) -> Done:
    done = Done(adapter.alias)
    if order.archive is not None:
        done.left_alone = "only tasks of the task table can be archived"
    elif order.max_rows is not None:
        done.left_alone = "only rows of the task table are counted"
    if done.left_alone:
        return done
    selection = order.selection
    wish = PruneOrder(
        selection.retention,
        dry_run,
        selection.queues,
        selection.pattern,
        order.target,
        order.duty,
        order.max_seconds,
        go_on,
    )
    try:
        done.pruned = adapter.prune(wish)
    except JobStopped:
        raise
    except Exception as error:
        done.trouble = in_one_line(error)
        if not isinstance(error, Unreachable):
            logger.exception("prune.error", backend=adapter.alias)
    return done
