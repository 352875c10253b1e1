"""The ledger of runs: one row a job and tick, claimed by inserting it.

Using it::

    run = claim(job, tick, holder, using)      # None: another has it
    finish(run, Run.State.DONE, {"rows": 12}, "", using)

Two unique columns do the work, so no lock is held while a job runs and it is the same on
every database: ``(job, tick)`` gives a tick to one claimer, ``running`` lets no job overlap
itself. A write that meets a lock (SQLite) is tried again for ``PATIENCE`` seconds; an
INSERT that is tried again cannot claim twice.

A run is lost when the process that claimed it is dead (``workers.liveness``). It is taken
over by an UPDATE that is guarded by the attempt, and so is every ``finish``: a process that
was frozen and comes back finds that its run is no longer its own.

All times are the database's; ticks are stored in UTC.

Events: ``job.skipped`` (a tick whose predecessor still runs), ``job.lost``,
``job.refused`` (a run that came to its end after it was taken for lost).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from django.conf import settings
from django.db import IntegrityError

from argus_maint.clock import now as monotonic
from argus_maint.conf_jobs import Job
from argus_maint.database import is_locked, short_transaction
from argus_maint.dbtime import DbNow, db_now
from argus_maint.exceptions import Overlap
from argus_maint.log import get_logger
from argus_maint.models import Process, Run
from argus_maint.ticks import UTC
from argus_maint.workers import registry
from argus_maint.workers.identity import Host
from argus_maint.workers.liveness import Verdict, judge

logger = get_logger(__name__)
T = TypeVar("T")
WAIT = 1.0  # seconds for any lock
PATIENCE = 30.0  # seconds of trying again
MOST_TEXT = 2000  # characters of an error


@dataclass(frozen=True, slots=True)
class Holder:
    """Who claims: the driver, the host's name, and the process as the registry knows it."""

    driver: str
    host: str
    process: uuid.UUID


def utc_now(using: str) -> datetime:
    """The database's time, in UTC. Where USE_TZ is off it has no zone: then this host's."""
    return db_now(using).astimezone(UTC) if settings.USE_TZ else datetime.now(UTC)


def to_column(tick: datetime) -> datetime:
    """A tick as the column holds it."""
    return tick if settings.USE_TZ else tick.replace(tzinfo=None)


def aware(tick: datetime | None) -> datetime | None:
    """A tick as it comes from the column."""
    return None if tick is None else aware_utc(tick)


def aware_utc(moment: datetime) -> datetime:
    """A time of our tables, with a zone."""
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def last_tick(name: str, using: str, now: datetime) -> datetime | None:
    """The newest tick of a job that was claimed or passed over, up to ``now``."""
    rows = Run.objects.using(using).filter(job=name, tick__lte=to_column(now))
    tick = rows.order_by("-tick").values_list("tick", flat=True).first()
    return aware(tick)


def claim(
    job: str, tick: datetime | None, holder: Holder, using: str, missed: int = 0
) -> Run | None:
    """Claim a tick; None where it is another's, or skipped because the job still runs.

    Without a tick, a run by hand: raises Overlap where the job runs already.
    """
    values: dict[str, Any] = {"job": job, "tick": tick and to_column(tick), "missed": missed}
    values |= {"driver": holder.driver, "host": holder.host, "process": holder.process}
    rows = Run.objects.using(using)
    for _ in range(2):
        run = Run(**values, running=job, started_at=DbNow())
        if _inserted(run, using):
            return run
        if tick is not None and rows.filter(job=job, tick=values["tick"]).exists():
            return None
        other = rows.filter(running=job).first()
        if other is not None:
            break  # else it has ended just now
    if tick is None:
        raise Overlap(job, other)
    report = {"why": "overlap", "run": other.pk if other else None}
    state = Run.State.SKIPPED
    skipped = Run(**values, state=state, started_at=DbNow(), finished_at=DbNow(), report=report)
    if _inserted(skipped, using):
        logger.warning("job.skipped", job=job, tick=tick.isoformat(), why="overlap")
    return None


def pass_over(job: str, tick: datetime, holder: Holder, using: str, why: str) -> None:
    """Note a tick that is not to be run; one row for a whole row of them."""
    rows = Run.objects.using(using).filter(job=job, state=Run.State.SKIPPED)
    last = rows.filter(tick__lt=to_column(tick)).order_by("-tick").first()
    newest = last_tick(job, using, tick)
    same = last is not None and last.tick is not None and last.report == {"why": why}
    if last is not None and same and newest == aware(last.tick):
        with short_transaction(using, WAIT):
            rows.filter(pk=last.pk).update(tick=to_column(tick), finished_at=DbNow())
        return
    _inserted(
        Run(
            job=job,
            tick=to_column(tick),
            state=Run.State.SKIPPED,
            driver=holder.driver,
            host=holder.host,
            started_at=DbNow(),
            finished_at=DbNow(),
            report={"why": why},
        ),
        using,
    )


def _inserted(run: Run, using: str) -> bool:
    def insert() -> bool:
        try:
            with short_transaction(using, WAIT):
                run.save(using=using, force_insert=True)
        except IntegrityError:
            run.pk = None
            return False
        return True

    return patiently(insert)


def patiently(write: Callable[[], T]) -> T:
    """Do it, and again while it meets a lock."""
    until, pause = monotonic() + PATIENCE, 0.05
    while True:
        try:
            return write()
        except Exception as error:
            if not is_locked(error) or monotonic() > until:
                raise
        time.sleep(pause)
        pause = min(1.0, pause * 2)


def finish(run: Run, state: str, report: dict[str, Any], error: str, using: str) -> bool:
    """Write the end of a run; False where it is no longer the caller's."""

    def update() -> int:
        with short_transaction(using, WAIT):
            updated: int = _mine(run, using).update(
                state=state,
                running=None,
                finished_at=DbNow(),
                report=report,
                error=error[:MOST_TEXT],
            )
            return updated

    if patiently(update):
        run.refresh_from_db(using=using)
        return True
    # The reply to this very write may have been lost, and it was tried again.
    if Run.objects.using(using).filter(pk=run.pk, attempt=run.attempt, state=state).exists():
        return True
    logger.warning("job.refused", job=run.job, run=run.pk, attempt=run.attempt, state=state)
    return False


def _mine(run: Run, using: str) -> Any:
    return Run.objects.using(using).filter(
        pk=run.pk, state=Run.State.RUNNING, attempt=run.attempt, process=run.process
    )


def hand_over(run: Run, task_id: str, using: str) -> None:
    """Let a task go on with a run: from now on its row says whether the run is lost."""
    report = {"task_id": task_id}
    patiently(lambda: _mine(run, using).update(process=None, report=report))


def take(pk: int, attempt: int, holder: Holder, using: str) -> Run | None:
    """Go on with a run that was handed over; None where it is over, or somebody else's."""
    rows = Run.objects.using(using)
    mine = rows.filter(pk=pk, state=Run.State.RUNNING, attempt=attempt)
    values = {"process": holder.process, "driver": holder.driver, "host": holder.host}
    return rows.get(pk=pk) if patiently(lambda: mine.update(**values)) else None


def lost(using: str, host: Host) -> list[Run]:
    """Runs whose process is dead, by its row or as this host proves now.

    One that was handed to a task is lost when that task is over and has not ended it.
    """
    running = list(Run.objects.using(using).filter(state=Run.State.RUNNING))
    of_tasks = {run.report["task_id"]: run for run in running if run.report.get("task_id")}
    by_process = [run for run in running if not run.report.get("task_id")]
    gone = [of_tasks[each] for each in of_tasks.keys() - _unfinished(of_tasks, using)]
    return gone + (_of_the_dead(by_process, using, host) if by_process else [])


def _unfinished(task_ids: Iterable[str], using: str) -> set[str]:
    from django_tasks_db.models import DBTaskResult, TaskResultStatus

    open_ = (TaskResultStatus.READY, TaskResultStatus.RUNNING)
    rows = DBTaskResult.objects.using(using).filter(pk__in=list(task_ids), status__in=open_)
    return {str(pk) for pk in rows.values_list("pk", flat=True)}


def _of_the_dead(running: list[Run], using: str, host: Host) -> list[Run]:
    processes = {run.process for run in running}
    rows = Process.objects.using(using).filter(supervisor__in=processes)
    alive = set()
    now = db_now(using)
    for row in rows.filter(state__in=registry.LIVING):
        if judge(row, host, now, None, 0.0) is not Verdict.EXITED or not _end(row, using, host):
            alive.add(row.supervisor)
    return [run for run in running if run.process not in alive]


def _end(row: Process, using: str, host: Host) -> bool:
    how = {"verdict": Verdict.EXITED.value, "reason": "lost", "noticed_by": host.hostname}
    return registry.end(row.worker_id, using, WAIT, beats=row.beats, **how)


def settle(run: Run, job: Job | None, holder: Holder, using: str) -> Run | None:
    """A lost run: taken over where its job says so and its tick is still valid, else LOST."""
    tick = aware(run.tick)
    again = job is not None and job.enabled and job.on_lost == "rerun" and tick is not None
    if again and job is not None and tick is not None:
        again = job.schedule.after(tick) > utc_now(using)
    values: dict[str, Any] = {"finished_at": DbNow(), "state": Run.State.LOST, "running": None}
    if again:
        values = {"attempt": run.attempt + 1, "started_at": DbNow(), "process": holder.process}
        values["report"] = {}
        values |= {"driver": holder.driver, "host": holder.host}

    def update() -> int:
        with short_transaction(using, WAIT):
            updated: int = _mine(run, using).update(**values)
            return updated

    if not patiently(update):
        return None
    run.state = run.state if again else Run.State.LOST
    outcome = "rerun" if again else "reported"
    logger.warning(
        "job.lost", job=run.job, run=run.pk, attempt=run.attempt, host=run.host, outcome=outcome
    )
    return Run.objects.using(using).get(pk=run.pk) if again else None
