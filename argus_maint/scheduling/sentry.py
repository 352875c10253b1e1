"""Check-ins at Sentry: a cron monitor for each job.

Using it: ``CheckIns()`` is an observer of a ``Runner``. It does nothing where the site has
not initialised Sentry, or has set ``ARGUS_MAINT["PING"]["sentry"]`` to False.

A run checks in as ``in_progress`` when it begins, and as ``ok`` or ``error``, with its
duration, when it ends. The monitor is ``argus-maint-JOB``; Sentry makes it at the first
check-in, with the job's schedule and time zone, a margin of ``MARGIN`` minutes, and the
job's time limit as the longest run. Check-ins go through the site's own client, which has a
thread and a bounded queue.

Source: https://docs.sentry.io/platforms/python/crons/
"""

from __future__ import annotations

import math
import sys
import time
from typing import Any

from argus_maint.conf_jobs import Job
from argus_maint.models import Run
from argus_maint.scheduling.pings import rid_of

MARGIN = 5  # minutes after a tick, until when a check-in is not missed
LONGEST = 40_320  # minutes; Sentry takes no more
SLUG = 50  # characters of a monitor's name


class CheckIns:
    """Tells of each run of a job."""

    def __init__(self) -> None:
        self.since: dict[str, float] = {}  # by job, which never overlaps itself

    def began(self, run: Run, job: Job) -> None:
        """A run has begun."""
        self.since[job.name] = time.monotonic()
        _check_in(run, job, "in_progress")

    def ended(self, run: Run, job: Job) -> None:
        """It is over."""
        since = self.since.pop(job.name, None)
        seconds = None if since is None else time.monotonic() - since
        _check_in(run, job, "ok" if run.state == Run.State.DONE else "error", seconds)


def flush(seconds: float) -> None:
    """Wait for what is on its way: the client would, too, and say so on stderr."""
    if (sdk := _sdk()) is not None:
        sdk.flush(timeout=seconds)


def _check_in(run: Run, job: Job, status: str, seconds: float | None = None) -> None:
    if (sdk := _sdk()) is not None:
        sdk.crons.capture_checkin(
            monitor_slug=f"argus-maint-{job.name}"[:SLUG],
            check_in_id=rid_of(run).hex,
            status=status,
            duration=seconds,
            monitor_config=_monitor(job),
        )


def _monitor(job: Job) -> dict[str, Any]:
    limit = LONGEST if job.time_limit is None else math.ceil(job.time_limit / 60)
    return {
        "schedule": {"type": "crontab", "value": job.schedule.expression},
        "timezone": job.schedule.zone,
        "checkin_margin": MARGIN,
        "max_runtime": min(max(1, limit), LONGEST),
    }


def _sdk() -> Any:
    """The library, where the site has imported and initialised it."""
    if "sentry_sdk" not in sys.modules:
        return None
    import sentry_sdk
    import sentry_sdk.crons

    return sentry_sdk if sentry_sdk.get_client().is_active() else None
