"""Which ticks of a job are to be run now: a pure function of its last tick and the time.

Without a last tick the job is new. Its newest tick counts if it is fresh (a crontab line
has just fired for it); an older one is none of ours, and only marks where to begin.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from argus_maint.conf_jobs import MOST_CAUGHT_UP, Job

FRESH = timedelta(minutes=2)  # a tick of that age is late, and not missed
MOST_COUNTED = 1000


@dataclass(frozen=True, slots=True)
class Due:
    """Ticks to run, oldest first, how many before them nobody will run, and what to note.

    ``passed`` is a tick that is not to be run, and from which on later ones count.
    """

    ticks: tuple[datetime, ...] = ()
    missed: int = 0
    passed: datetime | None = None


def due(job: Job, last: datetime | None, now: datetime) -> Due:
    """What is due at ``now``, where ``last`` is the newest tick that was ever claimed."""
    newest = job.schedule.latest(now)
    if last is not None and newest <= last:
        return Due()
    fresh = now - newest <= FRESH
    if not job.enabled or (not fresh and (last is None or job.catch_up == "skip")):
        return Due(passed=newest)
    if last is None:
        return Due((newest,))
    since = job.schedule.between(last, now, MOST_COUNTED)
    most = MOST_CAUGHT_UP if job.catch_up == "all" else 1
    return Due(tuple(since[-most:]), max(0, len(since) - most))
