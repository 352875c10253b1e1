"""The worker: takes tasks one at a time, runs them, and writes what they came to.

It claims only under a valid lease (the keeper writes that to the board), publishes
the attempt it holds, and obeys its pipe: a byte or the end of it means "finish what
you have and leave". A database that is away is waited for; the outcome of a task
that has run is kept until it can be written.

Events: ``worker.started``, ``worker.stopped``, ``database.lost``, ``database.back``,
``task.zombie`` (a refused completion), ``task.gone``.
"""

from __future__ import annotations

import os
import random
import select
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from django.db import ProgrammingError
from django_tasks_db.models import DBTaskResult

from argus_maint.backends.database import Attempt
from argus_maint.clock import now
from argus_maint.conf import Policy
from argus_maint.database import (
    TRANSIENT,
    close_all,
    discard,
    is_locked,
    may_come_back,
    task_database,
)
from argus_maint.exceptions import TaskOverdue
from argus_maint.log import get_logger
from argus_maint.models import DeclaredPolicy
from argus_maint.policy import declared_options, freeze, policy_for
from argus_maint.workers import children, claim, fence
from argus_maint.workers.blame import is_of_the_value
from argus_maint.workers.board import Phase, Slot
from argus_maint.workers.execution import announce, execute, tidy_connections
from argus_maint.workers.fence import Outcome, Settled
from argus_maint.workers.identity import member_id
from argus_maint.workers.line import Line

logger = get_logger(__name__)
T = TypeVar("T")

LOCK_WAIT = 2.0  # seconds for a row; then the outcome is kept and the write tried again
BACKOFF = (0.1, 5.0)  # seconds between tries while the database is away
GATE = 0.05  # seconds between looks at a lease that is not valid
EXIT_OVERDUE = 70  # the task was ended for being overdue; what it held is lost
STUBBORN = 5  # refused writes that no fault of the database explains: it is the value


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What every worker of a supervisor has in common."""

    queues: claim.Queues
    interval: float  # seconds between looks at an empty queue
    batch: bool
    startup_delay: bool
    max_tasks: int | None
    max_rss: int | None  # bytes
    time_limit: float | None  # seconds, for tasks whose policy has none
    name: str
    incarnation: str
    beat: float


class Worker:
    """One worker process (or, under ``--reload``, one thread)."""

    def __init__(self, options: WorkerOptions, slot: Slot, number: int, orders: int) -> None:
        self.options = options
        self.slot = slot
        self.number = number
        self.orders = orders
        self.using = task_database()
        self.tasks_done = 0
        self.unsure_of = ""  # the id under which a claim was sent that nobody answered
        self.down = False
        self.delay = BACKOFF[0]
        self.line = Line(self.using, options.beat)

    # -- its life -------------------------------------------------------------

    def run(self) -> None:
        """Work until told to stop, recycled, or (``--batch``) told that all is done."""
        logger.info("worker.started", worker_id=self.worker_id, pid=os.getpid())
        if self.options.startup_delay and self.options.interval:
            # Workers started together would otherwise look at the queue together.
            self._sleep(random.random())  # noqa: S311
        worn: dict[str, Any] = {}
        while not self._told_to_stop(0) and not (worn := self._worn_out()):
            if self.slot.raw.lease_until <= now():
                self.slot.raw.phase = Phase.IDLE
                self._sleep(GATE)
                continue
            row = self._claim()
            if row is not None:
                self._work(row)
            elif not self.unsure_of:
                self._rest()
        logger.info("worker.stopped", worker_id=self.worker_id, tasks=self.tasks_done, **worn)
        close_all()

    @property
    def worker_id(self) -> str:
        """The id of the present registration; another one after its lease was taken."""
        return member_id(
            self.options.name, self.options.incarnation, self.number, self.slot.raw.epoch
        )

    def _told_to_stop(self, timeout: float) -> bool:
        return bool(select.select([self.orders], [], [], timeout)[0])

    def _sleep(self, seconds: float) -> None:
        """Sleep, and wake for an order."""
        self._told_to_stop(seconds)

    def _rest(self) -> None:
        self.slot.raw.phase = Phase.IDLE
        tidy_connections(idle=True)
        interval = self.options.interval
        self._sleep(min(interval, 0.1) if self.options.batch else interval)

    def _worn_out(self) -> dict[str, Any]:
        """Why its place should go to a new worker; empty where it should not."""
        most, limit = self.options.max_tasks, self.options.max_rss
        if most is not None and self.tasks_done >= most:
            return {"reason": "max_tasks"}
        if limit is not None and self.tasks_done > 0 and (rss := _resident()) > limit:
            return {"reason": "max_rss", "rss": f"{rss >> 20}M"}
        return {}

    # -- taking ---------------------------------------------------------------

    def _claim(self) -> DBTaskResult | None:
        """Take a task; None where there is none or the database did not answer."""
        worker_id, started = self.worker_id, now()
        self.slot.raw.phase = Phase.CLAIMING
        try:
            with self._calling():
                if self.unsure_of:
                    ours = self.unsure_of == worker_id
                    row = claim.adopt(worker_id, self.using) if ours else None
                    if row is not None:
                        self._hold(row)  # first: once confirmed it must not look orphaned
                        if claim.confirm(row, worker_id, self.using):
                            self.unsure_of = ""
                            return row
                        self.slot.release()
                    self.unsure_of = ""
                row = claim.claim(self.options.queues, worker_id, self.using)
        except claim.LostRace:
            return None
        except (*TRANSIENT, ProgrammingError) as error:
            self.slot.release()
            if not may_come_back(error):  # else it is a table, of the newest migration
                raise
            if not is_locked(error):
                self.unsure_of = worker_id
            self._wait_for_database(error)
            return None
        self._back()
        if row is None:
            self.slot.raw.empty_at = started
            return None
        self.slot.raw.empty_at = 0.0
        self._hold(row)
        # Stopped between the claim and here, the task may have been given to another.
        if now() - started > self.options.beat / 2 or self.slot.raw.lease_until <= now():
            if not self._insist(lambda: claim.confirm(row, worker_id, self.using)):
                self.slot.release()
                return None
        return row

    def _hold(self, row: DBTaskResult) -> None:
        self._publish(row, policy_for(row.task_path), now())

    def _publish(self, row: DBTaskResult, policy: Policy, since: float) -> None:
        limit = policy.time_limit or self.options.time_limit or 0.0
        kill = policy.on_overdue == "kill"
        self.slot.hold(row.pk, len(row.worker_ids), since, limit, kill)

    # -- running --------------------------------------------------------------

    def _work(self, row: DBTaskResult) -> None:
        attempt, since = fence.attempt_of(row), now()
        self.slot.raw.phase = Phase.RUNNING
        try:
            outcome = execute(row, lambda task: self._prepare(row, task, since))
        except TaskOverdue:
            _give_up()
        self.slot.raw.phase = Phase.FINISHING
        if self._being_ended():
            _give_up()
        tidy_connections(idle=False)
        settled, outcome = self._settle(row, attempt, outcome)
        self.tasks_done += 1
        self.slot.raw.finished += 1
        self.slot.raw.last_finish = now()
        if settled is Settled.ACCEPTED:
            self.slot.announce(now())  # receivers may hang: the supervisor sees for how long
            announce(row, outcome.error)
            self.slot.release()
            tidy_connections(idle=False)
        else:
            self.slot.release()
            self._refused(settled, attempt, outcome)

    def _prepare(self, row: DBTaskResult, task: Any, since: float) -> None:
        """Learn what the task declares about itself, before it runs."""
        options = declared_options(task)
        if options:
            self._insist(lambda: declare(row.task_path, options, self.using))
            self._publish(row, policy_for(row.task_path, options), since)

    def _being_ended(self) -> bool:
        """Whether the supervisor has given up on the attempt in hand."""
        raw = self.slot.raw
        return bool(raw.ending != 0 and raw.ending == raw.sequence)

    def on_term(self, signum: int, frame: Any) -> None:
        """TERM: nothing, unless the supervisor has declared the attempt in hand overdue."""
        if self.slot.raw.phase == Phase.RUNNING and self._being_ended():
            raise TaskOverdue

    # -- writing --------------------------------------------------------------

    def _settle(
        self, row: DBTaskResult, attempt: Attempt, outcome: Outcome
    ) -> tuple[Settled, Outcome]:
        """Write the outcome, for as long as it takes; returns the one that was written."""
        tried, refused, fresh = [outcome], 0, False
        wait = min(LOCK_WAIT, self.options.beat)  # shorter than a lease

        def write() -> tuple[Settled, Outcome]:
            nonlocal refused, fresh
            try:
                return fence.complete(row, attempt, outcome, self.using, wait), outcome
            except TRANSIENT as error:
                refused += is_of_the_value(
                    error, self.using, (outcome.return_value, outcome.traceback)
                )
                if refused < STUBBORN:
                    raise
                failure = Outcome.failure(error)
            except Exception as error:  # noqa: BLE001 - the value cannot be stored: the task failed
                if not fresh:  # or the task has left the session in a state of its own
                    fresh = True
                    discard(self.using)
                    return write()
                failure = Outcome.failure(error)
            discard(self.using)
            tried[1:] = tried[1:] or [failure]
            return fence.complete(row, attempt, tried[1], self.using, wait), tried[1]

        def settle() -> tuple[Settled, Outcome]:
            settled, written = write()
            if settled is Settled.REFUSED:  # by a write of our own whose reply was lost?
                for each in tried:
                    if fence.recorded(attempt, each, self.using):
                        return Settled.ACCEPTED, each
            return settled, written

        return self._insist(settle)

    def _refused(self, settled: Settled, attempt: Attempt, outcome: Outcome) -> None:
        event = {"task_id": str(attempt.task_id), "task": attempt.task_path}
        if settled is Settled.GONE:
            logger.warning("task.gone", **event, attempt=attempt.number)
            return
        logger.warning("task.zombie", **event, attempt=attempt.number, outcome=outcome.status)
        self._insist(lambda: fence.record_refusal(attempt, outcome, attempt.owner, self.using))

    def _insist(self, call: Callable[[], T]) -> T:
        """Repeat a database call until the database has answered it."""
        while True:
            try:
                with self._calling():
                    answer = call()
            except TRANSIENT as error:
                self._wait_for_database(error, ignore_orders=True)
            else:
                self._back()
                return answer

    @contextmanager
    def _calling(self) -> Generator[None, None, None]:
        """Around a call of our own to the database: the supervisor sees how long it takes."""
        self.slot.raw.call_since = now()
        try:
            with self.line.watched():
                yield
        finally:
            self.slot.raw.call_since = 0.0

    # -- a database that is away ------------------------------------------------

    def _wait_for_database(self, error: Exception, ignore_orders: bool = False) -> None:
        """Drop the connection and wait a while, longer each time."""
        wait = time.sleep if ignore_orders else self._sleep
        if is_locked(error):
            wait(BACKOFF[0])
            return
        if not self.down:
            logger.warning("database.lost", worker_id=self.worker_id, error=str(error).strip())
        self.delay = min(self.delay * 2, BACKOFF[1]) if self.down else BACKOFF[0]
        self.down = True
        discard(self.using)
        wait(self.delay * (0.5 + random.random() / 2))  # noqa: S311

    def _back(self) -> None:
        if self.down:
            logger.info("database.back", worker_id=self.worker_id)
        self.down = False


def _give_up() -> NoReturn:
    """Leave with the task in hand: the supervisor has declared it lost."""
    children.flush()
    os._exit(EXIT_OVERDUE)


def declare(task_path: str, options: dict[str, Any], using: str) -> None:
    """Keep what a task declares where every watcher can read it without importing it.

    Before every run, and never taken back by a worker whose code declares nothing: during
    a rolling deploy that may be yesterday's code, and the task must not run twice for it.
    """
    rows, options = DeclaredPolicy.objects.using(using), freeze(options)
    if rows.filter(task_path=task_path[:255]).values_list("options", flat=True).first() != options:
        rows.update_or_create(task_path=task_path[:255], defaults={"options": options})


def _resident() -> int:
    """Resident memory of this process in bytes (Linux; elsewhere its peak)."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def obey_only_the_pipe(worker: Worker) -> None:
    """Signal handlers of a worker process.

    A service manager signals the whole group, so TERM, INT and QUIT must not end a
    worker by themselves. They are caught, not ignored: an ignored signal would stay
    ignored in every program that a task starts. Processes that a task forks get the
    defaults back.
    """

    def nothing(signum: int, frame: Any) -> None:
        return None

    for number in children.STOP_SIGNALS:
        signal.signal(number, worker.on_term if number == signal.SIGTERM else nothing)

    mask = threading.local()

    def block() -> None:
        mask.before = signal.pthread_sigmask(signal.SIG_BLOCK, children.STOP_SIGNALS)

    def restore() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask.before)

    def back_to_default() -> None:
        for number in children.STOP_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        restore()

    # Blocked meanwhile, or what is sent to a child before it has its defaults is lost.
    os.register_at_fork(before=block, after_in_parent=restore, after_in_child=back_to_default)
