"""django-tasks-redis: messages in Redis streams, and a hash for each task.

Its workers reclaim by themselves what another has held for ``REDIS_CLAIM_TIMEOUT`` (300 s),
whether that one is dead or only slow. What we add:

- a worker whose process is gone from this host is known dead at once (``redis_identity``), and
  its tasks are put back or failed by policy, long before the package would run them again;
- a task that its worker could not finish, since the server was away, is RUNNING for ever: the
  worker then throws its message away. It is found when that worker has asked for more work.

Anything else is left to the package. ``lost`` lists it past the claim timeout as not certain.
Whoever acts must find the message with the worker that it was read with, so exactly one does.

``warnings`` holds the settings against the time limits of the site, and ``overlong`` names
the tasks that run longer than the claim timeout now.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from django.utils import timezone
from django_tasks_redis.utils import priority_to_level

from argus_maint.backends.adapters import redis_settings
from argus_maint.backends.adapters.base import (
    Adapter,
    Lost,
    Overlong,
    Pruned,
    PruneOrder,
    Queue,
    Task,
    Worker,
    recorded,
)
from argus_maint.backends.adapters.redis_errors import gave_no_answer
from argus_maint.backends.adapters.redis_link import Link
from argus_maint.backends.adapters.redis_look import Look, Sight
from argus_maint.backends.adapters.redis_prune import Pruning
from argus_maint.backends.adapters.redis_scripts import MOVE
from argus_maint.backends.adapters.redis_store import Message, State, Store
from argus_maint.backends.database import FAILED, READY, RUNNING, SUCCESSFUL
from argus_maint.models import LedgerEntry


@dataclass(frozen=True, slots=True)
class Token:
    """What a change must find: the task as it was read, and the message its worker holds."""

    state: State
    message: Message | None


class Redis(Adapter):
    """``django_tasks_redis.RedisTaskBackend``, and what is built on it."""

    name = "redis"
    package = "django-tasks-redis"
    worker_command = "manage.py run_redis_tasks --continuous"
    supports_stats = True
    supports_liveness = True
    supports_rescue = True
    supports_tasks = True
    supports_requeue = True
    supports_fail = True
    supports_prune = True
    why_not = {
        "fence": "its worker writes the result whoever has the task by now: run what must not "
        "be overwritten on the database backend",
    }

    def __init__(self, alias: str, path: str, backend: Any, using: str) -> None:
        super().__init__(alias, path, backend, using)
        self._link = Link(alias, backend)

    def worker_arguments(self, queues: Sequence[str] = ()) -> list[str]:
        """One worker takes from every queue of its alias."""
        options = ["--backend", self.alias, "--shutdown-timeout", "30"]
        return [*super().worker_arguments(), *options]

    def queues(self) -> list[Queue]:
        """From the status index; ``finished`` counts those that were successful."""
        with self._link.client() as client:
            return self._store(client).counts()

    def workers(self) -> list[Worker]:
        """Consumers of the group. The package forgets one that died after the claim timeout."""
        with self._link.client() as client:
            return Look(self._store(client)).workers()

    def lost(self) -> list[Lost]:
        """As the module says; a task without a message needs two looks from one process."""
        with self._link.client() as client:
            store = self._store(client)
            seen = Look(store).lost()
            # What has moved on while we looked is nothing to tell of.
            now = {each.task_id: each for each in store.states(s.state.task_id for s in seen)}
            return [_lost(each) for each in seen if now.get(each.state.task_id) == each.state]

    def tasks(self, status: str, most: int) -> list[Task]:
        """As the base has it; in no order where the status index has not been built."""
        with self._link.client() as client:
            return [
                _asked_for(each) for each in islice(self._store(client).of_status(status), most)
            ]

    def task(self, task_id: str) -> Task | None:
        """As the base has it."""
        with self._link.client() as client:
            return next((_asked_for(each) for each in self._store(client).states([task_id])), None)

    def overlong(self) -> list[Overlong]:
        """RUNNING tasks past the claim timeout: they run twice, or will when a worker is free."""
        with self._link.client() as client:
            return [Overlong(*each) for each in Look(self._store(client)).overlong()]

    def requeue(self, lost: Lost, entry: LedgerEntry, delay: float = 0) -> bool:
        """As in ``Adapter``. A FAILED one loses its errors, as by the package's own retry."""
        state: State = lost.token.state
        if state.status not in (RUNNING, FAILED):
            return False
        since = timezone.now() + timedelta(seconds=max(0.0, delay))
        fields = {"status": READY, "finished_at": ""}
        if delay > 0:
            fields["run_after"] = since.isoformat()
        if state.status == FAILED:
            fields["errors_json"] = "[]"
        ttl = self.backend.result_ttl and int(self.backend.result_ttl + delay)
        return self._move(lost.token, entry, since, fields, ttl, delayed=delay > 0)

    def fail(self, lost: Lost, entry: LedgerEntry, error: type[Exception]) -> bool:
        """As in ``Adapter``. Sending ``task_finished`` is the caller's part."""
        state: State = lost.token.state
        if state.status == SUCCESSFUL:
            return False
        path, since = f"{error.__module__}.{error.__qualname__}", timezone.now()
        if state.status == FAILED:
            since = state.since or since  # when it failed
        fields = {"status": FAILED, "finished_at": since.isoformat()}
        told = {"exception_class_path": path, "traceback": f"{path}: {entry.evidence}\n"}
        ttl = self.backend.completed_task_ttl
        return self._move(lost.token, entry, since, fields, ttl, error=told)

    def prune(self, order: PruneOrder) -> Pruned:
        """As ``redis_prune``. What the package lets expire by itself is gone before that."""
        with self._link.client() as client:
            return Pruning(self._store(client), order).run()

    def warnings(self) -> list[str]:
        """The package's settings against the time limits and ages of the site."""
        return redis_settings.warnings(self.alias, self.backend)

    def _store(self, client: Any) -> Store:
        return Store(self.backend, client)

    def _move(
        self,
        token: Token,
        entry: LedgerEntry,
        since: datetime,
        fields: dict[str, str],
        ttl: int | None,
        **more: Any,
    ) -> bool:
        """Change the status in one step on the server, and save the entry: both or neither."""
        with self._link.client() as client:
            store, state, message = self._store(client), token.state, token.message
            hashed = client.hgetall(store.result_key(state.task_id))
            if not hashed:
                return False
            stream = _stream_of(store, hashed)
            keys = [store.result_key(state.task_id), *store.index_keys()]
            keys += [*store.index_keys(state.queue), stream, store.broker.delayed_key(state.queue)]
            keys.append(message.stream if message else stream)
            order = {
                "id": state.task_id,
                "found": state.guarded,
                "group": store.broker.consumer_group,
                "message": message.id if message else "",
                "consumer": message.worker if message else "",
                "fields": fields,
                "ttl": max(0, int(ttl or 0)),
                "since": repr(since.timestamp()),
                "entry": _flat(store.broker.stream_entry(hashed).items()),
                **more,
            }
            move = client.register_script(MOVE)
            return recorded(
                entry, self.using, lambda: bool(move(keys, [json.dumps(order)])), gave_no_answer
            )


def _asked_for(state: State) -> Task:
    handle = _lost(Sight(state, None, LedgerEntry.Verdict.MANUAL, ""))
    error = state.error if state.status == FAILED else ("", "")
    return Task(handle, state.status, state.since, *error)


def _stream_of(store: Store, hashed: dict[str, str]) -> str:
    """The stream of a task's queue and priority."""
    level = priority_to_level(int(hashed.get("priority") or 0))
    return str(store.broker.stream_key(hashed.get("queue_name", "default"), level))


def _flat(pairs: Iterable[tuple[str, str]]) -> list[str]:
    return [each for pair in pairs for each in pair]


def _lost(sight: Sight) -> Lost:
    state = sight.state
    workers = state.workers
    return Lost(
        state.task_id,
        state.path,
        state.queue,
        len(workers),
        workers[-1] if workers else "",
        str(sight.verdict),
        sight.evidence,
        sight.host,
        sight.seen_at,
        sight.confirms_in,
        token=Token(state, sight.message),
    )
