"""The keeper's own pass of the job ``findings``: a dead queue reports itself.

Detection must not depend on a scheduler or a crontab that may be dead as well. So every keeper
looks once a tick whether somebody has claimed it; ``AFTER`` seconds after it was due, and a
little at random, it makes the pass itself. The ledger of runs gives the tick to one of all.

The pass is made in a forked child, as a messenger is: it may neither hang nor fatten the
keeper, which ends it at the job's time limit. What it was doing is lost then, as with any
process that dies in a run, and the next tick is another's.

Events: ``fork.failed``, ``guard.ended`` (the pass took too long), ``guard.error``.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from django.db import Error, OperationalError

from argus_maint.clock import now
from argus_maint.conf import get_settings
from argus_maint.conf_jobs import Job
from argus_maint.database import bounded_reads, close_all, is_locked
from argus_maint.log import get_logger
from argus_maint.scheduling import ledger, observers
from argus_maint.scheduling.member import Member
from argus_maint.workers import children

logger = get_logger(__name__)

JOB = "findings"
AFTER = 15.0  # seconds after a tick was due
JITTER = 3.0  # and up to so many more: keepers of one site start together
AGAIN = 5.0  # seconds until it is tried again
WAIT = 0.5  # seconds for any lock: the keeper has to beat
LAST_WAIT = 2.0  # seconds at the end of a keeper
LONGEST = 60.0  # seconds between two looks, and of a pass where the job has no limit


class Guard:
    """What one keeper does about it."""

    def __init__(self, using: str, noticed_by: str) -> None:
        self.using, self.noticed_by = using, noticed_by
        self.lifeline = os.pipe()
        self.jitter = random.uniform(0, JITTER)  # noqa: S311 - no secret
        self.next_look = now()
        self.pid, self.since = 0, 0.0

    def turn(self) -> None:
        """Called in every pass of the keeper; mostly it does nothing.

        Raises what the database raises. What else may be wrong must not end the keeper.
        """
        try:
            self._turn()
        except Error:
            raise
        except Exception:
            logger.exception("guard.error")
            self.next_look = now() + LONGEST

    def _turn(self) -> None:
        job = get_settings().jobs.get(JOB)
        if self._is_under_way(job) or job is None or not job.enabled or now() < self.next_look:
            return
        moment = ledger.utc_now(self.using)
        try:
            with bounded_reads(self.using, WAIT):
                due = self._unclaimed(job, moment)
        except OperationalError as error:
            if not is_locked(error):
                raise
            # As while a migration changes the table: no reason for the keeper to stand still.
            self.next_look = now() + AGAIN
            return
        if due is None or self._wait(due, moment) > 0:
            at = due or job.schedule.after(moment)
            self.next_look = now() + min(LONGEST, self._wait(at, moment))
        else:
            self.next_look = now() + AGAIN  # where the child could not even claim it
            self._fork(job)

    def _unclaimed(self, job: Job, moment: datetime) -> datetime | None:
        """The newest tick, if nobody has claimed it."""
        newest = job.schedule.latest(moment)
        last = ledger.last_tick(job.name, self.using, moment)
        return newest if last is None or last < newest else None

    def _wait(self, due: datetime, moment: datetime) -> float:
        """Seconds until it is ours to run that tick."""
        return (due + timedelta(seconds=AFTER + self.jitter) - moment).total_seconds()

    def _fork(self, job: Job) -> None:
        close_all()  # the child must not inherit our connection

        def work() -> None:
            children.ignore_signals()  # it dies with the keeper, and else comes to its end
            children.unblock()
            run_due(job, self.using, self.noticed_by)
            close_all()

        try:
            self.pid = children.fork(work, close=(), lifeline=self.lifeline)
        except OSError as error:  # no room for a process: the next tick is looked at again
            logger.error("fork.failed", error=str(error), job=job.name)
        else:
            self.since = now()

    def _is_under_way(self, job: Job | None) -> bool:
        """Whether its child is at work; one that is done is reaped, one that hangs is ended."""
        if not self.pid:
            return False
        with contextlib.suppress(ChildProcessError):
            if os.waitpid(self.pid, os.WNOHANG)[0] == 0:
                limit = (job.time_limit if job is not None else None) or LONGEST
                if now() - self.since > limit:
                    logger.error("guard.ended", job=JOB, seconds=round(now() - self.since))
                    os.kill(self.pid, signal.SIGKILL)
                return True
        self.pid = 0
        return False

    def finish(self, tick: Callable[[], None]) -> None:
        """Give a pass that is under way a moment: it dies with this process."""
        until = now() + LAST_WAIT
        while self._is_under_way(get_settings().jobs.get(JOB)) and now() < until:
            tick()
            time.sleep(0.02)


def run_due(job: Job, using: str, noticed_by: str) -> None:
    """Run what is due of it, in this process. The ledger has what became of it."""
    from argus_maint.jobs.performing import runner_of

    runner = runner_of(Member(using, "keeper"), noticed_by)
    try:
        with runner.member.beating():
            runner.fire(job)
    finally:
        observers.flush()
