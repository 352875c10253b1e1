"""Jobs: did each run when it was due, and come to its end?

- ``MissedTick``: a tick that is ``late`` and that nobody has claimed. A job that never ran
  has no tick to miss yet.
- ``JobFailed``: its last run failed, was lost with its process, or is past its time limit.
  Skipped ticks are newer where a job hangs, and tell nothing.
- ``ArchiveFailed``: the last prune failed, for it could not archive.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from argus_maint.conf_jobs import Job
from argus_maint.dbtime import db_now
from argus_maint.findings.observation import Observation
from argus_maint.jobs.detect.look import Look
from argus_maint.models import Run
from argus_maint.observe.screen import span
from argus_maint.scheduling import ledger

ARCHIVE_FAILED = "archive_failed"  # a key in the report of a prune


def missed_ticks(look: Look) -> Iterator[Observation]:
    """Ticks that nobody claimed."""
    now, late = ledger.utc_now(look.using), look.option("MissedTick", "late")
    for job in _enabled(look):
        last = ledger.last_tick(job.name, look.using, now)
        due = job.schedule.after(last) if last is not None else None
        if due is not None and now - due > timedelta(seconds=late):
            waits = span((now - due).total_seconds())
            summary = f"{job.name} was due {waits} ago, and nobody has run it"
            evidence = {"job": job.name, "due": due.isoformat()}
            yield Observation("MissedTick", job.name, summary, evidence)


def _enabled(look: Look) -> list[Job]:
    return [job for job in look.jobs.values() if job.enabled]


def failed_jobs(look: Look) -> Iterator[Observation]:
    """Runs that failed, were lost, or take too long."""
    now = db_now(look.using)
    for job in _enabled(look):
        run = ledger.last_run(job.name, look.using)
        if run is None or _archive_failed(run):
            continue
        age = (now - run.started_at).total_seconds()
        state, summary = run.state, ""
        if state == Run.State.FAILED:
            summary = f"{job.name} failed {span(age)} ago on {run.host}: {run.error[:200]}"
        elif state == Run.State.LOST:
            summary = f"{job.name} was lost with its process on {run.host} {span(age)} ago"
        elif state == Run.State.RUNNING and job.time_limit is not None and age > job.time_limit:
            summary = f"{job.name} has been running for {span(age)} on {run.host}"
        if summary:
            evidence = {"job": job.name, "state": str(state), "host": run.host, "run": run.pk}
            yield Observation("JobFailed", job.name, summary, evidence)


def _archive_failed(run: Run) -> bool:
    return run.state == Run.State.FAILED and bool(run.report.get(ARCHIVE_FAILED))


def archive_failed(look: Look) -> Iterator[Observation]:
    """A prune that could not archive, and so deletes nothing."""
    for job in _enabled(look):
        run = ledger.last_run(job.name, look.using) if job.name == "prune" else None
        if run is not None and _archive_failed(run):
            summary = f"{job.name} on {run.host} cannot archive: {run.error[:300]}"
            evidence = {"job": job.name, "host": run.host, "folder": run.report[ARCHIVE_FAILED]}
            yield Observation("ArchiveFailed", "", summary, evidence)


DETECTORS = {
    "MissedTick": missed_ticks,
    "JobFailed": failed_jobs,
    "ArchiveFailed": archive_failed,
}
