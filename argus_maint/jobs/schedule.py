"""The job ``schedule``: did every other job run, and come to its end?

``look`` compares the ledger with the schedules and returns a report: for each job its
last tick and what became of it, and in ``problems`` what a person has to see: a tick that
is ``late`` seconds old and that nobody claimed, a run that failed, was lost, or is past its
time limit, a job that is set wrong and so is not run, schedulers that died and have no heir.
It changes nothing.

Event: ``schedule.problem``, once a pass for each, with its ``code`` and the job.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from argus_maint.conf import get_settings
from argus_maint.conf_jobs import Job
from argus_maint.dbtime import db_now
from argus_maint.log import get_logger
from argus_maint.models import Run
from argus_maint.observe import schedulers
from argus_maint.observe.screen import span
from argus_maint.scheduling import ledger
from argus_maint.workers import registry

logger = get_logger(__name__)

LATE = 600.0  # seconds


def look(using: str, jobs: Mapping[str, Job], late: float = LATE) -> dict[str, Any]:
    """One pass."""
    now, problems, ticks = ledger.utc_now(using), [], {}
    for job in jobs.values():
        last = ledger.last_tick(job.name, using, now)
        ticks[job.name] = last.isoformat() if last else None
        if job.enabled:
            found = [*_missed(job, last, now, late), *_troubles(job, using)]
            problems += [{"job": job.name, "code": code, "message": text} for code, text in found]
    for wrong in get_settings().job_problems:  # the job is not among ``jobs``
        text = f"a job is set wrong, and does not run: {wrong}"
        problems.append({"job": "", "code": "wrong", "message": text})
    for each in schedulers.gone(registry.living(using), using, db_now(using))[:1]:
        text = f"no scheduler is running; {each.name} on {each.hostname} died: manage.py crontask"
        problems.append({"job": "", "code": "no_scheduler", "message": text})
    for problem in problems:
        logger.warning("schedule.problem", **problem)
    return {"last_ticks": ticks, "problems": problems}


def _missed(
    job: Job, last: datetime | None, now: datetime, late: float
) -> Iterator[tuple[str, str]]:
    """A tick that nobody claimed. A job that never ran has no tick to miss yet."""
    due = job.schedule.after(last) if last is not None else None
    if due is not None and now - due > timedelta(seconds=late):
        waits = span((now - due).total_seconds())
        yield "missed", f"{job.name} was due {waits} ago, and nobody has run it"


def _troubles(job: Job, using: str) -> Iterator[tuple[str, str]]:
    """What its last run tells; skipped ticks are newer where a job hangs, and tell nothing."""
    run = ledger.last_run(job.name, using)
    if run is None:
        return
    age = (db_now(using) - run.started_at).total_seconds()
    if run.state == Run.State.RUNNING and job.time_limit is not None and age > job.time_limit:
        yield "overdue", f"{job.name} has been running for {span(age)} on {run.host}"
    if run.state == Run.State.FAILED:
        yield "failed", f"{job.name} failed {span(age)} ago: {run.error[:200]}"
    if run.state == Run.State.LOST:
        yield "lost", f"{job.name} was lost with its process on {run.host} {span(age)} ago"
