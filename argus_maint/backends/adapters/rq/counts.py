"""How much is in a queue, alias by alias.

rq keeps one list for all who use a queue: several aliases of TASKS, and jobs that are no
tasks at all. Whose a job is stands in its ``meta``. Up to ``SAMPLE`` jobs of each kind are
looked at, and all are counted exactly; of more, the share among the first is taken for all.
"""

from __future__ import annotations

from argus_maint.backends.adapters.base import Queue
from argus_maint.backends.adapters.rq.records import Record, read, when
from argus_maint.backends.adapters.rq.server import Server, key, text
from argus_maint.backends.database import QueueCounts

SAMPLE = 500
# Registries, and what a job that is really in one is: its entry may outlive that.
REGISTRIES = {
    "scheduled": ("scheduled",),
    "wip": ("started", "queued"),
    "failed": ("failed", "stopped"),
    "finished": ("finished",),
}


def count(server: Server, alias: str, queue: str) -> Queue:
    """One queue of an alias."""
    pipeline = server.pipeline()
    pipeline.llen(key("queue", queue))
    pipeline.lrange(key("queue", queue), 0, SAMPLE - 1)
    for name in REGISTRIES:
        # Of the finished, those whose time is over are gone, though their entry is not.
        least = str(server.now()) if name == "finished" else "-inf"
        pipeline.zcount(key(name, queue), least, "+inf")
        pipeline.zrange(key(name, queue), 0, SAMPLE - 1, desc=name in ("failed", "finished"))
    total, head, *rest = pipeline.execute()
    first = [text(each) for each in head]
    mine = _mine(read(server, first), alias, ("queued", "deferred"))
    found = {}
    for number, (name, statuses) in enumerate(REGISTRIES.items()):
        entries = int(rest[2 * number])
        ids = [text(each).partition(":")[0] for each in rest[2 * number + 1]][:entries]
        found[name] = _share(entries, len(ids), len(_mine(read(server, ids), alias, statuses)))
    since = [each for each in (when(job.enqueued_at) for job in mine) if each is not None]
    ready = _share(int(total), len(first), len(mine))
    counts = QueueCounts(
        alias, queue, ready, found["scheduled"], found["wip"], min(since, default=None)
    )
    return Queue(counts, found["failed"], found["finished"])


def _mine(records: dict[str, Record], alias: str, statuses: tuple[str, ...]) -> list[Record]:
    return [job for job in records.values() if job.alias == alias and job.status in statuses]


def _share(total: int, looked_at: int, mine: int) -> int:
    """How many of all are the alias's, by those that were looked at."""
    if total <= looked_at or not looked_at:
        return mine
    return round(total * mine / looked_at)
