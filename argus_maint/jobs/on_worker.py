"""The task that runs a job on a worker: ``"run_on": "worker"``."""

from __future__ import annotations

from dataclasses import replace

from django_tasks_db.models import TaskResultStatus

from argus_maint.conf import get_settings
from argus_maint.database import task_database
from argus_maint.jobs.performing import runner_of
from argus_maint.scheduling import ledger
from argus_maint.scheduling.member import Member

if TaskResultStatus.__module__.startswith("django.tasks"):
    from django.tasks import task
else:
    from django_tasks import task  # type: ignore[no-redef]


@task
def run_job(name: str, run: int, attempt: int) -> str:
    """Do a run that a scheduler has claimed; returns what became of it.

    When the worker dies the rescue policy of this very task applies, and the run waits for
    it. Where the run was taken for lost meanwhile, nothing is done.
    """
    using, jobs = task_database(), get_settings().jobs
    member = Member(using, "worker")
    taken = ledger.take(run, attempt, member.holder, using)
    if taken is None or name not in jobs:
        return "not its run any more"
    job = replace(jobs[name], run_on="scheduler")
    return str(runner_of(member).go_on(taken, job).state)
