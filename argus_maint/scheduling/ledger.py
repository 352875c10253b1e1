"""The ledger of runs: one row a job and tick, claimed by inserting it.

Using it::

    run = claim(job, tick, holder, using)      # None: another has it
    finish(run, Run.State.DONE, {"rows": 12}, "", using)

Two unique columns do the work, so no lock is held while a job runs and it is the same on
every database: ``(job, tick)`` gives a tick to one claimer, ``running`` lets no job overlap
itself. A write that meets a lock (SQLite) is tried again for ``PATIENCE`` seconds; an
INSERT that is tried again cannot claim twice. The end of a run is written again through
any outage of up to ``HELD`` seconds: given up, the work would look lost and be done twice.

A run is lost when the process that claimed it is dead (``workers.liveness``). It is taken
over by an UPDATE that is guarded by the attempt, and so is every ``finish``: a process that
was frozen and comes back finds that its run is no longer its own. A lost run keeps no
later tick from being run: who meets it in its way, and can prove it, notes it as lost.

All times are the database's; ticks are stored in UTC.

Events: ``job.skipped`` (a tick whose predecessor still runs), ``job.lost``,
``job.refused`` (a run that came to its end after it was taken for lost).
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, TypeVar

from django.conf import settings
from django.db import IntegrityError, connections

from argus_maint.clock import now as monotonic
from argus_maint.conf_jobs import Job
from argus_maint.database import TRANSIENT, discard, is_locked, short_transaction
from argus_maint.dbtime import DbNow, db_now
from argus_maint.exceptions import Overlap
from argus_maint.log import get_logger
from argus_maint.models import Process, Run
from argus_maint.scheduling.due import Due, due
from argus_maint.ticks import UTC
from argus_maint.workers import registry
from argus_maint.workers.identity import Host, this_host
from argus_maint.workers.liveness import Verdict, judge, lease_is_over

logger = get_logger(__name__)
T = TypeVar("T")
Moment = TypeVar("Moment", datetime, datetime | None)
WAIT = 1.0  # seconds for any lock
PATIENCE = 30.0  # seconds of trying again
MOST_ATTEMPTS = 5  # of one tick: a job that kills whoever runs it must not go on doing so
HELD = 3600.0  # seconds for which the end of a run is kept where it cannot be written
MOST_TEXT = 2000  # characters of an error


@dataclass(frozen=True, slots=True)
class Holder:
    """Who claims, in columns of Run: the driver, the host's name, the process in the registry."""

    driver: str
    host: str
    process: uuid.UUID


def utc_now(using: str) -> datetime:
    """The database's time, in UTC. Where USE_TZ is off it has no zone: then this host's."""
    return db_now(using).astimezone(UTC) if settings.USE_TZ else datetime.now(UTC)


def to_column(tick: datetime) -> datetime:
    """A tick as the column holds it."""
    return tick if settings.USE_TZ else tick.replace(tzinfo=None)


def aware(moment: Moment) -> Moment:
    """A time of our tables, with a zone."""
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment


def last_tick(name: str, using: str, now: datetime) -> datetime | None:
    """The newest tick of a job that was claimed or passed over, up to ``now``."""
    rows = Run.objects.using(using).filter(job=name, tick__lte=to_column(now))
    return aware(rows.order_by("-tick").values_list("tick", flat=True).first())


def last_run(name: str, using: str) -> Run | None:
    """The newest run of a job, or the one that is under way: no tick that was skipped."""
    rows = Run.objects.using(using).filter(job=name).exclude(state=Run.State.SKIPPED)
    return rows.order_by("-started_at", "-pk").first()


def claim(
    job: str,
    tick: datetime | None,
    holder: Holder,
    using: str,
    missed: int = 0,
    alone: bool = True,
) -> Run | None:
    """Claim a tick; None where it is another's, or skipped because the job still runs.

    Without a tick, a run by hand: raises Overlap where the job runs already. One that is
    not ``alone`` may run beside the tick before it.
    """
    running = job if alone else f"{tick} {job}"[:160]
    values: dict[str, Any] = {"job": job, "tick": tick and to_column(tick), "missed": missed}
    values |= asdict(holder)
    rows = Run.objects.using(using)
    for _ in range(3):
        run = Run(**values, running=running, started_at=DbNow())
        if _inserted(run, using):
            return run
        if tick is not None and rows.filter(job=job, tick=values["tick"]).exists():
            return None
        other = rows.filter(running=running).first()  # None: it has ended just now
        if other is not None and not _is_lost(other, holder, using):
            break
    if tick is None:
        raise Overlap(job, other)
    report = {"why": "overlap", "run": other.pk if other else None}
    state = Run.State.SKIPPED
    skipped = Run(**values, state=state, started_at=DbNow(), finished_at=DbNow(), report=report)
    if _inserted(skipped, using):
        logger.warning("job.skipped", job=job, tick=tick.isoformat(), why="overlap")
    return None


def _is_lost(run: Run, holder: Holder, using: str) -> bool:
    """Whether a run that is in the way is lost; it is noted, and no longer in the way."""
    dead = any(each.pk == run.pk for each in lost(using, this_host()))
    return dead and settle(run, None, holder, using) is None


def pass_over(job: str, tick: datetime, holder: Holder, using: str, why: str) -> None:
    """Note a tick that is not to be run; one row for a whole row of them."""
    at, state, report = to_column(tick), Run.State.SKIPPED, {"why": why}
    rows = Run.objects.using(using).filter(job=job)
    last = rows.filter(tick__lt=at).order_by("-tick").first()
    if last is not None and (last.state, last.report) == (state, report):
        # Another may have claimed the tick meanwhile, or passed by later ones.
        with contextlib.suppress(IntegrityError), short_transaction(using, WAIT):
            rows.filter(pk=last.pk, tick=last.tick).update(tick=at, finished_at=DbNow())
        return
    passed = Run(job=job, tick=at, state=state, report=report, **asdict(holder))
    passed.started_at = passed.finished_at = DbNow()
    _inserted(passed, using)


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


def patiently(
    write: Callable[[], T],
    seconds: float = PATIENCE,
    passes: Callable[[Exception], bool] = is_locked,
) -> T:
    """Do it, and again while it fails by what passes, such as a lock."""
    until, pause = monotonic() + seconds, 0.05
    while True:
        try:
            return write()
        except Exception as error:
            if monotonic() > until or not passes(error):
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

    def is_written() -> bool:
        if update():
            return True
        # The reply to this very write may have been lost, and it was tried again.
        mine = Run.objects.using(using).filter(pk=run.pk, process=run.process, state=state)
        return mine.filter(attempt=run.attempt).exists()

    if _through_outages(is_written, using):
        run.state, run.report, run.error = state, report, error[:MOST_TEXT]
        with contextlib.suppress(*TRANSIENT):
            run.refresh_from_db(using=using)
        return True
    logger.warning("job.refused", job=run.job, run=run.pk, attempt=run.attempt, state=state)
    return False


def _through_outages(write: Callable[[], T], using: str) -> T:
    """Do it, however long the database is away."""

    def passes(error: Exception) -> bool:
        if not isinstance(error, TRANSIENT) or connections[using].in_atomic_block:
            return False  # a transaction of the caller's cannot be gone on with
        discard(using)
        return True

    return patiently(write, HELD, passes)


def _mine(run: Run, using: str) -> Any:
    return Run.objects.using(using).filter(
        pk=run.pk, state=Run.State.RUNNING, attempt=run.attempt, process=run.process
    )


def under_way(using: str) -> Any:
    """Runs that have not ended, looked up by an index; most of the table has."""
    return Run.objects.using(using).filter(running__gt="", state=Run.State.RUNNING)


def give_back(run: Run, using: str) -> None:
    """Undo a claim that nobody has begun with. One that was taken over is left to be so again."""
    if run.attempt == 1:
        patiently(lambda: _mine(run, using).delete())


def hand_over(run: Run, task_id: str, using: str) -> None:
    """Let a task go on with a run: from now on its row says whether the run is lost."""
    report = {"task_id": task_id}
    patiently(lambda: _mine(run, using).update(process=None, report=report))


def take(pk: int, attempt: int, holder: Holder, task_id: str, using: str) -> Run | None:
    """Go on with a run that was handed over; None where it is over, or somebody else's.

    A worker may be quicker than ``hand_over``: that its task says whether the run is lost is
    written here too. By its process, which is in no registry, it would be at once.
    """
    rows = Run.objects.using(using)
    mine = rows.filter(pk=pk, state=Run.State.RUNNING, attempt=attempt)
    values = asdict(holder) | {"report": {"task_id": task_id}}
    return rows.get(pk=pk) if patiently(lambda: mine.update(**values)) else None


def lost(using: str, host: Host) -> list[Run]:
    """Runs whose process is dead, by its row or as this host proves now.

    One that was handed to a task is lost when that task is over and has not ended it.
    """
    running = list(under_way(using))
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


def suspects(using: str) -> list[Run]:
    """Runs under a process whose lease is over: nobody has made sure yet that it is dead."""
    living = holders(using)
    if not living:
        return []
    now = db_now(using)
    silent = {row.supervisor for row in living if lease_is_over(row, now)}
    return list(under_way(using).filter(process__in=silent)) if silent else []


def holders(using: str, besides: uuid.UUID | None = None) -> list[Process]:
    """Processes that hold a run and have not ended."""
    processes = set(under_way(using).values_list("process", flat=True)) - {besides, None}
    rows = Process.objects.using(using).filter(supervisor__in=processes)
    return list(rows.filter(state__in=registry.LIVING)) if processes else []


def _end(row: Process, using: str, host: Host) -> bool:
    how = {"verdict": Verdict.EXITED.value, "reason": "lost", "noticed_by": host.hostname}
    return registry.end(row.worker_id, using, WAIT, beats=row.beats, **how)


def _is_to_run_again(run: Run, job: Job, holder: Holder, using: str) -> bool:
    """Whether its job says so, up to ``MOST_ATTEMPTS``, and no later tick is due.

    Where one is due it is run instead; one that was skipped, since this one seemed to be
    running, is made up for. What the process itself claimed and lost sight of has not begun:
    it is no second run.
    """
    if not job.enabled or run.tick is None or run.attempt >= MOST_ATTEMPTS:
        return False
    if job.on_lost != "rerun" and run.process != holder.process:
        return False
    now, tick = utc_now(using), aware(run.tick)
    return due(job, max(tick, last_tick(job.name, using, now) or tick), now) == Due()


def settle(run: Run, job: Job | None, holder: Holder, using: str) -> Run | None:
    """A lost run: taken over where it is to run again, else LOST."""
    again = job is not None and _is_to_run_again(run, job, holder, using)
    values: dict[str, Any] = {"finished_at": DbNow(), "state": Run.State.LOST, "running": None}
    if again:
        values = {"attempt": run.attempt + 1, "started_at": DbNow(), "report": {}}
        values |= asdict(holder)

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
