"""Scheduled tasks that nobody puts into their queue.

rq puts them there from a process that ``rqworker --with-scheduler`` starts, one for a queue,
which holds a lock meanwhile. Where none runs, a task that is due waits for ever. Using it::

    for each in adapter.overdue_scheduled():
        print(each.task_id, each.due_at)
    adapter.enqueue_overdue()

To enqueue, the same lock is taken: a scheduler that starts meanwhile waits, and where one
runs nothing is done. Each task leaves the registry and enters its queue in one step.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timezone

from argus_maint.backends.adapters.rq.acts import scheduler_runs, stamp_of
from argus_maint.backends.adapters.rq.records import read
from argus_maint.backends.adapters.rq.server import Server, key, stopwatch, text

GRACE = 60.0  # seconds after which a task that is due is overdue
MOST = 200  # a pass, of each queue
LOCK_SECONDS = 65  # as rq's scheduler takes it for

_ENQUEUE = """
local job, scheduled, queue, queues, lock = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local id, until_, stamp, holder = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
if redis.call('GET', lock) ~= holder then return 0 end
local score = redis.call('ZSCORE', scheduled, id)
if not score or tonumber(score) > until_ then return 0 end
if redis.call('HGET', job, 'status') ~= 'scheduled' then return 0 end
redis.call('ZREM', scheduled, id)
redis.call('HSET', job, 'status', 'queued', 'enqueued_at', stamp)
redis.call('SADD', queues, queue)
redis.call('RPUSH', queue, id)
return 1
"""
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end"


@dataclass(frozen=True, slots=True)
class Overdue:
    """A scheduled task that is due. ``scheduler``: one runs, and has not come to it."""

    task_id: str
    task_path: str
    queue_name: str
    due_at: datetime
    scheduler: bool


def overdue(server: Server, alias: str, queue: str, grace: float = GRACE) -> list[Overdue]:
    """Those of a queue that have been due for ``grace`` seconds, the oldest first."""
    latest = server.now() - grace
    rows = server.client.zrange(
        key("scheduled", queue), "-inf", latest, byscore=True, offset=0, num=MOST, withscores=True
    )
    due = {text(job_id): float(score) for job_id, score in rows}
    jobs = read(server, list(due))
    runs = scheduler_runs(server, queue) if due else False
    return [
        Overdue(job_id, jobs[job_id].path, queue, datetime.fromtimestamp(score, timezone.utc), runs)
        for job_id, score in due.items()
        if job_id in jobs and jobs[job_id].alias == alias and jobs[job_id].status == "scheduled"
    ]


def enqueue(server: Server, alias: str, queue: str, grace: float = 0.0) -> int:
    """Put those that are due into their queue, where no scheduler does; how many."""
    late = overdue(server, alias, queue, grace)
    lock, holder = key("scheduler-lock", queue), f"argus-maint-{secrets.token_hex(8)}"
    if not late or not server.client.set(lock, holder, nx=True, ex=LOCK_SECONDS):
        return 0
    done, began = 0, stopwatch()
    try:
        for each in late:
            if stopwatch() - began > LOCK_SECONDS / 2:
                break
            keys = [key("job", each.task_id), key("scheduled", queue), key("queue", queue)]
            keys += [key("queues"), lock]
            now = server.now()
            values = [each.task_id, now, stamp_of(now), holder]
            done += int(server.client.eval(_ENQUEUE, len(keys), *keys, *values) or 0)
    finally:
        server.client.eval(_RELEASE, 1, lock, holder)
    return done
