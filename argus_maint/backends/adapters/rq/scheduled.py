"""Scheduled tasks that nobody puts into their queue.

rq puts them there from a process that ``rqworker --with-scheduler`` starts, one for a queue,
which holds a lock meanwhile. Where none runs, a task that is due waits for ever, unless
``enqueue`` puts it there.

To enqueue, the same lock is taken: a scheduler that starts meanwhile waits, and where one
runs nothing is done. Each task leaves the registry and enters its queue in one step.
"""

from __future__ import annotations

import secrets

from argus_maint.backends.adapters.rq.acts import stamp_of
from argus_maint.backends.adapters.rq.records import read
from argus_maint.backends.adapters.rq.server import Server, key, stopwatch, text

MOST = 200  # a pass, of each queue
LOOKED = 10_000  # jobs of anybody's that are looked at for them
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


def enqueue(server: Server, alias: str, queue: str) -> int:
    """Put those that are due into their queue, where no scheduler does; how many."""
    late = _due(server, alias, queue)
    lock, holder = key("scheduler-lock", queue), f"argus-maint-{secrets.token_hex(8)}"
    if not late or not server.client.set(lock, holder, nx=True, ex=LOCK_SECONDS):
        return 0
    done, began = 0, stopwatch()
    try:
        for each in late:
            if stopwatch() - began > LOCK_SECONDS / 2:
                break
            keys = [key("job", each), key("scheduled", queue), key("queue", queue)]
            keys += [key("queues"), lock]
            now = server.now()
            values = [each, now, stamp_of(now), holder]
            done += int(server.client.eval(_ENQUEUE, len(keys), *keys, *values) or 0)
    finally:
        server.client.eval(_RELEASE, 1, lock, holder)
    return done


def _due(server: Server, alias: str, queue: str) -> list[str]:
    """Ids of the alias's tasks that are due, the oldest first; others may stand between."""
    registry, now, found = key("scheduled", queue), server.now(), []
    for at in range(0, LOOKED, MOST):
        rows = server.client.zrange(registry, "-inf", now, byscore=True, offset=at, num=MOST)
        ids = [text(each) for each in rows]
        jobs = read(server, ids)
        found += [
            each
            for each in ids
            if each in jobs and jobs[each].alias == alias and jobs[each].status == "scheduled"
        ]
        if len(found) >= MOST or len(ids) < MOST:
            break
    return found[:MOST]
