"""The worker of django-tasks-concurrent, registered: what it takes is rescued when it dies.

Using it::

    crew = Crew("default", ["default"], 3)
    with crew.beating():      # one row for the process, one for each of its sub-workers
        run(crew, options)    # the package's own worker, until a signal ends it

The package's worker runs the tasks; here are only the ends that it leaves open. Each
sub-worker claims as ours do (``workers.claim``), under an id of ours, and nothing without a
lease. A completion passes the fence. A task whose module is gone is failed.

Events: ``process.replaced``, ``task.zombie``, ``task.gone``.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

from asgiref.sync import sync_to_async
from django_tasks_concurrent import worker as theirs
from django_tasks_db.models import DBTaskResult

from argus_maint.backends.database import Attempt
from argus_maint.clock import now as monotonic
from argus_maint.database import TRANSIENT, discard, is_locked, task_database
from argus_maint.log import get_logger
from argus_maint.models import Process
from argus_maint.policy import declared_options
from argus_maint.scheduling.ledger import WAIT, patiently
from argus_maint.scheduling.member import Member
from argus_maint.workers import claim, fence, registry
from argus_maint.workers.fence import Outcome, Settled, attempt_of
from argus_maint.workers.identity import member_id, this_host
from argus_maint.workers.worker import declare

logger = get_logger(__name__)
Held = tuple[uuid.UUID, int]  # a task, and the number of the attempt


class Crew(Member):
    """One process and its sub-workers in the registry. Number 0 is the process itself."""

    kind = Process.Kind.SUPERVISOR

    def __init__(self, backend: str, queues: list[str], size: int) -> None:
        super().__init__(task_database(), "concurrent")
        self.name = f"concurrent-{this_host().hostname[:30]}-{self.incarnation[:6]}"
        info = {"queues": queues, "excluded": [], "backend": backend, "processes": size}
        info["command"] = "concurrent_worker"
        self.group = registry.Group(self.process, self.name, self.host, self.lease, info)
        self.epochs = dict.fromkeys(range(size + 1), 0)
        self.held: dict[int, Held | None] = {}
        self.draining = threading.Event()
        self.queues = claim.Queues(backend, tuple(queues), worker=self.name)

    def id_of(self, number: int) -> str:
        """What a sub-worker claims under; another one when its lease was taken."""
        return member_id(self.name, self.incarnation, number, self.epochs[number])

    def register(self) -> None:
        """Make all of them known."""
        with self.lock:
            at = monotonic()
            for number in self.epochs:
                self._register(number)
            self.beaten_at = at

    def _register(self, number: int) -> None:
        kind = Process.Kind.WORKER if number else self.kind
        row = partial(registry.register, self.group, kind)
        while not patiently(lambda: row(self.id_of(number), os.getpid(), self.using, WAIT)):
            self.epochs[number] += 1

    def beat(self) -> None:
        """Extend their leases; who was ended by others gets a new id."""
        with self.lock:
            at = monotonic()
            if self.draining.is_set():
                registry.drain(self.process, self.using, WAIT)
            if registry.beat(self.process, self.using, WAIT) < len(self.epochs):
                living = registry.living_ids(self.process, self.using)
                for number in self.epochs:
                    if self.id_of(number) not in living:
                        logger.warning("process.replaced", worker_id=self.id_of(number))
                        self.epochs[number] += 1
                        self._register(number)
            self.beaten_at = at

    def claim(self, number: int) -> DBTaskResult | None:
        """Take a task for a sub-worker, where there is one and a lease."""
        if not self.holds():
            return None
        worker_id, started = self.id_of(number), monotonic()
        try:
            row = claim.claim(self.queues, worker_id, self.using)
        except claim.LostRace:
            return None
        except TRANSIENT as error:
            if is_locked(error):
                return None
            raise
        if row is None:
            return None
        # At once, in this thread: the loop may be held up, and it must not look orphaned.
        self.held[number] = (row.pk, len(row.worker_ids))
        # Stopped between the claim and here, the task may have been given to another.
        if monotonic() - started > self.beat_every / 2 or not self.holds():
            if not claim.confirm(row, worker_id, self.using):
                self.held[number] = None
                return None
        return row

    def mine(self) -> dict[str, Held | None]:
        """What each sub-worker holds, by its id."""
        return {self.id_of(number): self.held.get(number) for number in self.epochs if number}

    def sign_off(self, *, keep: bool) -> None:
        """The end. Who leaves with a task in hand (it raised SystemExit) has crashed with it."""
        for _ in range(2):  # an interrupt in a statement leaves a useless connection
            try:
                for number in self.epochs:
                    reason = "crashed" if self.held.get(number) else "stopped"
                    how: dict[str, Any] = {"verdict": "exited", "reason": reason}
                    registry.end(self.id_of(number), self.using, WAIT, **how)
                return
            except TRANSIENT:
                discard(self.using)


class _Refused(Exception):
    """The attempt no longer owns its task: what it came to is not to be told of."""


class Registered(theirs.ConcurrentWorker):  # type: ignore[misc] # it has no types
    """The package's worker, with the ids and the fence of ours."""

    def __init__(self, crew: Crew, **options: Any) -> None:
        super().__init__(**options)
        self.crew = crew

    def shutdown(self) -> None:
        """A signal: from now on a death is no crash. The thread that beats writes it down."""
        self.crew.draining.set()
        super().shutdown()

    async def _claim_task(self, sub_id: str) -> DBTaskResult | None:
        return await sync_to_async(self.crew.claim)(_number(sub_id))

    async def _run_task(self, row: DBTaskResult, sub_id: str) -> None:
        number, attempt = _number(sub_id), attempt_of(row)
        self.crew.held[number] = (attempt.task_id, attempt.number)
        try:
            if await sync_to_async(self._prepare)(row, attempt):
                await super()._run_task(row, sub_id)
        except Exception as error:  # noqa: BLE001 - it was refused, or is left as an orphan
            logger.warning("task.unsettled", task_id=str(row.pk), error=repr(error))
        self.crew.held[number] = None  # not where it leaves by SystemExit

    def _prepare(self, row: DBTaskResult, attempt: Attempt) -> bool:
        """Bind the fence to the row; False where there is nothing that could be run."""
        settle = partial(self._settle, row, attempt)
        try:
            options = declared_options(row.task)
            _ = row.task_result
        except Exception as error:  # noqa: BLE001 - a module or queue that is gone, or any import
            settle(Outcome.failure(error))
            return False
        if options:
            declare(row.task_path, options, self.crew.using)
        bound: Any = row
        ending = _Ending(settle)
        bound.set_successful, bound.set_failed = ending.succeed, ending.fail
        return True

    def _settle(self, row: DBTaskResult, attempt: Attempt, outcome: Outcome) -> None:
        using = self.crew.using

        def write() -> Settled:
            try:
                return fence.complete(row, attempt, outcome, using, WAIT)
            except TRANSIENT:
                discard(using)
                raise

        settled = patiently(write, self.crew.lease, lambda error: isinstance(error, TRANSIENT))
        if settled is Settled.ACCEPTED:
            return
        event = {"task_id": str(attempt.task_id), "task": attempt.task_path}
        if settled is Settled.REFUSED:
            logger.warning("task.zombie", **event, outcome=outcome.status)
            fence.record_refusal(attempt, outcome, attempt.owner, using)
        else:
            logger.warning("task.gone", **event)
        raise _Refused(f"{attempt.task_id} is {settled.value}")


class _Ending:
    """How one task ended. The package fails a task whose success could not be written."""

    def __init__(self, settle: Callable[[Outcome], None]) -> None:
        self.settle = settle
        self.success: Outcome | None = None

    def succeed(self, value: Any) -> None:
        outcome = self.success = Outcome.success(value)
        self.settle(outcome)

    def fail(self, error: BaseException) -> None:
        if isinstance(error, _Refused):  # of the success that was tried before
            raise error
        if self.success is not None and isinstance(error, TRANSIENT):
            self.settle(self.success)  # the database is away: the task has succeeded all the same
            return
        self.settle(Outcome.failure(error))


def _number(sub_id: str) -> int:
    """Theirs count from 0, as 0 is the process with us."""
    return int(sub_id.rpartition("-")[2]) + 1


def run(crew: Crew, options: dict[str, Any]) -> None:
    """The package's worker and its scheduler, until they are told to end."""
    before = theirs.ConcurrentWorker
    theirs.ConcurrentWorker = partial(Registered, crew)
    try:
        theirs.run_worker(**options)
    finally:
        theirs.ConcurrentWorker = before
