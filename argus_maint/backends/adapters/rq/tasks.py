"""Tasks as a person asks for them: those of one status, and one by its id."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timezone

from argus_maint.backends.adapters.base import Task
from argus_maint.backends.adapters.rq.losses import Look, Token
from argus_maint.backends.adapters.rq.records import Record, read, read_newest, when
from argus_maint.backends.adapters.rq.server import Server, key, text
from argus_maint.backends.database import FAILED, READY, RUNNING, SUCCESSFUL

# As django-tasks-rq has it; canceled and stopped are ends that a person brought about.
STATUS = {
    "queued": READY,
    "scheduled": READY,
    "started": RUNNING,
    "failed": FAILED,
    "stopped": FAILED,
    "canceled": FAILED,
    "finished": SUCCESSFUL,
}
# What an act must find: where the job stands now.
_KIND = {"queued": "queued", "scheduled": "scheduled", "started": "started"}
PAGE = 500
LOOKED = 10_000  # jobs of a queue that are looked at, or as many as are wanted: some are others'


def listed(look: Look, queue: str, status: str, most: int) -> list[Task]:
    """At most so many of one queue, in the order that ``Adapter.tasks`` has them in."""
    found: list[Task] = []
    for ids in _pages(look.server, queue, status, max(LOOKED, most)):
        found += _tasks(look, ids, status)
        if len(found) >= most:
            break
    return found[:most]


def in_order(tasks: Iterable[Task], status: str) -> list[Task]:
    """Those of several queues: the newest of the finished first, else the longest waiting."""
    newest_first = status in (FAILED, SUCCESSFUL)
    never = datetime.min if newest_first else datetime.max
    last = never.replace(tzinfo=timezone.utc)
    return sorted(tasks, key=lambda each: each.since or last, reverse=newest_first)


def one(look: Look, job_id: str) -> Task | None:
    """One of any status."""
    return next(iter(_tasks(look, [job_id])), None)


def _tasks(look: Look, ids: Sequence[str], status: str = "") -> list[Task]:
    jobs = [
        each
        for each in read(look.server, ids).values()
        if each.alias == look.alias
        and each.status in STATUS
        and not each.limited
        and status in ("", STATUS[each.status])
    ]
    newest = read_newest(look.server, [each.job_id for each in jobs])
    due = _due(look.server, [each for each in jobs if each.status == "scheduled"])
    found = []
    for job in jobs:
        token = Token(_KIND.get(job.status, "failed"), job, newest[job.job_id])
        error, said = "", ""
        if STATUS[job.status] == FAILED:
            error, said = (job.errors or [""])[-1], token.newest.said
        since = due.get(job.job_id) or when(_since(job))
        found.append(Task(look.asked_for(token), STATUS[job.status], since, error, said))
    return found


def _since(job: Record) -> str:
    started = job.started_at if job.status == "started" else ""
    return job.ended_at or started or job.enqueued_at


def _due(server: Server, jobs: Sequence[Record]) -> dict[str, datetime]:
    pipeline = server.pipeline()
    for job in jobs:
        pipeline.zscore(key("scheduled", job.queue), job.job_id)
    scores = pipeline.execute() if jobs else []
    return {
        job.job_id: datetime.fromtimestamp(score, timezone.utc)
        for job, score in zip(jobs, scores, strict=True)
        if score is not None
    }


def _pages(server: Server, queue: str, status: str, most: int) -> Iterator[list[str]]:
    """Ids where jobs of this status are kept, a page at a time, up to so many."""
    client = server.client
    for place in _PLACES[status]:
        name = key("queue", queue) if place == "queue" else key(place, queue)
        for at in range(0, most, PAGE):
            if place == "queue":
                page = client.lrange(name, at, at + PAGE - 1)
            else:
                newest_first = status in (FAILED, SUCCESSFUL)
                page = client.zrange(name, at, at + PAGE - 1, desc=newest_first)
            yield list(_ids(page, execution=place == "wip"))
            if len(page) < PAGE:
                break


def _ids(page: Iterable[bytes], *, execution: bool) -> Iterator[str]:
    for each in dict.fromkeys(text(found) for found in page):
        yield each.rpartition(":")[0] if execution else each


_PLACES = {
    READY: ("queue", "scheduled"),
    RUNNING: ("wip",),
    FAILED: ("failed", "canceled"),
    SUCCESSFUL: ("finished",),
}
