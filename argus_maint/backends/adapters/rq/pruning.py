"""Finished, failed and orphaned keys past their retention, in steps that the server bears.

A step is one script over a few jobs, which deletes those that are still as they were read;
its size follows from how long the last one took. Memory is given back by the server's own
thread (UNLINK). First the registries, then one walk over rq's keys for what no registry
knows: jobs that finished and fell out of theirs, and results without a job.

rq lets finished jobs expire by itself, after 500 s unless the queue says otherwise, and failed
ones after a year. So a retention can be shorter than that, and not longer.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from argus_maint.backends.adapters.base import Pruned, PruneOrder
from argus_maint.backends.adapters.rq.records import Newest, Record, read, read_newest, when
from argus_maint.backends.adapters.rq.server import Server, key, stopwatch, text

FIRST, LEAST, MOST = 50, 10, 400  # jobs of a step
PAGE = 200  # entries that are read together
WALK = 200  # keys of a step of the walk
ALONE = 3600.0  # seconds after which what has no counterpart is taken for orphaned
REGISTRIES = {
    "finished": ("finished",),
    "failed": ("failed", "stopped", "canceled"),
    "canceled": ("canceled",),
}
ENDED = {"finished": "successful", "failed": "failed", "stopped": "failed", "canceled": "failed"}
_OURS = re.compile(r"[A-Za-z0-9]{32}")  # ids as Django's tasks have them; rq's own have dashes
_QUARANTINED = "argus_maint.exceptions.TaskQuarantined"

# KEYS: three registries, then three of each job; ARGV: id, status and ended_at of each.
_DELETE = """
local done = {}
for n = 1, #ARGV / 3 do
  local id, at = ARGV[3 * n - 2], 3 + 4 * (n - 1)
  local now = redis.call('HMGET', KEYS[at + 1], 'status', 'ended_at')
  -- What waits for one that has not finished would wait for ever.
  local awaited = now[1] ~= 'finished' and redis.call('SCARD', KEYS[at + 3]) > 0
  if (now[1] or '') == ARGV[3 * n - 1] and (now[2] or '') == ARGV[3 * n] and not awaited then
    redis.call('UNLINK', KEYS[at + 1], KEYS[at + 2], KEYS[at + 3], KEYS[at + 4])
    redis.call('ZREM', KEYS[1], id)
    redis.call('ZREM', KEYS[2], id)
    redis.call('ZREM', KEYS[3], id)
    done[#done + 1] = id
  end
end
return done
"""

# KEYS: a registry, then the jobs; ARGV: statuses that belong there, then the ids.
_STRAYED = """
local number = 0
for n = 2, #KEYS do
  local status = redis.call('HGET', KEYS[n], 'status')
  if not status or not string.find(ARGV[1], ',' .. status .. ',', 1, true) then
    number = number + redis.call('ZREM', KEYS[1], ARGV[n])
  end
end
return number
"""


class _Enough(Exception):
    """The time is up."""


@dataclass(slots=True)
class Prune:
    """One prune of one server's queues for an alias."""

    server: Server
    alias: str
    queues: tuple[str, ...]
    order: PruneOrder
    done: Pruned
    until: float | None  # by time.monotonic
    size: int = FIRST
    seen: set[str] = field(default_factory=set)  # in a dry run: counted, and still there
    rested_at: float = field(default_factory=stopwatch)

    def run(self) -> None:
        """To the end, or to the end of the time."""
        try:
            for queue in self.queues:
                for name in REGISTRIES:
                    self._registry(queue, name)
            self._walk()
        except _Enough:
            self.done.stopped = "max_seconds"

    def _registry(self, queue: str, name: str) -> None:
        registry, at = key(name, queue), 0
        reading = self.server.client.zrange
        while entries := self._asked(reading, registry, at, at + PAGE - 1, withscores=True):
            scores = {text(job_id): float(score) for job_id, score in entries}
            jobs = read(self.server, list(scores))
            gone = [job_id for job_id in scores if job_id not in jobs]
            mine = [each for each in jobs.values() if each.alias == self.alias]
            strayed = [each.job_id for each in mine if each.status not in REGISTRIES[name]]
            removed = self._entries(registry, [*gone, *strayed], REGISTRIES[name])
            removed += self._jobs([each for each in mine if each.job_id not in strayed], queue)
            at += len(scores) - (0 if self.order.dry_run else removed)

    def _walk(self) -> None:
        """What no registry knows. Other keys of the server's are passed over, a few at a time."""
        cursor: int = 0
        pattern = key("*")
        while True:
            cursor, found = self._asked(self.server.client.scan, cursor, match=pattern, count=WALK)
            keys = [text(each) for each in found]
            ids = _ids(keys, "job")
            jobs = read(self.server, ids)
            for queue in self.queues:
                self._jobs([each for each in jobs.values() if each.queue == queue], queue)
            if not self.order.narrowed:
                self._stubs([each for each in jobs.values() if not each.status and not each.queue])
                self._results(_ids(keys, "results"))
            if not cursor:
                return

    def _jobs(self, jobs: Iterable[Record], queue: str) -> int:
        mine = [job for job in jobs if job.alias == self.alias and job.status in ENDED]
        mine = [job for job in mine if job.job_id not in self.seen]
        newest = read_newest(self.server, [job.job_id for job in mine])
        now = self.server.now() if mine else 0.0
        past = {
            job.job_id: job
            for job in mine
            if (age := _age(job, newest[job.job_id], now)) is not None
            and self.order.goes(age, _kind(job), queue, job.path)
        }
        number = 0
        for part in self._parts(list(past)):
            deleted = self._delete([past[each] for each in part], queue)
            self.done.deleted.update(Counter(_kind(past[each]) for each in deleted))
            number += len(deleted)
        return number

    def _delete(self, jobs: list[Record], queue: str) -> list[str]:
        ids = [job.job_id for job in jobs]
        if self.order.dry_run:
            self.seen.update(ids)
            return ids
        keys = [key(name, queue) for name in REGISTRIES]
        values = []
        for job in jobs:
            own = key("job", job.job_id)
            keys += [own, key("results", job.job_id), f"{own}:dependents", f"{own}:dependencies"]
            values += [job.job_id, job.status, job.ended_at]
        deleted = self._step(self.server.client.eval, _DELETE, len(keys), *keys, *values)
        return [text(each) for each in deleted]

    def _entries(self, registry: str, ids: list[str], statuses: tuple[str, ...]) -> int:
        """Entries whose job is gone, or is something else by now."""
        number = 0
        if self.order.narrowed:
            return 0
        for part in self._parts(ids):
            keys = [registry, *(key("job", each) for each in part)]
            values = [",".join(("", *statuses, "")), *part]
            if self.order.dry_run:
                number += len(part)
            else:
                evaluate = self.server.client.eval
                number += int(self._step(evaluate, _STRAYED, len(keys), *keys, *values))
        self._count_orphans(number)
        return number

    def _stubs(self, jobs: list[Record]) -> None:
        """A late heartbeat may leave a job of which nothing but that is there."""
        ours = [each for each in jobs if _OURS.fullmatch(each.job_id)]
        before = self.server.now() - ALONE if ours else 0.0
        beats = {each.job_id: when(each.last_heartbeat) for each in ours}
        old = [each for each, beat in beats.items() if beat and beat.timestamp() < before]
        self._orphans([key("job", each) for each in old])

    def _results(self, ids: list[str]) -> None:
        """Results whose job is gone."""
        ids = [each for each in ids if _OURS.fullmatch(each)]
        pipeline = self.server.pipeline()
        for each in ids:
            pipeline.exists(key("job", each))
        there = pipeline.execute() if ids else []
        alone = [each for each, job in zip(ids, there, strict=True) if not job]
        newest = read_newest(self.server, alone)
        before = self.server.now() - ALONE if alone else 0.0
        self._orphans(
            [key("results", each) for each in alone if 0 < (newest[each].at or 0) < before]
        )

    def _orphans(self, keys: list[str]) -> None:
        number = 0
        for part in self._parts(keys):
            if self.order.dry_run:
                number += len(part)
            else:
                number += int(self._step(self.server.client.unlink, *part))
        self._count_orphans(number)

    def _count_orphans(self, number: int) -> None:
        if number:
            self.done.deleted["orphaned"] += number

    def _parts(self, ids: list[str]) -> Iterator[list[str]]:
        rest = ids
        while rest:
            part, rest = rest[: self.size], rest[self.size :]
            yield part

    def _step(self, command: Callable[..., Any], *arguments: Any) -> Any:
        """One command that changes something: timed and counted."""
        self._go_on()
        began = stopwatch()
        answer = command(*arguments)
        took = stopwatch() - began
        self.done.batches += 1
        self.done.worst = max(self.done.worst, took)
        if took > self.order.target / 2:
            self.size = max(LEAST, self.size // 2)
        elif took < self.order.target / 8:
            self.size = min(MOST, self.size * 2)
        return answer

    def _asked(self, command: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """One command that reads."""
        self._go_on()
        return command(*arguments, **options)

    def _go_on(self) -> None:
        """Rest from what was done since the last time: reading holds up others as well."""
        if self.order.duty < 1:
            busy = stopwatch() - self.rested_at
            time.sleep(min(1.0, busy * (1 - self.order.duty) / self.order.duty))
        self.order.go_on()
        if self.until is not None and time.monotonic() >= self.until:
            raise _Enough
        self.rested_at = stopwatch()


def _ids(keys: list[str], kind: str) -> list[str]:
    prefix = key(kind, "")
    found = (each.removeprefix(prefix) for each in keys if each.startswith(prefix))
    return [each for each in found if ":" not in each]


def _kind(job: Record) -> str:
    kind = ENDED[job.status]
    return "quarantined" if kind == "failed" and job.errors[-1:] == [_QUARANTINED] else kind


def _age(job: Record, newest: Newest, now: float) -> float | None:
    """Seconds since it ended. What rq found abandoned has no end, but a result."""
    ended = when(job.ended_at)
    at = ended.timestamp() if ended is not None else newest.at
    if at is None:
        since = when(job.enqueued_at)
        at = since.timestamp() if since is not None else None
    return now - at if at is not None else None
