"""Our jobs on django-crontask's scheduler, where its own ``crontask`` command runs.

That command imports the ``tasks`` module of every app, and so puts our jobs on. Ours, which
wins when argus_maint is listed before django-crontask, does more: see ``scheduling.driver``.
In any other process that imports this module nothing happens, for nothing starts the
scheduler.
"""

from __future__ import annotations

import threading
from functools import lru_cache

from argus_maint.scheduling import crontask
from argus_maint.scheduling.pings import Whole
from argus_maint.scheduling.runner import Runner


@lru_cache(maxsize=1)
def _runner() -> Runner:
    """Made, and made known, when the first tick comes."""
    from argus_maint.conf import get_settings
    from argus_maint.database import task_database
    from argus_maint.jobs.performing import performer
    from argus_maint.scheduling.member import Member
    from argus_maint.scheduling.observers import observers

    using = task_database()
    member = Member(using, crontask.driver())
    member.beat_on(threading.Event())
    perform = performer(using, member.name, get_settings().jobs)
    return Runner(using, member, perform, observers())


@lru_cache(maxsize=1)
def _whole() -> Whole:
    from argus_maint.conf import get_settings

    return Whole(get_settings().ping, _runner().member.host.hostname)


def _fire(name: str) -> None:
    """Run what is due of a job."""
    from django.db import connections

    from argus_maint.conf import get_settings

    try:
        _runner().fire(get_settings().jobs[name])
        _whole().beat()
    finally:
        connections.close_all()


if crontask.has_crontask():
    from argus_maint.conf import get_settings

    crontask.put_jobs([job for job in get_settings().jobs.values() if job.enabled], _fire)
