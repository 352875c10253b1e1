"""What django-tasks-redis keeps on its server, read without changing anything there.

The package's own ``get_queue_stats`` and ``iter_task_data`` tidy up while they count, so the
same keys are read here by themselves. Idle times are by the clock of the server. The times of
a task, and the scores of the status index, are by the clocks of the hosts that wrote them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from itertools import islice
from typing import Any

import redis
from django.utils.timezone import is_naive, make_aware
from django_tasks_redis.brokers.streams import is_missing_group, next_message_id
from django_tasks_redis.utils import (
    deserialize_datetime,
    get_result_key,
    get_results_index_key,
    get_status_index_built_key,
    get_status_index_key,
)

from argus_maint.backends.adapters import redis_identity
from argus_maint.backends.adapters.base import Queue
from argus_maint.backends.adapters.redis_identity import Identity
from argus_maint.backends.database import FAILED, READY, RUNNING, SUCCESSFUL, QueueCounts

STATUSES = (READY, RUNNING, SUCCESSFUL, FAILED)  # in the order of the package's index
PAGE = 500
_GUARDED = ("status", "worker_ids_json", "last_attempted_at", "finished_at")
_FIELDS = (*_GUARDED, "errors_json", "task_path", "queue_name", "enqueued_at", "run_after")


@dataclass(frozen=True, slots=True)
class State:
    """One task as it was read. ``guarded`` is what a change of it must find again."""

    task_id: str
    guarded: tuple[str, ...]
    errors: str
    path: str
    queue: str
    waits_since: datetime | None

    @property
    def status(self) -> str:
        """READY, RUNNING, SUCCESSFUL or FAILED."""
        return self.guarded[0]

    @property
    def workers(self) -> list[str]:
        """The worker of each attempt."""
        return [str(each) for each in as_list(self.guarded[1]) or []]

    @property
    def error(self) -> tuple[str, str]:
        """The dotted path of what it failed of last, and the traceback."""
        newest = _newest(self.errors)
        return last_error(self.errors), str(newest.get("traceback", ""))

    @property
    def since(self) -> datetime | None:
        """Since when it is in its status; of one that is not due yet, when it is."""
        at = {READY: self.waits_since, RUNNING: self.began_at}
        return at.get(self.status, _aware(self.guarded[3]))

    @property
    def began_at(self) -> datetime | None:
        """When its last attempt began, by the clock of the worker's host."""
        return _aware(self.guarded[2])


@dataclass(frozen=True, slots=True)
class Message:
    """A message that a worker has taken and not yet acknowledged."""

    stream: str
    id: str
    worker: str
    idle: float  # seconds


@dataclass(slots=True)
class Consumer:
    """A worker as the streams know it. ``idle``: seconds since it last asked for anything."""

    idle: float
    queues: set[str] = field(default_factory=set)


class Store:
    """The keys of one backend, through a client of the caller's."""

    def __init__(self, backend: Any, client: Any) -> None:
        self.backend, self.client, self.broker = backend, client, backend.broker
        self.names = (backend.key_prefix, backend.alias)

    # -- keys ----------------------------------------------------------------------

    def result_key(self, task_id: str) -> str:
        """The hash of a task."""
        return str(get_result_key(*self.names, task_id))

    @property
    def all_key(self) -> str:
        """The set of all tasks, with those whose hash has expired."""
        return str(get_results_index_key(*self.names))

    def index_keys(self, queue: str | None = None) -> list[str]:
        """The sorted sets by status: of all queues, or of one."""
        return [get_status_index_key(*self.names, status, queue) for status in STATUSES]

    def is_indexed(self) -> bool:
        """Whether the status index knows every task (``rebuild_redis_status_index``)."""
        built = get_status_index_built_key(*self.names)
        return bool(self.client.exists(built)) or not self.client.exists(self.all_key)

    # -- tasks ---------------------------------------------------------------------

    def now(self) -> datetime:
        """The server's clock."""
        seconds, micros = self.client.time()
        return datetime.fromtimestamp(seconds, tz=timezone.utc) + timedelta(microseconds=micros)

    def states(self, task_ids: Iterable[str]) -> Iterator[State]:
        """Those of these tasks that are there, and can be read."""
        for ids in _pages(task_ids):
            pipeline = self.client.pipeline(transaction=False)
            for task_id in ids:
                pipeline.hmget(self.result_key(task_id), _FIELDS)
            for task_id, values in zip(ids, pipeline.execute(), strict=True):
                if values[0] and as_list(values[1] or "") is not None:
                    yield _state(task_id, [value or "" for value in values])

    def running(self) -> list[State]:
        """Every RUNNING task. What has expired while it ran is still indexed, and left out."""
        ids = self.client.zrange(self.index_keys()[1], 0, -1)
        return [each for each in self.states(ids) if each.status == RUNNING]

    def of_status(self, status: str) -> Iterator[State]:
        """Those of one status, in the order of ``Adapter.tasks`` where there is an index."""
        ids: Iterable[str] = self._in_order(status)
        if not self.is_indexed():
            ids = self.client.sscan_iter(self.all_key, count=PAGE)
        return (each for each in self.states(ids) if each.status == status)

    def _in_order(self, status: str) -> Iterator[str]:
        index, at = self.index_keys()[STATUSES.index(status)], 0
        newest_first = status in (SUCCESSFUL, FAILED)
        while page := self.client.zrange(index, at, at + PAGE - 1, desc=newest_first):
            yield from page
            at += PAGE

    # -- workers -------------------------------------------------------------------

    def queue_names(self, running: Iterable[State] = ()) -> list[str]:
        """Queues that workers read by default, and those of tasks that run."""
        return sorted({*self.broker.queue_names(), *(each.queue for each in running)})

    def streams(self, queues: Iterable[str]) -> dict[str, str]:
        """Each stream, and its queue."""
        return {key: queue for queue in queues for key in self.broker.stream_keys(queue)}

    def messages(self, queues: Iterable[str]) -> dict[str, list[Message]]:
        """What workers hold, by task."""
        held: dict[str, list[Message]] = {}
        for stream in self.streams(queues):
            for found in self._pending(stream):
                pipeline = self.client.pipeline(transaction=False)
                for each in found:
                    pipeline.xrange(stream, each.id, each.id)
                for message, entries in zip(found, pipeline.execute(), strict=True):
                    for _, data in entries:
                        held.setdefault(data.get("task_id", ""), []).append(message)
        return held

    def _pending(self, stream: str) -> Iterator[list[Message]]:
        start = "-"
        while True:
            try:
                page = self.client.xpending_range(
                    stream, self.broker.consumer_group, start, "+", PAGE
                )
            except redis.ResponseError as error:
                if _is_absent(error):
                    return
                raise
            if page:
                yield [_message(stream, each) for each in page]
            if len(page) < PAGE:
                return
            start = next_message_id(page[-1]["message_id"])

    def consumers(self, queues: Iterable[str]) -> dict[str, Consumer]:
        """Workers by name, those that died included until the package forgets them."""
        found: dict[str, Consumer] = {}
        for stream, queue in self.streams(queues).items():
            try:
                listed = self.client.xinfo_consumers(stream, self.broker.consumer_group)
            except redis.ResponseError as error:
                if _is_absent(error):
                    continue
                raise
            for each in listed:
                idle = each["idle"] / 1000
                consumer = found.setdefault(each["name"], Consumer(idle))
                consumer.idle = min(consumer.idle, idle)
                consumer.queues.add(queue)
        return found

    def identities(self, workers: Iterable[str]) -> dict[str, Identity]:
        """Which process each is, of those that have said so."""
        names = sorted(set(workers) - {""})
        if not names:
            return {}
        texts = self.client.mget([redis_identity.key_of(self.backend, name) for name in names])
        read = ((name, redis_identity.read(text)) for name, text in zip(names, texts, strict=True))
        return {name: identity for name, identity in read if identity is not None}

    # -- counts --------------------------------------------------------------------

    def counts(self) -> list[Queue]:
        """Each queue, from the index where there is one, else from every task."""
        now = datetime.now(timezone.utc)
        if not self.is_indexed():
            return self._counted(now)
        return [self._count(queue, now) for queue in self.queue_names(self.running())]

    def _count(self, queue: str, now: datetime) -> Queue:
        at, pipeline = now.timestamp(), self.client.pipeline(transaction=False)
        ready, running, successful, failed = self.index_keys(queue)
        waiting, kept = self.backend.result_ttl, self.backend.completed_task_ttl
        # Whose hash has expired is still in the index: older than the time it was given.
        pipeline.zcount(ready, _older(at, waiting), at)
        pipeline.zcount(ready, f"({at!r}", "+inf")
        pipeline.zrangebyscore(ready, _older(at, waiting), at, 0, 1, withscores=True)
        pipeline.zcount(running, _older(at, waiting), "+inf")
        pipeline.zcount(successful, _older(at, kept), "+inf")
        pipeline.zcount(failed, _older(at, kept), "+inf")
        due, later, oldest, busy, good, bad = pipeline.execute()
        since = datetime.fromtimestamp(oldest[0][1], tz=timezone.utc) if oldest else None
        counts = QueueCounts(self.backend.alias, queue, due, later, busy, since)
        return Queue(counts, bad, good)

    def _counted(self, now: datetime) -> list[Queue]:
        sums: dict[str, dict[str, int]] = {queue: {} for queue in self.queue_names()}
        oldest: dict[str, datetime] = {}
        for state in self.states(self.client.sscan_iter(self.all_key, count=PAGE)):
            what, since = state.status, state.waits_since
            if what == READY and since is not None:
                if since > now:
                    what = "later"
                else:
                    oldest[state.queue] = min(oldest.get(state.queue, since), since)
            of_queue = sums.setdefault(state.queue, {})
            of_queue[what] = of_queue.get(what, 0) + 1
        found = []
        for queue, of_queue in sorted(sums.items()):
            ready, later, busy, good, bad = (
                of_queue.get(what, 0) for what in (READY, "later", RUNNING, SUCCESSFUL, FAILED)
            )
            counts = QueueCounts(self.backend.alias, queue, ready, later, busy, oldest.get(queue))
            found.append(Queue(counts, bad, good))
        return found


def as_list(text: str) -> list[Any] | None:
    """What the package keeps as JSON; None where it is no list."""
    try:
        found = json.loads(text or "[]")
    except ValueError:
        return None
    return [] if found is None else found if isinstance(found, list) else None


def last_error(text: str) -> str:
    """The dotted path of the newest of a task's errors; empty where there is none."""
    return str(_newest(text).get("exception_class_path", ""))


def _newest(text: str) -> dict[str, Any]:
    newest = (as_list(text) or [{}])[-1]
    return newest if isinstance(newest, dict) else {}


def _state(task_id: str, values: Sequence[str]) -> State:
    guarded, rest = tuple(values[: len(_GUARDED)]), values[len(_GUARDED) :]
    errors, path, queue, *times = rest
    since = [at for at in map(_aware, times) if at is not None]
    return State(task_id, guarded, errors, path, queue or "default", max(since, default=None))


def _aware(text: str) -> datetime | None:
    at = deserialize_datetime(text)
    return make_aware(at) if at is not None and is_naive(at) else at


def _message(stream: str, entry: dict[str, Any]) -> Message:
    idle = entry["time_since_delivered"] / 1000
    return Message(stream, entry["message_id"], entry["consumer"], idle)


def _older(at: float, seconds: float) -> str:
    return f"({at - seconds!r}" if seconds and seconds > 0 else "-inf"


def _is_absent(error: Exception) -> bool:
    """A stream to which nothing was ever written, or which nobody reads."""
    return is_missing_group(error) or "no such key" in str(error)


def _pages(ids: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(ids)
    while page := list(islice(rest, PAGE)):
        yield page
