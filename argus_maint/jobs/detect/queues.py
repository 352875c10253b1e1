"""Queues: is anybody there, and do they keep up?

- ``NoWorkers``, for each database backend of the setting TASKS: no registered worker is alive,
  and tasks wait, or a worker was there before (one with ``--batch`` comes and goes).
- ``UnattendedQueue``: tasks have waited for ``unattended``, and no worker that is alive and
  not drained takes the queue. Not where the queue is paused, nor beside ``NoWorkers``.
- ``QueueBacklog``: more than ``ready`` tasks of which the oldest has waited for ``waits``; or
  one that has waited for ``oldest``; or all workers are at one task each, and others wait
  (``stalled_after``). Not where the queue is paused, or nobody is there.
"""

from __future__ import annotations

from collections.abc import Iterator

from argus_maint.checks import database_backends, local_database_backends
from argus_maint.conf import get_settings
from argus_maint.findings.observation import Observation
from argus_maint.jobs.detect.look import Look
from argus_maint.models import Process
from argus_maint.observe.picture import Queue, oldest_age
from argus_maint.observe.problems import is_stalled, object_of
from argus_maint.observe.screen import span

RECENT = 50  # ended processes that are looked at for workers that were there before


def no_workers(look: Look) -> Iterator[Observation]:
    """Backends without any worker."""
    for alias in _deserted(look):
        ready = sum(
            each.counts.ready for each in look.status.queues if each.counts.backend_name == alias
        )
        last = _last_worker(look, alias)
        if not ready and last is None:
            continue
        of = "" if alias == "default" else f" of backend {alias}"
        summary = f"no worker{of} is running; {ready:,} ready"
        evidence: dict[str, object] = {"backend": alias, "tasks": ready}
        if last is not None:
            evidence |= {"worker": last.name, "host": last.hostname, "pid": last.pid}
            evidence["queue"] = ",".join(last.info.get("queues", []))
        yield Observation("NoWorkers", alias, summary, evidence)


def _deserted(look: Look) -> list[str]:
    """Database backends without a living worker, drained ones included."""
    census = look.status.census
    there = {
        each.info.get("backend")
        for each in census.living
        if each.kind == Process.Kind.WORKER
        and census.states[each.pk] in (Process.State.ALIVE, Process.State.DRAINING)
    }
    return [alias for alias in database_backends() if alias not in there]


def _last_worker(look: Look, alias: str) -> Process | None:
    """The last worker that was to stay; its row is kept for some days."""
    ended = Process.objects.using(look.using).filter(ended_at__isnull=False)
    for each in [*look.status.census.living[::-1], *ended.order_by("-ended_at")[:RECENT]]:
        mine = each.kind == Process.Kind.WORKER and each.info.get("backend") == alias
        if mine and not each.info.get("batch"):
            return each
    return None


def unattended_queues(look: Look) -> Iterator[Observation]:
    """Queues in which tasks wait, and that no worker takes from."""
    least = look.option("UnattendedQueue", "unattended")
    deserted = _deserted(look) + local_database_backends()
    for queue in look.status.queues:
        counts = queue.counts
        waits = oldest_age(counts, look.host_now)
        if waits is None or waits <= least or counts.backend_name in deserted:
            continue
        if queue.workers or queue.pause is not None:
            continue
        name = object_of(counts)
        summary = f"{counts.ready:,} ready in {name} for {span(waits)}, and no worker takes it"
        yield Observation("UnattendedQueue", name, summary, _evidence(look, queue))


def _evidence(look: Look, queue: Queue) -> dict[str, object]:
    counts = queue.counts
    return {
        "queue": counts.queue_name,
        "backend": counts.backend_name,
        "tasks": counts.ready,
        "running": counts.running,
        "workers": queue.workers,
        "oldest": oldest_age(counts, look.host_now),
    }


def backlogs(look: Look) -> Iterator[Observation]:
    """Queues that are not worked off."""
    local = local_database_backends()  # web processes, which do not register, take from these
    for queue in look.status.queues:
        why = _why_behind(look, queue)
        taken = queue.workers or queue.counts.backend_name in local
        if not why or not taken or queue.pause is not None:
            continue
        name, waits = object_of(queue.counts), span(oldest_age(queue.counts, look.host_now))
        summary = f"{queue.counts.ready:,} ready in {name}, the oldest for {waits}"
        if why == "stalled":
            after = span(get_settings().stalled_after)
            summary += f"; every worker has been at one task for over {after}"
        yield Observation("QueueBacklog", name, summary, {**_evidence(look, queue), "why": why})


def _why_behind(look: Look, queue: Queue) -> str:
    waits = oldest_age(queue.counts, look.host_now)
    if waits is None:
        return ""
    if is_stalled(look.status, queue):
        return "stalled"
    if waits > look.option("QueueBacklog", "oldest"):
        return "oldest"
    many = queue.counts.ready > look.option("QueueBacklog", "ready")
    return "ready" if many and waits > look.option("QueueBacklog", "waits") else ""


DETECTORS = {
    "NoWorkers": no_workers,
    "UnattendedQueue": unattended_queues,
    "QueueBacklog": backlogs,
}
