"""The job ``queues``: does every queue move?

``look`` reads what is READY and who takes it, and returns a report: figures for each
queue, and in ``problems`` what a person has to see. It changes nothing.

Options: ``backlog`` (1000 ready tasks), ``oldest_ready`` (15 minutes), ``unattended``
(2 minutes without a worker while a task waits), in seconds.

Event: ``queue.problem``, once a pass for each, with its ``code`` (``backlog``, ``old``,
``unattended``, or that of ``maint status``) and message.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from argus_maint.log import get_logger
from argus_maint.observe import status
from argus_maint.observe.screen import span
from argus_maint.observe.status import Queue, oldest_age

logger = get_logger(__name__)

BACKLOG = 1000
OLDEST_READY = 900.0
UNATTENDED = 120.0


def look(using: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """One pass."""
    seen = status.gather(using)
    host_now = seen.census.host_now
    problems = [
        {"code": code, "message": message}
        for queue in seen.queues
        for code, message in _problems(queue, host_now, options)
    ]
    # Whether a queue is served is judged here, with patience; the rest as the screen does.
    problems += [
        {"code": each.code, "message": each.message}
        for each in seen.problems
        if each.code not in ("unserved", "no_worker")
    ]
    for problem in problems:
        logger.warning("queue.problem", **problem)
    return {
        "queues": [
            {
                "backend": each.counts.backend_name,
                "queue": each.counts.queue_name,
                "ready": each.counts.ready,
                "running": each.counts.running,
                "oldest_ready": oldest_age(each.counts, host_now),
                "workers": each.workers,
            }
            for each in seen.queues
        ],
        "problems": problems,
    }


def _problems(
    queue: Queue, host_now: datetime, options: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    counts = queue.counts
    age = oldest_age(counts, host_now) or 0.0
    if counts.ready > options.get("backlog", BACKLOG):
        yield "backlog", f"{counts.ready:,} ready in {counts.queue_name}"
    if age > options.get("oldest_ready", OLDEST_READY):
        yield "old", f"a task of {counts.queue_name} has been ready for {span(age)}"
    if counts.ready and not queue.workers and age > options.get("unattended", UNATTENDED):
        message = f"{counts.ready:,} ready in {counts.queue_name}, no worker for {span(age)}"
        yield "unattended", message
