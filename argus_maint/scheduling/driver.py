"""The scheduler process: what ``manage.py crontask`` runs.

Any number of them may run. Each fires every tick, and the ledger gives it to one: so there
is no leader that has to be waited for when it dies, and none that could fire its backlog
when it thaws. What a dead one was running is taken over where the job says so.

APScheduler fires the ticks, in a thread of its own. The loop of the main thread

- beats in the registry, and tells the service manager that it turns;
- looks, at each beat, at who is dead (``look``), at runs that were lost, and at ticks that
  are due and were not fired: after an outage, a jump of the clock, a suspend;
- sees jumps of the host's clock, by the monotonic one, and has APScheduler think anew;
- outlives any outage of the database, and drops connections that have died; it waits for
  ``migrate`` in the same way.

At SIGTERM, SIGINT or SIGHUP it fires nothing more, asks the jobs of ours to stop, waits
``GRACE`` seconds for what runs, and goes. A job that it left is taken over.

Events: ``scheduler.started``, ``scheduler.stopped``, ``scheduler.waiting`` and
``scheduler.back`` (the database), ``scheduler.error`` (with a traceback), ``clock.jumped``,
``process.replaced``.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from django.db import Error, connections

from argus_maint.clock import now as monotonic
from argus_maint.conf_jobs import Job
from argus_maint.database import discard, may_come_back, what_helps
from argus_maint.log import get_logger
from argus_maint.scheduling import crontask
from argus_maint.scheduling.due import Due
from argus_maint.scheduling.executor import ClaimingExecutor
from argus_maint.scheduling.runner import Runner
from argus_maint.ticks import UTC
from argus_maint.workers.notify import Manager

logger = get_logger(__name__)

TURN = 1.0  # seconds, at most, between two looks at the clock
JUMP = 2.0  # seconds
GRACE = 20.0  # seconds
THREADS = 10
MISFIRE_GRACE = 3600  # seconds: a site's own task that is later than that is left out
WORD_EVERY = 60.0  # seconds between two lines about a database that is away


class Driver:
    """One scheduler process. ``look`` is called at each beat that was committed, and returns
    when (monotonic) it is to be called again before the next one, if at all; so it is when
    ``glance``, called at each turn, says that one of those who hold a run may be dead.

    ``well`` is called after it, unless a job is due that was due at the beat before: then
    ticks are not being claimed.
    """

    def __init__(
        self,
        runner: Runner,
        jobs: Mapping[str, Job],
        look: Callable[[], float | None],
        manager: Manager,
        well: Callable[[], None] = lambda: None,
        glance: Callable[[], bool] = lambda: False,
    ) -> None:
        self.runner, self.jobs, self.look, self.manager = runner, jobs, look, manager
        self.well, self.glance, self.due = well, glance, set[str]()
        self.look_at: float | None = None
        self.member, self.using = runner.member, runner.using
        self.scheduler: Any = crontask.scheduler()
        self.stop = runner.stop
        self.busy: set[str] = set()
        self.lock = threading.Lock()
        self.pool = ThreadPoolExecutor(THREADS, thread_name_prefix="job")
        self.next_beat = monotonic()
        self.down_since: float | None = None
        self.next_word = 0.0
        self.offset = time.time() - monotonic()

    # -- jobs -------------------------------------------------------------------

    def fire(self, name: str) -> None:
        """Run what is due of a job, if this process is not at it already."""
        self._alone(name, lambda: self.runner.fire(self.jobs[name]))

    def _take_over(self, name: str) -> None:
        self._alone(name, lambda: self.runner.take_over({name: self.jobs[name]}))

    def _alone(self, name: str, work: Callable[[], object]) -> None:
        with self.lock:
            if name in self.busy or self.stop.is_set():
                return
            self.busy.add(name)
        try:
            work()
        except Exception as error:  # in a thread that nobody asks how it went
            if may_come_back(error):  # the loop will find that it is still due
                logger.warning("scheduler.waiting", job=name, error=str(error).strip())
            else:
                logger.exception("scheduler.error", job=name)
        finally:
            with self.lock:
                self.busy.discard(name)
            connections.close_all()

    # -- the loop ---------------------------------------------------------------

    def run(self, ready: Callable[[], None]) -> None:
        """Turn until ``stop`` is set; ``ready`` is called when ticks are being fired."""
        self._turn()  # registered before the first claim
        thread = self._start()
        logger.info("scheduler.started", name=self.member.name, pid=os.getpid())
        ready()
        enabled = sum(job.enabled for job in self.jobs.values())
        self.manager.tell(f"READY=1\nSTATUS=running {enabled} jobs")
        while not self.stop.wait(self._pause()):
            if not thread.is_alive():
                raise RuntimeError("the scheduler's thread has ended")
            self._turn()
            self.manager.tell("WATCHDOG=1")

    def _pause(self) -> float:
        """Until the next beat, at most: one that is late is a part of the lease."""
        next_look = self.next_beat if self.look_at is None else min(self.next_beat, self.look_at)
        until_then = max(0.05, next_look - monotonic())
        return min(TURN, self.manager.watchdog_every or TURN, until_then)

    def _start(self) -> threading.Thread:
        executor = ClaimingExecutor(self.runner, THREADS)
        defaults = {"coalesce": True, "misfire_grace_time": MISFIRE_GRACE, "max_instances": 1}
        self.scheduler.configure(job_defaults=defaults, executors={"default": executor})
        crontask.put_jobs([job for job in self.jobs.values() if job.enabled], self.fire)
        thread = threading.Thread(target=self.scheduler.start, daemon=True, name="scheduler")
        thread.start()
        while not self.scheduler.running and thread.is_alive():
            time.sleep(0.01)
        return thread

    def _turn(self) -> None:
        self._look_at_the_clock()
        beats = monotonic() >= self.next_beat
        if not beats and self.down_since is not None:
            return
        if beats:
            self.next_beat = monotonic() + self.member.beat_every
        if self._reached(self._beat if beats else self._glance):
            if self.down_since is not None:
                logger.info("scheduler.back", seconds=round(monotonic() - self.down_since))
            self.down_since = None
        if self.scheduler.running:
            self.scheduler.wakeup()  # its sleep stands still while the machine does

    def _beat(self) -> None:
        if self.member.beaten_at is None:
            self.member.register()
        else:
            self.member.beat()
        self.look_at = self.look()
        before, self.due = self.due, set()
        self._sweep()
        self.runner.tell_overdue()
        if not before & self.due:
            self.well()

    def _sweep(self) -> None:
        """Start what is due and not fired, and what was lost with its process."""
        for job in self.jobs.values():
            if job.name not in self.busy and self.runner.look(job) != Due():
                self.due.add(job.name)
                self.pool.submit(self.fire, job.name)
        self._sweep_lost()

    def _glance(self) -> None:
        """Between two beats: the sooner a last beat is seen, the sooner is silence proof."""
        is_time = self.look_at is not None and monotonic() >= self.look_at
        if self.glance() or is_time:
            self.look_at = self.look()
            self._sweep_lost()

    def _sweep_lost(self) -> None:
        for run in self.runner.strays():
            if run.job in self.jobs:
                self.pool.submit(self._take_over, run.job)
            else:  # of the site's own scheduler, or of a job that is no more: told, not run
                self.runner.take_over({})

    def _reached(self, work: Callable[[], None]) -> bool:
        """Do it; False where the database is away, and is waited for."""
        try:
            work()
        except Error as error:
            if not may_come_back(error):
                raise
            self._database_away(error)
            return False
        return True

    def _database_away(self, error: Exception) -> None:
        at = monotonic()
        if self.down_since is None:
            self.down_since = self.next_word = at
        if at >= self.next_word:
            hint, seconds = what_helps(error), round(at - self.down_since)
            logger.warning(
                "scheduler.waiting", error=str(error).strip(), hint=hint, seconds=seconds
            )
            self.next_word = at + WORD_EVERY
        discard(self.using)
        self.next_beat = at + min(1.0, self.member.beat_every / 4)

    def _look_at_the_clock(self) -> None:
        """APScheduler sleeps until a time of day: tell it when that has moved."""
        offset = time.time() - monotonic()
        jump, self.offset = offset - self.offset, offset
        if abs(jump) < JUMP:
            return
        logger.warning("clock.jumped", seconds=round(jump, 1))
        present = datetime.now(UTC)
        for job in self.scheduler.get_jobs() if self.scheduler.running else ():
            soonest = job.trigger.get_next_fire_time(None, present)
            if soonest is not None and job.next_run_time and soonest < job.next_run_time:
                job.modify(next_run_time=soonest)  # set back: it would wait for that long
        self.next_beat = 0.0

    # -- its end ----------------------------------------------------------------

    def end(self) -> bool:
        """Wait for what runs, and sign off; whether nothing was left running."""
        self.stop.set()
        self.manager.tell("STOPPING=1")
        if self.scheduler.running:
            self.scheduler.shutdown(wait=False)
        self.pool.shutdown(wait=False, cancel_futures=True)
        until = monotonic() + GRACE
        while (self._at_work() or self.runner.claiming) and monotonic() < until:
            self.manager.tell("WATCHDOG=1")
            self._beat_on()
            time.sleep(0.05)
        left = self._at_work()
        if self.member.beaten_at is not None:
            self.member.sign_off(keep=True)
        logger.info("scheduler.stopped", name=self.member.name, left=", ".join(left))
        return not left

    def _beat_on(self) -> None:
        """Without, what ends within the grace would be taken for lost before, and run twice."""
        if self.member.beaten_at is None or monotonic() < self.next_beat:
            return
        self.next_beat = monotonic() + self.member.beat_every
        self._reached(self.member.beat)

    def _at_work(self) -> list[str]:
        """Names of what runs, and of what waits for the database to begin or to end."""
        under_way = {under.run.job for under in list(self.runner.under_way.values())}
        return sorted(under_way | set(self.busy))
