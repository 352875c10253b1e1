"""How the scheduler's own jobs run: each tick claimed first, on a connection that lives.

APScheduler hands an executor a job and the times that it was due. Those of the site's
``@cron`` tasks are claimed in the ledger here, so that of several schedulers one enqueues,
and a scheduler that was frozen does not fire its backlog when it thaws. Jobs of ours claim
for themselves.

A job with an ``IntervalTrigger`` counts from the start of its own scheduler; its time is
rounded down to a multiple of the interval, which is the same for all. Jitter is random and
cannot be claimed: such a job runs in every scheduler.

Events: ``cron.missed`` (the database was away for too long), and those of the runner.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_MISSED
from apscheduler.executors.base import run_job
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.triggers.interval import IntervalTrigger
from django.db import Error, close_old_connections, connections

from argus_maint.clock import now as monotonic
from argus_maint.database import discard, may_come_back
from argus_maint.log import get_logger
from argus_maint.models import Run
from argus_maint.scheduling.runner import Runner, Under
from argus_maint.ticks import UTC

logger = get_logger(__name__)

OURS = "argus_maint:"  # what the ids of our own jobs begin with
PATIENCE = 60.0  # seconds for which a tick waits for the database
PAUSE = 1.0
LONGEST = 127  # characters of a name; with its tick before it, it fits into 160


class ClaimingExecutor(ThreadPoolExecutor):  # type: ignore[misc]
    """A pool of threads that runs what this scheduler has claimed."""

    def __init__(self, runner: Runner, threads: int = 10) -> None:
        super().__init__(threads)
        self.runner, self.using = runner, runner.using

    def _do_submit_job(self, job: Any, run_times: Sequence[datetime]) -> None:
        def done(future: Any) -> None:
            error = future.exception()
            if error is not None:
                self._run_job_error(job.id, error, error.__traceback__)
            else:
                self._run_job_success(job.id, future.result())

        self._pool.submit(self._run, job, run_times).add_done_callback(done)

    def _run(self, job: Any, run_times: Sequence[datetime]) -> list[Any]:
        """In a thread of the pool; returns APScheduler's events."""
        close_old_connections()
        try:
            if job.id.startswith(OURS):
                return self._now(job, run_times)
            return [event for each in run_times for event in self._once(job, each)]
        finally:
            connections.close_all()

    def _now(self, job: Any, run_times: Sequence[datetime]) -> list[Any]:
        events: list[Any] = run_job(job, job._jobstore_alias, run_times, self._logger.name)
        return events

    def _once(self, job: Any, run_time: datetime) -> list[Any]:
        under = self._claimed(job, tick_of(job.trigger, run_time))
        if under is None:
            return []
        events = self._now(job, [run_time])
        errors = [repr(each.exception) for each in events if each.code == EVENT_JOB_ERROR]
        state = Run.State.FAILED if errors else Run.State.DONE
        if any(each.code == EVENT_JOB_MISSED for each in events):
            state, errors = Run.State.SKIPPED, ["fired later than its misfire grace time"]
        self.runner.finish(under, state, {}, "; ".join(errors))
        return events

    def _claimed(self, job: Any, tick: datetime) -> Under | None:
        """The run, once the database answers; None where it is another scheduler's."""
        until, name, again = monotonic() + PATIENCE, name_of(job), False
        with self.runner.at_claim():
            while True:
                try:
                    return self.runner.claim(name, tick, again=again)
                except Error as error:
                    if not may_come_back(error):
                        raise
                    discard(self.using)
                    again = True
                    if monotonic() > until:
                        about = {"job": name, "tick": tick.isoformat()}
                        logger.error("cron.missed", **about, error=str(error))
                        return None
                if self.runner.stop.wait(PAUSE):
                    return None


def name_of(job: Any) -> str:
    """What the ledger calls a job of the site's: the same in every scheduler.

    And no other's, for of two with one name only one would get a tick: a task's own name is
    that of its function, which two apps may have.
    """
    task = getattr(job.func, "__self__", None)
    name = f"@cron {getattr(task, 'module_path', job.name)} {job.trigger}"
    if job.args or job.kwargs:
        with contextlib.suppress(TypeError, ValueError):  # else it may differ from host to host
            name += f" {json.dumps([job.args, job.kwargs], sort_keys=True)}"
    # MariaDB's usual collations take "tidy", "Tidy" and "t\u00efdy" for one.
    if len(name) <= LONGEST and name == name.lower() and name.isascii():
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return f"{name[: LONGEST - 17]}#{digest}"


def tick_of(trigger: Any, run_time: datetime) -> datetime:
    """The tick that a time of this scheduler's stands for."""
    if not isinstance(trigger, IntervalTrigger):
        return run_time.astimezone(UTC)
    seconds = trigger.interval.total_seconds()
    return datetime.fromtimestamp(run_time.timestamp() // seconds * seconds, UTC)
