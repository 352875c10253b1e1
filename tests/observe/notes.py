"""Rows of the book of findings, of pauses and of the ledger of runs, for what only reads them."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

from argus_maint.dbtime import db_now
from argus_maint.findings.observation import fingerprint
from argus_maint.models import Finding, Pause, Run
from argus_maint.observe.book import JOB


def finding(code: str, object: str = "", *, age: float = 720, **values: Any) -> Finding:
    """A finding, open unless ``state`` says otherwise, first seen ``age`` seconds ago."""
    now = db_now("default")
    first = now - timedelta(seconds=age)
    mark, over = fingerprint(code, object), values.get("state") == Finding.State.CLOSED
    values = {
        "severity": "warning",
        "state": Finding.State.OPEN,
        "summary": f"what {code} says",
        "live": None if over else mark,
        "seen": 12,
        "first_seen_at": first,
        "last_seen_at": now,
        "opened_at": first,
        "closed_at": now if over else None,
        "noticed_by": "w@host",
        **values,
    }
    return Finding.objects.create(code=code, object=object, fingerprint=mark, **values)


def acked(until: float = 3600) -> dict[str, Any]:
    """Columns of a finding that somebody has taken on."""
    now = db_now("default")
    return {
        "acked_by": "anna@web",
        "acked_at": now,
        "acked_until": now + timedelta(seconds=until),
        "acked_why": "after the release",
    }


def pause(queue: str = "", worker: str = "", *, until: float | None = None, **values: Any) -> Pause:
    """A queue that is paused, or a worker that is drained."""
    now = db_now("default")
    values = {
        "backend_name": "" if worker else "default",
        "by": "anna@web",
        "why": "the mail server is away",
        "since": now - timedelta(seconds=7200),
        "until": None if until is None else now + timedelta(seconds=until),
        **values,
    }
    return Pause.objects.create(queue_name=queue, worker=worker, **values)


def run(
    job: str, state: str = "done", *, age: float = 60, by_hand: bool = False, **values: Any
) -> Run:
    """A run that began ``age`` seconds ago, and has ended unless it is running."""
    started = db_now("default") - timedelta(seconds=age)
    over = state != "running"
    values = {
        "tick": None if by_hand else started.replace(microsecond=0),
        "running": None if over else job,
        "driver": "hand" if by_hand else "cron",
        "host": "web",
        "process": uuid.uuid4(),
        "started_at": started,
        "finished_at": started + timedelta(seconds=1) if over else None,
        **values,
    }
    return Run.objects.create(job=job, state=state, **values)


def looked(age: float = 30) -> Run:
    """The book was kept ``age`` seconds ago."""
    return run(JOB, age=age)
