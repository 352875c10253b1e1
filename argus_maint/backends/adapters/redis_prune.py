"""Prune for django-tasks-redis: finished tasks past their retention, and what expiry leaves.

The package's own ``purge_completed_tasks`` reads every task, and deletes without a pause. Here
the oldest go first, each in a step of its own on the server that leaves alone what has been put
back meanwhile; a batch takes about ``target`` seconds, and the pause after it is by ``duty``.

A task that expires by itself (``REDIS_RESULT_TTL``) stays in the package's set of all tasks
until somebody asks for them all: these are counted as ``expired``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from django.utils import timezone
from django_tasks_redis.utils import deserialize_datetime

from argus_maint.backends.adapters.base import Pruned, PruneOrder
from argus_maint.backends.adapters.redis_scripts import DELETE
from argus_maint.backends.adapters.redis_store import STATUSES, Store, last_error
from argus_maint.backends.database import FAILED, SUCCESSFUL
from argus_maint.clock import now
from argus_maint.exceptions import TaskQuarantined

FIRST, LEAST, MOST = 50, 5, 2000  # tasks of a batch
_FIELDS = ("status", "finished_at", "queue_name", "task_path", "errors_json")
_KINDS = {SUCCESSFUL: ("successful",), FAILED: ("failed", "quarantined")}
_QUARANTINED = f"{TaskQuarantined.__module__}.{TaskQuarantined.__qualname__}"


class _Enough(Exception):
    """The time is up."""


class Pruning:
    """One pass over one backend."""

    def __init__(self, store: Store, order: PruneOrder) -> None:
        self.store, self.order = store, order
        self.report = Pruned()
        self.began, self.size = now(), FIRST
        self.of_expired = self.of_others = True  # what this walk is about
        self.delete = store.client.register_script(DELETE)

    def run(self) -> Pruned:
        """Delete what is due, the oldest first, until all is done or the time is up."""
        try:
            if self.store.is_indexed():
                self.of_expired = False
                for status in (SUCCESSFUL, FAILED):
                    self._oldest(status)
                self.of_expired, self.of_others = True, False
            for ids in self._everything():
                self._paced(ids)
        except _Enough:
            self.report.stopped = "max_seconds"
        self.report.seconds = now() - self.began
        return self.report

    def _oldest(self, status: str) -> None:
        """Walk one set of the index from its oldest end, as far as anything can be due."""
        ages = [age for k in _KINDS[status] for age in self.order.retention.all_ages(k)]
        if not ages:
            return
        key = self.store.index_keys()[STATUSES.index(status)]
        limit, start = timezone.now().timestamp() - min(ages), 0
        while True:
            found = self.store.client.zrange(key, start, start + self.size - 1, withscores=True)
            due = [task_id for task_id, score in found if score <= limit]
            if not due:
                return
            start += len(due) - self._paced(due)
            if len(due) < len(found):
                return

    def _everything(self) -> Iterator[list[str]]:
        """All tasks there ever were, in no order."""
        page: list[str] = []
        for task_id in self.store.client.sscan_iter(self.store.all_key, count=FIRST):
            page.append(task_id)
            if len(page) >= self.size:
                yield page
                page = []
        if page:
            yield page

    def _paced(self, ids: list[str]) -> int:
        """Make one step, and rest. Returns how many are gone from where they were found."""
        self.order.go_on()
        if self.order.max_seconds is not None and now() - self.began >= self.order.max_seconds:
            raise _Enough
        began = now()
        gone = self._step(ids)
        took = now() - began
        self.report.batches += 1
        self.report.worst = max(self.report.worst, took)
        ideal = self.size * 0.8 * self.order.target / max(took, 1e-6)
        self.size = int(min(max(ideal, self.size / 2, LEAST), self.size * 2, MOST))
        time.sleep(took * (1 - self.order.duty) / self.order.duty)
        return gone

    def _step(self, ids: list[str]) -> int:
        pipeline = self.store.client.pipeline(transaction=False)
        for task_id in ids:
            pipeline.hmget(self.store.result_key(task_id), _FIELDS)
        going = []
        for task_id, values in zip(ids, pipeline.execute(), strict=True):
            status, finished, queue, path, errors = (value or "" for value in values)
            kind = self._kind(status, finished, queue, path, errors)
            if kind:
                going.append((task_id, kind, status, finished, queue))
        if self.order.dry_run:
            return self._told([kind for _, kind, *_ in going])
        for task_id, _, status, finished, queue in going:
            keys = [self.store.result_key(task_id), self.store.all_key, *self.store.index_keys()]
            for each in [queue] if queue else self.store.queue_names():
                keys += self.store.index_keys(each)
            self.delete(keys=keys, args=[task_id, status, finished], client=pipeline)
        done = pipeline.execute() if going else []
        return self._told([each[1] for each, gone in zip(going, done, strict=True) if gone])

    def _told(self, kinds: list[str]) -> int:
        self.report.deleted.update(kinds)
        return 0 if self.order.dry_run else len(kinds)

    def _kind(self, status: str, finished: str, queue: str, path: str, errors: str) -> str:
        """What it is deleted as; empty where it stays."""
        if not status:  # nobody knows its queue any more, or its path
            return "expired" if self.of_expired and not self.order.narrowed else ""
        if not self.of_others or status not in _KINDS:
            return ""
        at = deserialize_datetime(finished)
        if at is None:
            return ""
        kind = "successful" if status == SUCCESSFUL else "failed"
        if kind == "failed" and last_error(errors) == _QUARANTINED:
            kind = "quarantined"
        age = (timezone.now() - at).total_seconds()
        return kind if self.order.goes(age, kind, queue, path) else ""
