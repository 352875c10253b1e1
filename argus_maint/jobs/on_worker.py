"""The task that runs a job on a worker: ``"run_on": "worker"``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django_tasks_db import DatabaseBackend
from django_tasks_db.models import TaskResultStatus

from argus_maint.checks import database_backends
from argus_maint.conf import get_settings
from argus_maint.database import task_database
from argus_maint.exceptions import JobError
from argus_maint.jobs.performing import runner_of
from argus_maint.scheduling import ledger
from argus_maint.scheduling.member import Member

if TaskResultStatus.__module__.startswith("django.tasks"):
    from django.tasks import task, task_backends
else:
    from django_tasks import task, task_backends  # type: ignore[no-redef]


def enqueue(name: str, run: int, attempt: int) -> str:
    """Hand a run over; the id of its task.

    It goes to a database backend, whichever is the default: of a task elsewhere nobody can
    tell whether it is over, and the run would be lost at the next look. Raises JobError where
    there is none.
    """
    # By our own look, for a class may be a DatabaseBackend and run its tasks in web processes.
    for alias in sorted(database_backends(), key=lambda alias: alias != run_job.backend):
        if isinstance(task_backends[alias], DatabaseBackend):
            return str(run_job.using(backend=alias).enqueue(name, run, attempt).id)
    raise JobError("no backend of TASKS is a database backend")


@task(takes_context=True)
def run_job(context: Any, name: str, run: int, attempt: int) -> str:
    """Do a run that a scheduler has claimed; returns what became of it.

    When the worker dies the rescue policy of this very task applies, and the run waits for
    it. Where the run was taken for lost meanwhile, nothing is done.
    """
    using, jobs = task_database(), get_settings().jobs
    member = Member(using, "worker")
    taken = ledger.take(run, attempt, member.holder, str(context.task_result.id), using)
    if taken is None or name not in jobs:
        return "not its run any more"
    job = replace(jobs[name], run_on="scheduler")
    return str(runner_of(member).go_on(taken, job).state)
