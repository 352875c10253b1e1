"""django-tasks-local: tasks in the memory of the process that enqueued them.

Nobody outside can see them, so each such process says itself what it holds, with each of its
beats (``backends.pools``). What is here adds up what the living ones said last.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import datetime
from typing import Any

from argus_maint.backends.adapters.base import Adapter, Queue, Worker
from argus_maint.backends.database import QueueCounts
from argus_maint.dbtime import db_now
from argus_maint.models import Process
from argus_maint.workers import registry
from argus_maint.workers.identity import this_host
from argus_maint.workers.liveness import Verdict, judge

_MEMORY = "its tasks live in the memory of one process, and die with it"
_KEPT = "the package keeps the last MAX_RESULTS results of each process, and drops older ones"
_COUNTS = ("ready", "busy", "finished", "failed")


class ThreadPool(Adapter):
    """``ThreadPoolBackend`` and ``ProcessPoolBackend``."""

    name = "threadpool"
    package = "django-tasks-local"
    supports_stats = True
    supports_liveness = True
    why_not = {
        **dict.fromkeys(("rescue", "tasks", "requeue"), _MEMORY),
        "fail": "only the process that runs a task can tell how it ended",
        "fence": "nobody takes a task over, so there is nothing to refuse",
        "prune": _KEPT,
    }

    def queues(self) -> list[Queue]:
        """Sums over the living processes, as old as their last beat."""
        counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        oldest: dict[str, str] = {}
        for process, verdict in self._processes():
            if verdict is Verdict.EXITED:
                continue
            for name, said in self._said(process).items():
                counts[name].update({each: int(said[each]) for each in _COUNTS})
                if said["oldest"]:
                    oldest[name] = min(oldest.get(name, said["oldest"]), said["oldest"])
        return [self._queue(name, counts[name], oldest.get(name)) for name in sorted(counts)]

    def _queue(self, name: str, sums: Counter[str], oldest: str | None) -> Queue:
        since = datetime.fromisoformat(oldest) if oldest else None
        counts = QueueCounts(self.alias, name, sums["ready"], 0, sums["busy"], since)
        return Queue(counts, sums["failed"], sums["finished"])

    def workers(self) -> list[Worker]:
        """Registered processes that have not ended and use a pool of this alias."""
        return [self._worker(process, verdict) for process, verdict in self._processes()]

    def _worker(self, process: Process, verdict: Verdict) -> Worker:
        said = self._said(process)
        busy, ready = (sum(each[what] for each in said.values()) for what in ("busy", "ready"))
        pool = process.info["pools"][self.alias]
        evidence = f"{busy} of {pool['size']} busy, {ready} ready, beat {process.beats}"
        if pool["broken"]:
            evidence += ", broken: it takes no more tasks until its process is started again"
        return Worker(
            process.worker_id,
            process.hostname,
            process.pid,
            tuple(sorted(said)),
            process.last_beat_at,
            {Verdict.ALIVE: True, Verdict.EXITED: False}.get(verdict),
            evidence,
        )

    def _processes(self) -> list[tuple[Process, Verdict]]:
        rows = [
            each
            for each in registry.living(self.using)
            if each.kind == Process.Kind.POOL and self.alias in each.info.get("pools", {})
        ]
        now, host = db_now(self.using) if rows else None, this_host()
        return [(each, judge(each, host, now, None, 0.0)) for each in rows if now is not None]

    def _said(self, process: Process) -> dict[str, dict[str, Any]]:
        queues: dict[str, dict[str, Any]] = process.info["pools"][self.alias]["queues"]
        return queues

    def warnings(self) -> list[str]:
        """What dies, what breaks, and what cannot run."""
        kind = type(self.backend).__name__
        found = [
            f"{kind} keeps its tasks in the memory of the process that enqueues them, mostly a "
            "web process: when it is killed they are gone, and nobody can run them again",
            f"{kind} calls a task with takes_context=True without its context: TypeError",
        ]
        if "django_tasks_local.backend.ProcessPoolBackend" in _bases(type(self.backend)):
            found.append(
                f"{kind}: one child that is killed fails all tasks of its pool, and the pool "
                "takes no more until its process is started again"
            )
        return found


def _bases(backend: type) -> list[str]:
    return [f"{each.__module__}.{each.__qualname__}" for each in backend.__mro__]
