"""Runs what is due: claim a tick, do the job, write down what became of it.

Using it::

    runner = Runner(using, member, perform)
    runner.fire(job)        # every tick of it that is due
    runner.by_hand(job)     # once, now

``perform(job, run)`` does the work and returns a report, a dict that JSON can hold. It
raises ``JobError`` where it could do a part only; any other exception is a failure too,
and is logged with its traceback.

Observers are told when a run has begun, and when its end is written down: ``began(run, job)``
and ``ended(run, job)``, in the thread that runs it. They are told nothing of ticks that are
skipped, nor of the end of a run that was stopped or taken over. What they raise is logged,
and changes nothing.

Nothing is due twice: whoever asks, in whatever process, the ledger gives a tick to one.
Due is what the database's clock says; a host whose clock is a little ahead waits for it.

Events: ``job.started``, ``job.done``, ``job.failed``, ``job.error`` (with the traceback of
what a job raised), ``job.overdue`` (a run that is past its time limit and cannot be ended),
``observer.error`` (with the traceback of what an observer raised), and those of
``scheduling.ledger``.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

from django.db import connections

from argus_maint.clock import now as monotonic
from argus_maint.conf import get_settings
from argus_maint.conf_jobs import Job
from argus_maint.database import discard_if_in_transaction
from argus_maint.exceptions import HandedOver, JobError, JobStopped
from argus_maint.log import get_logger
from argus_maint.models import Run
from argus_maint.scheduling import ledger
from argus_maint.scheduling.due import Due, due
from argus_maint.scheduling.member import Member
from argus_maint.scheduling.plain import plain
from argus_maint.ticks import UTC
from argus_maint.workers import children

logger = get_logger(__name__)

AHEAD = timedelta(seconds=60)  # a host's clock that is further ahead is not waited for
Perform = Callable[[Job, Run], dict[str, Any]]


class Observer(Protocol):
    """Who wants to know of runs."""

    def began(self, run: Run, job: Job) -> None:
        """It is about to be performed."""

    def ended(self, run: Run, job: Job) -> None:
        """It is DONE, FAILED, or LOST and not run again."""


@dataclass(slots=True)
class Under:
    """A run that this process is at."""

    run: Run
    job: Job | None  # None: a task of the site's own scheduler
    since: float = field(default_factory=monotonic)
    told: bool = False


class Runner:
    """What one process runs."""

    def __init__(
        self, using: str, member: Member, perform: Perform, observers: Iterable[Observer] = ()
    ) -> None:
        self.using, self.member, self.perform = using, member, perform
        self.observers = tuple(observers)
        self.under_way: dict[int, Under] = {}
        self.claiming = 0
        self.stop = threading.Event()  # nothing is begun any more
        self.lock = threading.Lock()

    def fire(self, job: Job) -> list[Run]:
        """Run every tick of a job that is due; returns the runs that were ours."""
        self._wait_for_the_database(job)
        what = self.look(job)
        if what.passed is not None:
            why = "late" if job.enabled else "disabled"
            ledger.pass_over(job.name, what.passed, self.member.holder, self.using, why)
        runs = []
        for tick in what.ticks:
            missed = what.missed if tick == what.ticks[0] else 0
            under = self.claim(job.name, tick, missed, job)
            if under is None:
                break  # another is at it: the later ones would be skipped, and have their time
            runs.append(self._run(under, job))
            if runs[-1].state == Run.State.RUNNING:
                break  # handed over, or stopped
        return runs

    def claim(
        self,
        name: str,
        tick: datetime | None,
        missed: int = 0,
        job: Job | None = None,
        again: bool = False,
    ) -> Under | None:
        """Claim a tick for this process, which is under way until ``finish``.

        Without a job it is a task of the site's own scheduler: that enqueues, and may do so
        beside the tick before. ``again``: the claim may be made, and only its reply be lost.
        """
        if tick is not None and self.stop.is_set():
            return None  # about to go: it is left to those who stay
        holder, alone = self.member.holder, job is not None
        with self._claiming():
            run = ledger.claim(name, tick, holder, self.using, missed, alone)
            if run is None and again and tick is not None:
                run = self._unknown().filter(job=name, tick=ledger.to_column(tick)).first()
            return self._begin(run, job)

    def look(self, job: Job) -> Due:
        """What is due of a job; while one runs of which all count, the later ones are not yet."""
        now = ledger.utc_now(self.using)
        what = due(job, ledger.last_tick(job.name, self.using, now), now)
        if what.ticks and job.catch_up == "all":
            runs = ledger.under_way(self.using).filter(running=job.name)
            return Due() if runs.exists() else what
        return what

    def wanted(self, job: Job) -> bool:
        """Whether there is anything to do for a job."""
        self._wait_for_the_database(job)
        return self.look(job) != Due()

    def has_strays(self, jobs: dict[str, Job]) -> bool:
        """Whether a run of these was lost, or seems to be, or was of a job that is no more."""
        strays, known = self.strays(), get_settings().jobs
        if any(run.job in jobs or run.job not in known for run in strays):
            return True
        return any(run.job in jobs for run in ledger.suspects(self.using))

    def by_hand(self, job: Job) -> Run:
        """Run it now, whatever is due. Raises Overlap where it runs already."""
        under = self.claim(job.name, None, job=job)
        assert under is not None
        return self._run(under, job)

    def go_on(self, run: Run, job: Job) -> Run:
        """Do a run that was claimed for this process."""
        under = self.under_way[run.pk] = Under(run, job)
        return self._run(under, job)

    def take_over(self, jobs: dict[str, Job]) -> list[Run]:
        """Settle the runs whose process died: run again what says so, and report the others."""
        runs = []
        for run in self.strays():
            job = jobs.get(run.job)
            if job is None and run.job in get_settings().jobs:
                continue  # of another job than we were asked for
            with self._claiming():
                again = ledger.settle(run, job, self.member.holder, self.using)
                under = self._begin(again, job)
            if under is not None and job is not None:
                runs.append(self._run(under, job))
            elif job is not None and run.state == Run.State.LOST:
                self._observe("ended", run, job)
        return runs

    def tell_overdue(self) -> None:
        """Log, once, each run that is past its time limit."""
        for under in list(self.under_way.values()):
            limit = under.job.time_limit if under.job is not None else None
            age = monotonic() - under.since
            if limit is not None and age > limit and not under.told:
                under.told = True
                logger.warning(
                    "job.overdue", job=under.run.job, run=under.run.pk, seconds=round(age)
                )

    def strays(self) -> list[Run]:
        """Lost runs, and those of this process that it knows nothing of.

        Such a one was claimed by an INSERT whose reply never came.
        """
        strays = ledger.lost(self.using, self.member.host)
        with self.lock:
            if not self.claiming:
                strays += self._unknown()
        return strays

    def _unknown(self) -> Any:
        mine = ledger.under_way(self.using).filter(process=self.member.process)
        return mine.exclude(pk__in=list(self.under_way))

    @contextmanager
    def _claiming(self) -> Generator[None, None, None]:
        self.member.renew()
        with self.at_claim():
            yield

    @contextmanager
    def at_claim(self) -> Generator[None, None, None]:
        """While it lasts, a run of ours that we know nothing of may be one just claimed."""
        with self.lock:
            self.claiming += 1
        try:
            yield
        finally:
            with self.lock:
                self.claiming -= 1

    def _begin(self, run: Run | None, job: Job | None) -> Under | None:
        if run is None:
            return None
        # What the site's own scheduler has claimed nobody takes over, but by telling of it.
        if run.tick is not None and job is not None:
            if not self.member.holds():
                return None  # frozen meanwhile, so it may have been taken over: see strays
            if self.stop.is_set():
                ledger.give_back(run, self.using)
                return None
        under = self.under_way[run.pk] = Under(run, job)
        return under

    def _run(self, under: Under, job: Job) -> Run:
        run = under.run
        tick = run.tick.isoformat() if run.tick else ""
        logger.info("job.started", job=job.name, run=run.pk, tick=tick)
        state, report, error = Run.State.FAILED, {}, "interrupted"
        try:
            if not is_handed_over(run, job):
                self._observe("began", run, job)
            report = plain(self._performed(job, run))
            state, error = Run.State.DONE, ""
        except JobStopped:
            # RUNNING under a process that is going: whoever sees that takes it over.
            state = Run.State.RUNNING
        except HandedOver as handed:
            state = Run.State.RUNNING
            ledger.hand_over(run, handed.task_id, self.using)
        except JobError as failure:
            report, error = plain(failure.report), str(failure)
        except (Exception, SystemExit) as failure:
            error = f"{type(failure).__name__}: {failure}"
            logger.exception("job.error", job=job.name, run=run.pk)
        finally:
            if state == Run.State.RUNNING:
                self.under_way.pop(run.pk, None)
            else:
                self.finish(under, state, report, error)
        return run

    def _performed(self, job: Job, run: Run) -> dict[str, Any]:
        """The work itself, and nothing of what it left behind: a fork, or a transaction."""
        claimer, within = os.getpid(), connections[self.using].in_atomic_block
        try:
            report = self.perform(job, run)
        except BaseException as error:
            if os.getpid() != claimer:
                children.leave(error)
            raise
        finally:
            if not within and os.getpid() == claimer:
                discard_if_in_transaction(self.using)
        if os.getpid() != claimer:
            children.leave(None)
        return report

    def finish(self, under: Under, state: str, report: dict[str, Any], error: str) -> None:
        """Write down what became of a run.

        One that cannot be written stays under way until this process ends: to its loop it
        would look like one that nobody has begun.
        """
        run, seconds = under.run, round(monotonic() - under.since, 3)
        if not ledger.finish(run, state, report, plain(error), self.using):
            run.state, run.error = Run.State.LOST, "it was taken for lost, and taken over"
        self.under_way.pop(run.pk, None)
        if run.state == Run.State.DONE:
            logger.info("job.done", job=run.job, run=run.pk, seconds=seconds)
        else:
            logger.error("job.failed", job=run.job, run=run.pk, seconds=seconds, error=run.error)
        if run.state != Run.State.LOST and under.job is not None:
            self._observe("ended", run, under.job)

    def _observe(self, moment: Literal["began", "ended"], run: Run, job: Job) -> None:
        for each in self.observers:
            try:
                (each.began if moment == "began" else each.ended)(run, job)
            except Exception:
                logger.exception("observer.error", observer=type(each).__name__, job=run.job)

    def _wait_for_the_database(self, job: Job) -> None:
        """What fired this by a clock that is a little ahead of the database's has come early."""
        tick = job.schedule.latest(datetime.now(UTC))
        while timedelta() < (early := tick - ledger.utc_now(self.using)) <= AHEAD:
            if self.stop.wait(min(1.0, early.total_seconds() + 0.001)):
                return


def is_handed_over(run: Run, job: Job) -> bool:
    """Whether a worker does it: to it the run begins."""
    return job.run_on == "worker" and run.tick is not None
