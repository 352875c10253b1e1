"""Rows for tests that need no real worker: tasks in any state, processes alive or dead.

A *dead* process has the pid of one that has ended on this very host, and a *living* one
that of the test itself, so verdicts come from the same code as in real life.
"""

from __future__ import annotations

import os
import subprocess
import uuid
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone
from django_tasks_db.models import DBTaskResult, get_date_max

from argus_maint.dbtime import db_now
from argus_maint.models import LedgerEntry, Process, Sighting
from argus_maint.scheduling import ledger
from argus_maint.workers import registry
from argus_maint.workers.identity import Host, this_host

__all__ = ["DBTaskResult", "Sighting", "db_now", "get_date_max", "timedelta"]

INCARNATION = "0123456789ab"


def ago(seconds: float) -> Any:
    return timezone.now() - timedelta(seconds=seconds)


def task(
    status: str = "READY",
    *,
    path: str = "tests.tasks.add",
    workers: tuple[str, ...] = (),
    pk: uuid.UUID | None = None,
    age: float = 0,
    **values: Any,
) -> DBTaskResult:
    """A row of the task table, ``age`` seconds in its state."""
    values = {
        "args_kwargs": {"args": [1, 2], "kwargs": {}},
        "task_path": path,
        "queue_name": "default",
        "backend_name": "default",
        "run_after": get_date_max(),
        "worker_ids": list(workers),
        "started_at": None if status == "READY" else ago(age),
        "finished_at": ago(age) if status in ("FAILED", "SUCCESSFUL") else None,
        "exception_class_path": "builtins.ValueError" if status == "FAILED" else "",
        "traceback": "",
        **values,
    }
    row = DBTaskResult.objects.create(pk=pk or uuid.uuid4(), status=status, **values)
    DBTaskResult.objects.filter(pk=row.pk).update(enqueued_at=ago(age))
    return row


def ran(job: str, tick: datetime) -> None:
    """A row of the ledger of runs: the job ran at that tick."""
    run = ledger.claim(job, tick, ledger.Holder("cron", "here", uuid.uuid4()), "default")
    assert run is not None
    assert ledger.finish(run, "done", {}, "", "default")


def dead_pid() -> int:
    """The pid of a process that has just ended on this host."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def elsewhere() -> Host:
    """A host of which nothing can be looked up from here."""
    return replace(this_host(), boot_id="another", hostname="far")


def process(
    name: str = "w",
    number: int = 1,
    *,
    kind: str = "worker",
    pid: int | None = None,
    host: Host | None = None,
    supervisor: uuid.UUID | None = None,
    lease: float = 15.0,
    silent: float = 0,
    queues: tuple[str, ...] = ("*",),
    **values: Any,
) -> Process:
    """A registered process that last beat ``silent`` seconds ago; by default it is alive."""
    group = registry.Group(
        supervisor or uuid.uuid4(),
        name,
        host or this_host(),
        lease,
        {"queues": list(queues), "excluded": [], "backend": "default"},
    )
    worker_id = f"{name}.{INCARNATION}.{number}"
    registry.register(group, kind, worker_id, pid or os.getpid(), "default", 1.0)
    rows = Process.objects.filter(worker_id=worker_id)
    rows.update(last_beat_at=db_now("default") - timedelta(seconds=silent), **values)
    return rows.get()


def lost(**values: Any) -> DBTaskResult:
    """A RUNNING task whose worker has ended on this host."""
    owner = process(f"gone{uuid.uuid4().hex[:6]}", pid=dead_pid())
    return task("RUNNING", workers=(owner.worker_id,), **values)


def seen(row: DBTaskResult, seconds: float) -> None:
    """Note that a task was first seen RUNNING so many seconds ago."""
    Sighting.objects.create(
        task_id=row.pk,
        attempt=len(row.worker_ids),
        worker_id=row.worker_ids[-1],
        first_seen_at=db_now("default") - timedelta(seconds=seconds),
    )


def entry(row: DBTaskResult, *, since: float = 0, **values: Any) -> LedgerEntry:
    """A ledger entry about a task, written ``since`` seconds ago."""
    moment = db_now("default") - timedelta(seconds=since)
    values = {
        "task_path": row.task_path,
        "queue_name": row.queue_name,
        "backend_name": row.backend_name,
        "attempt": len(row.worker_ids),
        "worker_id": row.worker_ids[-1] if row.worker_ids else "",
        "host": "host",
        "verdict": "exited",
        "action": "requeued",
        "reason": "crashed",
        "exit_signal": "SIGKILL",
        "counted": True,
        "losses": 1,
        "noticed_by": "w@host",
        "evidence": "worker was ended by SIGKILL",
        "last_proof_of_life": moment - timedelta(seconds=2),
        "acted_at": moment,
        **values,
    }
    return LedgerEntry.objects.create(task_id=row.pk, **values)
