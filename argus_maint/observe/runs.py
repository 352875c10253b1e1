"""The newest run of every job, in one query: which failed, were lost, or hang.

Every sub-query is answered by the index on job and tick, so the cost does not grow with the
ledger of runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet, Subquery

from argus_maint.conf_jobs import Job
from argus_maint.models import Run
from argus_maint.observe.history import iso
from argus_maint.observe.screen import span

LONGEST = 200  # characters of an error


@dataclass(frozen=True, slots=True)
class Trouble:
    """A job whose newest run was no success."""

    job: str
    state: str  # "failed", "lost" or "overdue"
    run: Run
    age: float  # seconds since it began

    @property
    def message(self) -> str:
        """What a person reads."""
        when = f"{span(self.age)} ago"
        if self.state == "overdue":
            return f"job {self.job} has been running for {span(self.age)} on {self.run.host}"
        if self.state == "lost":
            return f"job {self.job} was lost with its process on {self.run.host} {when}"
        lines = self.run.error.strip().splitlines() or ["no reason is on record"]
        return f"job {self.job} failed {when}: {lines[-1][:LONGEST]}"

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "job": self.job,
            "state": self.state,
            "host": self.run.host,
            "started_at": iso(self.run.started_at),
            "finished_at": iso(self.run.finished_at),
            "error": self.run.error or None,
        }


def newest(names: Iterable[str], using: str) -> list[Run]:
    """The newest run of each job, skipped ticks left out; by its tick, or by hand if later."""
    wanted = Q()
    for name in names:
        of_job = Run.objects.using(using).filter(job=name).exclude(state=Run.State.SKIPPED)
        for rows in (
            of_job.filter(tick__isnull=False).order_by("-tick"),
            of_job.filter(tick__isnull=True).order_by("-pk"),
        ):
            wanted |= Q(pk=Subquery(rows.values("pk")[:1]))
    if not wanted:
        return []
    found: QuerySet[Run] = Run.objects.using(using).filter(wanted)
    latest: dict[str, Run] = {}
    for run in sorted(found, key=lambda each: (each.started_at, each.pk)):
        latest[run.job] = run
    return list(latest.values())


def troubles(jobs: Iterable[Job], using: str, now: datetime) -> list[Trouble]:
    """Jobs that are switched on and whose newest run was no success."""
    enabled = {job.name: job for job in jobs if job.enabled}
    found = []
    for run in newest(sorted(enabled), using):
        age = max(0.0, (now - run.started_at).total_seconds())
        state = _state(run, enabled[run.job], age)
        if state:
            found.append(Trouble(run.job, state, run, age))
    return sorted(found, key=lambda each: each.job)


def _state(run: Run, job: Job, age: float) -> str:
    if run.state == Run.State.RUNNING:
        return "overdue" if job.time_limit is not None and age > job.time_limit else ""
    return str(run.state) if run.state in (Run.State.FAILED, Run.State.LOST) else ""
