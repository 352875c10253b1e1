"""The adapter itself: which server to ask, and what about."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, partial
from typing import TypeVar

from argus_maint.backends.adapters.base import (
    Adapter,
    Lost,
    Pruned,
    PruneOrder,
    Queue,
    Task,
    Worker,
    recorded,
)
from argus_maint.backends.adapters.redis_errors import gave_no_answer
from argus_maint.backends.adapters.rq import acts, counts, fleet, scheduled, tasks
from argus_maint.backends.adapters.rq.losses import Look, Token
from argus_maint.backends.adapters.rq.pruning import Prune
from argus_maint.backends.adapters.rq.server import Server, queue_settings
from argus_maint.models import LedgerEntry

T = TypeVar("T")


class RQ(Adapter):
    """``django_tasks_rq.RQBackend``, and what is built on it."""

    name = "rq"
    package = "django-tasks-rq"
    worker_command = "manage.py rqworker --job-class django_tasks_rq.Job"
    supports_stats = True
    supports_liveness = True
    supports_rescue = True
    supports_tasks = True
    supports_requeue = True
    supports_fail = True
    supports_prune = True
    why_not = {
        "fence": "the stock rqworker writes the end of a job itself, whoever owns it by then"
    }

    def worker_arguments(self, queues: Sequence[str] = ()) -> list[str]:
        """The queues stand at its end; rqworker knows no alias."""
        names = queues or sorted(set(self.backend.queues) & set(queue_settings()))
        return [*super().worker_arguments(), *names]

    def queues(self) -> list[Queue]:
        """All of the alias's queues in RQ_QUEUES; see ``counts`` for how exact they are."""
        return self._each(
            lambda server, names: [counts.count(server, self.alias, name) for name in names]
        )

    def workers(self) -> list[Worker]:
        """Those that take from a queue of the alias's, by name."""
        return self._each(fleet.workers)

    def lost(self) -> list[Lost]:
        """Tasks that rq would find abandoned, and those that it, or a worker, has found."""
        return self._each(lambda server, names: self._look(server).lost(names))

    def tasks(self, status: str, most: int) -> list[Task]:
        """As the base has it."""
        found = self._each(
            lambda server, names: [
                each
                for name in names
                for each in tasks.listed(self._look(server), name, status, most)
            ]
        )
        return tasks.in_order(found, status)[:most]

    def task(self, task_id: str) -> Task | None:
        """As the base has it; rq's own jobs, and those of a rate limit, are none of ours."""
        found = self._each(lambda server, names: [tasks.one(self._look(server), task_id)])
        return next((each for each in found if each is not None), None)

    def requeue(self, lost: Lost, entry: LedgerEntry, delay: float = 0) -> bool:
        """As the base has it. Without a scheduler of rq's it is at once, and the entry says so."""
        server = self._server_of(lost)
        with server.asked():
            if delay > 0 and not acts.scheduler_runs(server, lost.queue_name):
                delay = entry.delay = 0.0
            act = partial(acts.requeue, server, lost, delay)
            return recorded(entry, self.using, act, gave_no_answer)

    def fail(self, lost: Lost, entry: LedgerEntry, error: type[Exception]) -> bool:
        """As the base has it; of a task that rq has failed, its error becomes ours."""
        server = self._server_of(lost)
        with server.asked():
            act = partial(acts.fail, server, lost, error, entry.evidence)
            return recorded(entry, self.using, act, gave_no_answer)

    def prune(self, order: PruneOrder) -> Pruned:
        """Finished, failed and orphaned keys; see ``pruning``."""
        began, done = time.monotonic(), Pruned()
        until = began + order.max_seconds if order.max_seconds is not None else None
        for server, names in self._servers:
            wanted = tuple(each for each in names if not order.queues or each in order.queues)
            if wanted and not done.stopped:
                with server.asked():
                    Prune(server, self.alias, wanted, order, done, until).run()
        done.seconds = time.monotonic() - began
        return done

    def enqueue_overdue(self) -> int:
        """Put scheduled tasks that are due into their queue where no scheduler runs."""
        return sum(
            self._each(
                lambda server, names: [
                    scheduled.enqueue(server, self.alias, name) for name in names
                ]
            )
        )

    def warnings(self) -> list[str]:
        """What the settings alone can tell."""
        known = queue_settings()
        missing = sorted(set(self.backend.queues) - set(known))
        found = [
            f"TASKS[{self.alias!r}] has the queue {name!r}, which is not in RQ_QUEUES"
            for name in missing
        ]
        if not set(self.backend.queues) & set(known):
            found.append(f"TASKS[{self.alias!r}] has no queue that is in RQ_QUEUES")
        used = sorted(set(self.backend.queues) & set(known))
        servers = {Server(name).identity for name in used}
        if "default" not in known:
            found.append("RQ_QUEUES has no 'default': django-tasks-rq reads results through it")
        elif servers - {Server("default").identity}:
            found.append(
                "RQ_QUEUES has queues on another server than 'default': django-tasks-rq looks "
                "for results on that of 'default' only"
            )
        found += [
            f"RQ_QUEUES[{name!r}] has ASYNC off: its tasks run while they are enqueued"
            for name in used
            if not known[name].get("ASYNC", True)
        ]
        return found

    def _look(self, server: Server) -> Look:
        return Look(server, self.alias, self.using)

    @cached_property
    def _servers(self) -> list[tuple[Server, list[str]]]:
        """Each server, and the alias's queues on it."""
        found: dict[str, tuple[Server, list[str]]] = {}
        for name in sorted(set(self.backend.queues) & set(queue_settings())):
            server = Server(name)
            found.setdefault(server.identity, (server, []))[1].append(name)
        return list(found.values())

    def _each(self, ask: Callable[[Server, list[str]], Iterable[T]]) -> list[T]:
        """What each server answers, one after the other."""
        found: list[T] = []
        for server, names in self._servers:
            with server.asked():
                found += ask(server, names)
        return found

    def _server_of(self, lost: Lost) -> Server:
        token: Token = lost.token
        for server, names in self._servers:
            if token.record.queue in names:
                return server
        return Server(token.record.queue)
