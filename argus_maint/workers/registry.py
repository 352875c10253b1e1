"""Rows of processes: register, beat, end, list.

One UPDATE beats for a supervisor and all of its workers. All times are the
database's.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import F

from argus_maint.backends.database import Attempt, running
from argus_maint.database import short_transaction
from argus_maint.dbtime import DbNow, db_now
from argus_maint.models import Process, Sighting
from argus_maint.workers.identity import Host, start_time

ENDED = Process.State.ENDED
LIVING = (Process.State.ALIVE, Process.State.DRAINING)  # "not ended", as an index can look it up


@dataclass(frozen=True, slots=True)
class Group:
    """What the rows of one supervisor have in common."""

    supervisor: uuid.UUID
    name: str
    host: Host
    lease: float
    info: dict[str, Any]


def register(group: Group, kind: str, worker_id: str, pid: int, using: str, wait: float) -> bool:
    """Insert the row of a process, or find it there; False when it has ended already."""
    host = group.host
    with short_transaction(using, wait):
        known = Process.objects.using(using).filter(worker_id=worker_id).first()
        if known is not None:
            # Found, not made: the lease that is extended for it must be in the row too.
            rows = Process.objects.using(using).filter(pk=known.pk, state__in=LIVING)
            return bool(rows.update(beats=F("beats") + 1, last_beat_at=DbNow()))
        Process(
            kind=kind,
            worker_id=worker_id,
            name=group.name,
            supervisor=group.supervisor,
            host=host.machine_id,
            hostname=host.hostname,
            boot_id=host.boot_id,
            pid_namespace=host.pid_namespace,
            pid=pid,
            start_time=start_time(pid),
            lease=group.lease,
            registered_at=DbNow(),
            last_beat_at=DbNow(),
            info=group.info,
        ).save(using=using, force_insert=True)
    return True


def beat(supervisor: uuid.UUID, using: str, wait: float, **values: Any) -> int:
    """Extend the lease of every living row of a supervisor; returns how many there were.

    ``values`` are columns to write with it, such as ``info``.
    """
    with short_transaction(using, wait):
        return (
            Process.objects.using(using)
            .filter(state__in=LIVING, supervisor=supervisor)
            .update(beats=F("beats") + 1, last_beat_at=DbNow(), **values)
        )


def drain(supervisor: uuid.UUID, using: str, wait: float) -> None:
    """Mark a supervisor's rows as shutting down: a death from now on is no crash."""
    with short_transaction(using, wait):
        Process.objects.using(using).filter(
            supervisor=supervisor, state=Process.State.ALIVE
        ).update(state=Process.State.DRAINING)


def end(worker_id: str, using: str, wait: float, *, beats: int | None = None, **how: Any) -> bool:
    """Mark a process as ended; False when it had ended, or has beaten since ``beats``.

    ``how``: ``verdict``, ``reason``, ``exit_signal``, ``exit_status``, ``noticed_by``.
    """
    with short_transaction(using, wait):
        row = Process.objects.using(using).filter(worker_id=worker_id).exclude(state=ENDED)
        if beats is not None:
            row = row.filter(beats=beats)
        return bool(row.update(state=ENDED, ended_at=DbNow(), **how))


def living(using: str, exclude: uuid.UUID | None = None) -> list[Process]:
    """Processes that have not ended, without those of the supervisor ``exclude``."""
    rows = Process.objects.using(using).filter(state__in=LIVING)
    if exclude is not None:
        rows = rows.exclude(supervisor=exclude)
    return list(rows.order_by("registered_at"))


def living_ids(supervisor: uuid.UUID, using: str) -> set[str]:
    """Worker ids of a supervisor's own rows that have not ended."""
    rows = Process.objects.using(using).filter(state__in=LIVING, supervisor=supervisor)
    return set(rows.values_list("worker_id", flat=True))


def by_worker_id(worker_ids: Iterable[str], using: str) -> dict[str, Process]:
    """Look processes up by the ids found on tasks."""
    return Process.objects.using(using).in_bulk(sorted(set(worker_ids)), field_name="worker_id")


def forget(using: str, retention: float, wait: float, most: int = 1000) -> int:
    """Delete up to ``most`` rows of processes that ended ``retention`` seconds ago.

    A process that still owns a RUNNING task stays: without its row the task would
    count as unregistered, and nobody would act on it.
    """
    before = db_now(using) - timedelta(seconds=retention)
    old = Process.objects.using(using).filter(state=ENDED, ended_at__lt=before)
    keys = list(old.order_by("ended_at").values_list("pk", "worker_id")[:most])
    if not keys:
        return 0
    owners = {attempt.owner for attempt in running(using)}
    with short_transaction(using, wait):
        return old.filter(pk__in=[pk for pk, worker in keys if worker not in owners]).delete()[0]


def sightings(using: str) -> dict[uuid.UUID, Sighting]:
    """Tasks seen RUNNING under an unregistered worker, by task id."""
    return {sighting.task_id: sighting for sighting in Sighting.objects.using(using).all()}


def sight(attempt: Attempt, using: str, wait: float) -> None:
    """Note that a task was seen RUNNING under an unregistered worker: its time counts from now."""
    with short_transaction(using, wait):
        Sighting.objects.using(using).update_or_create(
            task_id=attempt.task_id,
            defaults={
                "attempt": attempt.number,
                "worker_id": attempt.owner[:128],
                "first_seen_at": DbNow(),
            },
        )
