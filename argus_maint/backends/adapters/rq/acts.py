"""Changing one task: each act is one script on the server, and finds the task as it was read
or does nothing. Of two callers at once, one finds it so.

No act is fenced: rq's worker writes the end of a job whoever owns it by now.
"""

from __future__ import annotations

import math
from datetime import datetime, timezone
from typing import Any

from argus_maint.backends.adapters.base import Lost
from argus_maint.backends.adapters.rq.losses import Token
from argus_maint.backends.adapters.rq.records import EARLIER, ERRORS, packed
from argus_maint.backends.adapters.rq.server import Server, key

FAILURE_SECONDS = 365 * 86400  # rq's default for how long a failed job is kept
ABANDONED_CLASS = "rq.exceptions.AbandonedJobError"

# KEYS and the first of ARGV are those of _arguments.
_FOUND = """
local job, wip, failed, results, taken, execution, executions, workers =
    KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local queue, scheduled, canceled = KEYS[9], KEYS[10], KEYS[11]
local kind, id, member = ARGV[1], ARGV[2], ARGV[6]
local now = redis.call('HMGET', job, 'status', 'meta', 'started_at', 'enqueued_at')
if now[1] ~= ARGV[3] or (now[2] or '') ~= ARGV[4] or (now[3] or '') ~= ARGV[5]
    or (now[4] or '') ~= ARGV[8] then return 0 end
local last = redis.call('XREVRANGE', results, '+', '-', 'COUNT', 1)
if (last[1] and last[1][1] or '') ~= ARGV[7] then return 0 end
-- An execution that lives has it, whatever rq has written since.
local stem = string.sub(execution, 1, #execution - #member + #id + 1)
local known = redis.call('ZRANGE', executions, 0, -1)
for _, each in ipairs(known) do
  if redis.call('EXISTS', stem .. each) == 1 then return 0 end
end
if kind == 'started' then
  if not redis.call('ZSCORE', wip, member) or redis.call('EXISTS', execution) == 1
      or redis.call('LPOS', taken, id) then
    return 0
  end
elseif kind == 'failed' then
  -- Somebody has put it back, and rq was late to say that it has failed.
  if redis.call('LPOS', queue, id) or redis.call('LPOS', taken, id) then return 0 end
elseif kind == 'taken' then
  if redis.call('EXISTS', executions) == 1 or not redis.call('LPOS', taken, id) then return 0 end
elseif kind == 'queued' then
  if redis.call('LREM', queue, 0, id) == 0 then return 0 end
elseif kind == 'scheduled' then
  if redis.call('ZREM', scheduled, id) == 0 then return 0 end
end
redis.call('ZREM', wip, member)
for _, each in ipairs(known) do redis.call('ZREM', wip, id .. ':' .. each) end
local until_ = redis.call('ZSCORE', failed, id)
redis.call('ZREM', failed, id)
redis.call('ZREM', canceled, id)
redis.call('LREM', taken, 1, id)
redis.call('SREM', workers, member)
redis.call('UNLINK', execution, executions)
"""

_REQUEUE = (
    _FOUND
    + """
local queues, earlier = KEYS[12], ARGV[9]
local meta, stamp, due = ARGV[10], ARGV[11], ARGV[12]
-- django-tasks-rq takes the return value from the oldest result: none may be left over.
local attempts = redis.call('XLEN', results)
if kind ~= 'failed' then attempts = attempts + 1 end
redis.call('UNLINK', results)
redis.call('HINCRBY', job, earlier, attempts)
redis.call('PERSIST', job)
redis.call('HSET', job, 'meta', meta, 'enqueued_at', stamp, 'started_at', '', 'ended_at', '',
    'worker_name', '', 'last_heartbeat', '')
redis.call('HDEL', job, 'exc_info', 'result')
redis.call('SADD', queues, queue)
if due == '' then
  redis.call('HSET', job, 'status', 'queued')
  redis.call('RPUSH', queue, id)
else
  redis.call('HSET', job, 'status', 'scheduled')
  redis.call('ZADD', scheduled, due, id)
end
return 1
"""
)

_FAIL = (
    _FOUND
    + """
local meta, stamp, worker, said, ttl, score =
    ARGV[9], ARGV[10], ARGV[11], ARGV[12], tonumber(ARGV[13]), ARGV[14]
if kind == 'failed' and ARGV[7] ~= '' then redis.call('XDEL', results, ARGV[7]) end
redis.call('XADD', results, '*', 'type', '2', 'worker_name', worker, 'exc_string', said)
redis.call('HSET', job, 'meta', meta, 'status', 'failed')
if kind == 'failed' and until_ then -- it failed when it did, and is kept as long
  redis.call('ZADD', failed, until_, id)
  return 1
end
redis.call('HSET', job, 'ended_at', stamp)
redis.call('ZADD', failed, score, id)
for _, each in ipairs({job, results}) do
  if ttl < 0 then redis.call('PERSIST', each) else redis.call('EXPIRE', each, ttl) end
end
return 1
"""
)


def scheduler_runs(server: Server, queue: str) -> bool:
    """Whether some ``rqworker --with-scheduler`` holds the lock of this queue."""
    return bool(server.client.exists(key("scheduler-lock", queue)))


def requeue(server: Server, lost: Lost, delay: float) -> bool:
    """Make it ready, or scheduled ``delay`` seconds from now where that is more than 0."""
    token: Token = lost.token
    keys, found = _arguments(token)
    keys.append(key("queues"))
    due = str(math.ceil(server.now() + delay)) if delay > 0 else ""
    meta = {name: value for name, value in token.record.meta.items() if name != ERRORS}
    values = [EARLIER, server.serializer.dumps(meta), stamp_of(server.now()), due]
    return bool(server.client.eval(_REQUEUE, len(keys), *keys, *found, *values))


def fail(server: Server, lost: Lost, error: type[Exception], evidence: str) -> bool:
    """Fail it with this class; the evidence is its traceback."""
    token: Token = lost.token
    job = token.record
    path = f"{error.__module__}.{error.__qualname__}"
    keys, found = _arguments(token)
    said = f"{path}: {evidence}\n"
    if token.kind == "failed" and token.newest.said:
        said += f"\nBefore that:\n\n{token.newest.said}\n"
    errors = job.errors
    if token.kind == "failed" and errors[-1:] == [ABANDONED_CLASS]:
        errors.pop()  # of the result that this one replaces
    now = server.now()
    ttl = job.failure_ttl or FAILURE_SECONDS
    values = [
        server.serializer.dumps({**job.meta, ERRORS: [*errors, path]}),
        stamp_of(now),
        job.worker,
        packed(said),
        ttl,
        now + ttl if ttl > 0 else -1,
    ]
    return bool(server.client.eval(_FAIL, len(keys), *keys, *found, *values))


def _arguments(token: Token) -> tuple[list[str], list[Any]]:
    """Keys, and what must be as it was."""
    job = token.record
    job_id, member = job.job_id, f"{job.job_id}:{token.execution}"
    keys = [
        key("job", job_id),
        key("wip", job.queue),
        key("failed", job.queue),
        key("results", job_id),
        key("queue", job.queue, "intermediate"),
        key("execution", member),
        key("executions", job_id),
        key("worker", job.worker, "executions"),
        key("queue", job.queue),
        key("scheduled", job.queue),
        key("canceled", job.queue),
    ]
    found = [token.kind, job_id, job.status, job.raw_meta, job.started_at, member]
    return keys, [*found, token.newest.result_id, job.enqueued_at]


def stamp_of(now: float) -> str:
    """A time as rq writes it."""
    return datetime.fromtimestamp(now, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
