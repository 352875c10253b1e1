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

_made: list[Runner] = []
_lock = threading.Lock()


def _runner() -> Runner:
    """The one of this process: made, and made known, when the first tick comes."""
    from argus_maint.database import task_database
    from argus_maint.jobs.performing import runner_of
    from argus_maint.scheduling.member import Member

    with _lock:  # the first ticks of several jobs come together
        if not _made:
            member = Member(task_database(), crontask.driver())
            member.beat_on(threading.Event())
            _made.append(runner_of(member))
        return _made[0]


@lru_cache(maxsize=1)
def _whole() -> Whole:
    from argus_maint.conf import get_settings

    return Whole(get_settings().ping, _runner().member.host.hostname)


def _fire(name: str) -> None:
    """Run what is due of a job, and what was lost of it: here no loop looks for that."""
    from django.db import connections

    from argus_maint.conf import get_settings
    from argus_maint.jobs import watcher
    from argus_maint.jobs.errand import Errand

    job, runner = get_settings().jobs[name], _runner()
    try:
        watcher.make_sure(Errand(runner.using, runner.member.name), {name})
        runner.take_over({name: job})
        runner.fire(job)
        _whole().beat()
    finally:
        connections.close_all()


if crontask.has_crontask():
    from argus_maint.conf import get_settings

    crontask.put_jobs([job for job in get_settings().jobs.values() if job.enabled], _fire)
