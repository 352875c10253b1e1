"""django-crontask's scheduler, where that package is there, and ours on it.

``scheduler()`` is the object that its ``@cron`` tasks are put on; without the package an
APScheduler of the same kind. ``put_jobs`` adds our jobs to it: they run in its process, and
need no worker.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from apscheduler.schedulers.blocking import BlockingScheduler
from django.apps import apps

from argus_maint.conf_jobs import Job
from argus_maint.scheduling.executor import OURS
from argus_maint.scheduling.trigger import TickTrigger

PACKAGE = "crontask"


def has_crontask() -> bool:
    """Whether django-crontask is one of the site's apps."""
    return apps.is_installed(PACKAGE)


def driver() -> str:
    """What a run says of who fired it."""
    return PACKAGE if has_crontask() else "apscheduler"


@lru_cache(maxsize=1)
def scheduler() -> Any:
    """The one scheduler of this process."""
    if has_crontask():
        import crontask

        return crontask.scheduler
    return BlockingScheduler()


def load_heartbeat() -> None:
    """Put the package's own heartbeat on: a task every minute."""
    importlib.import_module(f"{PACKAGE}.tasks")


def put_jobs(jobs: Iterable[Job], fire: Callable[[str], object]) -> None:
    """Have ``fire(name)`` called at every tick of these jobs."""
    for job in jobs:
        scheduler().add_job(
            fire,
            TickTrigger(job.schedule),
            args=[job.name],
            id=f"{OURS}{job.name}",
            name=f"argus_maint {job.name}",
            misfire_grace_time=None,  # how late is too late is the ledger's to say
            coalesce=True,
            max_instances=1,
            replace_existing=True,
        )
