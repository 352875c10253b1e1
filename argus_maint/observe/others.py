"""Aliases of TASKS that keep their tasks elsewhere: their queues and workers, as they say.

A backend that does not answer is named by its ``trouble``; the others are shown all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from argus_maint.backends import adapters
from argus_maint.backends.adapters.base import Adapter, Queue, Unreachable, Worker, in_one_line
from argus_maint.backends.adapters.generic import Broken
from argus_maint.log import get_logger
from argus_maint.observe.history import iso

logger = get_logger(__name__)


@dataclass(slots=True)
class Other:
    """One alias in one look."""

    alias: str
    name: str
    start_command: Callable[..., str] = lambda *queues: ""
    queues: list[Queue] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)
    trouble: str = ""
    usable: bool = True  # False: not even its class can be used, which a system check says too

    def takers(self, queue: str) -> int:
        """Workers that take from a queue, as far as nobody knows them to be dead."""
        alive = [each for each in self.workers if each.alive is not False]
        return sum(not each.queues or queue in each.queues for each in alive)

    def as_dict(self) -> dict[str, Any]:
        """The JSON form, without its queues: those stand with the others."""
        return {
            "backend": self.alias,
            "adapter": self.name,
            "trouble": self.trouble,
            "workers": [
                {
                    "name": each.name,
                    "host": each.host,
                    "pid": each.pid,
                    "queues": list(each.queues),
                    "seen_at": iso(each.seen_at),
                    "alive": each.alive,
                    "evidence": each.evidence,
                    "task": each.task or None,
                }
                for each in self.workers
            ],
        }


def look(using: str, backend: str = "") -> list[Other]:
    """Every alias that has something to show; ``backend`` leaves out all others."""
    found = [each for each in adapters.adapters(using) if backend in ("", each.alias)]
    return [_one(each) for each in found if _is_shown(each)]


def named(others: Iterable[Other], alias: str) -> Other | None:
    """The one of this alias, if it is one of them."""
    return next((each for each in others if each.alias == alias), None)


def _is_shown(adapter: Adapter) -> bool:
    if adapter.in_task_table:
        return False
    return adapter.supports_stats or adapter.supports_liveness or isinstance(adapter, Broken)


def _one(adapter: Adapter) -> Other:
    other = Other(adapter.alias, adapter.name, adapter.start_command)
    if isinstance(adapter, Broken):
        other.usable, other.trouble = False, adapter.trouble
        return other
    try:
        other.queues = adapter.queues() if adapter.supports_stats else []
        other.workers = adapter.workers() if adapter.supports_liveness else []
    except Exception as error:  # a site's own adapter, or a library's surprise
        other.trouble = in_one_line(error)
        if not isinstance(error, Unreachable):
            logger.exception("backend.error", backend=adapter.alias)
    return other
