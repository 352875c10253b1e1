"""What maintenance may ask of a task backend, and what a backend can answer.

An ``Adapter`` stands for one alias of the setting TASKS. What it supports it says with its
class attributes ``supports_*``; for what it does not, ``why_not`` has one line that says why,
or what would help. Whoever works with adapters asks these first, and knows no backend.

Writing one for a backend of your own::

    class CarrierPigeons(Adapter):
        name = "pigeons"
        supports_stats = True
        why_not = {"rescue": "a pigeon does not say which letter it carried"}

        def queues(self):
            return [Queue(QueueCounts(self.alias, "default", 3, 0, 1, None))]

    ARGUS_MAINT = {"BACKENDS": {"loft.backends.PigeonBackend": "loft.maint.CarrierPigeons"}}

``queues``, ``workers``, ``lost``, ``tasks`` and ``task`` only look: they change nothing in the
backend, whatever its own library does when it is asked. Errors: each method may raise
``Unreachable`` (its server does not answer) with one line that a person can use, and no secret
in it.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, ClassVar
from uuid import UUID, uuid5

from django.db import transaction

from argus_maint.backends.database import LOCK_WAIT, QueueCounts
from argus_maint.database import short_transaction
from argus_maint.dbtime import DbNow
from argus_maint.log import get_logger
from argus_maint.models import LedgerEntry
from argus_maint.retention import Retention

logger = get_logger(__name__)
_IDS = UUID("6f1f2c53-3f86-4c1c-9c0c-1f9a4f0f6b7d")  # of ids that are none, by uuid5

# In the order in which ``maint backends`` shows them.
CAPABILITIES: Mapping[str, str] = {
    "stats": "counts of its queues",
    "liveness": "which of its workers are dead",
    "rescue": "tasks of dead workers are found",
    "tasks": "its tasks can be listed, and named by id",
    "requeue": "a task can be made ready again",
    "fail": "a task can be failed",
    "fence": "a worker that was taken for dead cannot change the result",
    "prune": "finished tasks are deleted",
}


class Unreachable(Exception):
    """The backend's server does not answer, or will not let us in: one line, no secret."""


def in_one_line(error: Exception) -> str:
    """What went wrong with a backend: its adapter's own words, or what was raised."""
    if isinstance(error, Unreachable):
        return str(error)
    return " ".join(f"{type(error).__name__}: {error}".split())


def trouble_with(adapter: Adapter, error: Exception) -> str:
    """The same, behind its alias. What is no ``Unreachable`` is a defect, and logged."""
    if not isinstance(error, Unreachable):
        logger.error("backend.error", backend=adapter.alias, exc_info=error)
    return f"{adapter.alias}: {in_one_line(error)}"


@dataclass(frozen=True, slots=True)
class Queue:
    """One queue. ``failed`` and ``finished`` (with success) are None where nobody keeps them."""

    counts: QueueCounts
    failed: int | None = None
    finished: int | None = None


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker as its backend knows it.

    Attributes:
        name: as the backend calls it.
        queues: those it takes from, all of them where it is empty.
        seen_at: its last proof of life, by the clock of its host or of its backend.
        alive: None where nobody can tell.
        evidence: what makes us think so, in words.
        task: the id of what it holds, if that is known.
    """

    name: str
    host: str = ""
    pid: int | None = None
    queues: tuple[str, ...] = ()
    seen_at: datetime | None = None
    alive: bool | None = None
    evidence: str = ""
    task: str = ""


@dataclass(frozen=True, slots=True)
class Lost:
    """A task whose worker is dead, at the attempt at which it was read.

    ``confirms_in`` is 0 when that is certain, else the seconds after which it is worth
    another look; infinite where nobody can tell from here, and the backend sees to it.
    ``token`` is the adapter's own: what ``requeue`` and ``fail`` must find unchanged.
    """

    task_id: str
    task_path: str
    queue_name: str
    attempt: int
    worker: str
    verdict: str  # of LedgerEntry.Verdict
    evidence: str
    host: str = ""
    seen_at: datetime | None = None
    confirms_in: float = 0.0
    exit_signal: str = ""
    token: Any = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Task:
    """One task as it is now, for a person who asks for it.

    Attributes:
        handle: what ``requeue`` and ``fail`` take. Of a RUNNING task only what ``lost`` returns
            may be acted on.
        status: READY, RUNNING, SUCCESSFUL or FAILED.
        since: since when it is in this status; of one that is not due yet, when it is.
        error: the dotted path of what it failed of.
        traceback: and what it said, where that is kept.
    """

    handle: Lost
    status: str
    since: datetime | None = None
    error: str = ""
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class Overlong:
    """A task that runs longer than its backend waits before it gives it to another worker.

    ``twice``: another worker has it as well by now. ``seconds``: since it began, at least.
    """

    task_id: str
    task_path: str
    queue_name: str
    worker: str
    seconds: float
    twice: bool
    evidence: str


@dataclass(frozen=True, slots=True)
class PruneOrder:
    """What a prune is about, and how far it may go.

    ``go_on`` is called between batches and may raise to stop it. ``target`` is how many
    seconds one step may hold the server up; ``duty`` the share of the time that is spent
    deleting.
    """

    retention: Retention
    dry_run: bool = False
    queues: tuple[str, ...] = ()
    pattern: str = ""  # of the task's path
    target: float = 0.05
    duty: float = 0.25
    max_seconds: float | None = None
    go_on: Callable[[], object] = lambda: None

    @property
    def narrowed(self) -> bool:
        """Whether some tasks are meant only: then what nobody knows the queue of stays."""
        return bool(self.queues or self.pattern)

    def goes(self, age: float, kind: str, queue: str, path: str) -> bool:
        """Whether a task that finished ``age`` seconds ago is asked for, and past its time.

        ``kind`` is ``successful``, ``failed`` or ``quarantined``.
        """
        if self.queues and queue not in self.queues:
            return False
        if self.pattern and not fnmatchcase(path, self.pattern):
            return False
        return self.retention.goes(age, kind, queue, path)


@dataclass(slots=True)
class Pruned:
    """What a prune came to. ``deleted`` counts by kind (``successful``, ``failed``, ...)."""

    deleted: Counter[str] = field(default_factory=Counter)
    batches: int = 0
    worst: float = 0.0  # seconds of the longest step
    seconds: float = 0.0
    stopped: str = ""  # empty: all done; else what stopped it


def ledger_id(task_id: str) -> UUID:
    """What the ledger has for a task whose own id is no UUID."""
    try:
        return UUID(task_id)
    except ValueError:
        return uuid5(_IDS, task_id)


def entry_of(adapter: Adapter, lost: Lost, **values: Any) -> LedgerEntry:
    """A ledger entry about a task, unsaved."""
    task_id = ledger_id(lost.task_id)
    return LedgerEntry(
        task_id=task_id,
        task_key="" if str(task_id) == lost.task_id else lost.task_id[:64],
        task_path=lost.task_path,
        queue_name=lost.queue_name[:32],
        backend_name=adapter.alias[:32],
        attempt=lost.attempt,
        worker_id=lost.worker[:128],
        host=lost.host[:255],
        verdict=lost.verdict,
        evidence=lost.evidence,
        exit_signal=lost.exit_signal,
        last_proof_of_life=lost.seen_at,
        **values,
    )


def recorded(
    entry: LedgerEntry,
    using: str,
    act: Callable[[], bool],
    unsure: Callable[[Exception], bool] = lambda error: False,
) -> bool:
    """Save the entry and act on a server of its own: both, or (where it says False) neither.

    The entry is there first, so a database that cannot be written stops the act. Where no
    answer came to what was sent (``unsure`` says so of what ``act`` raised), it may have been
    done: the entry stays, and says that, and the error is raised. A process that dies between
    act and commit leaves an act without a trace.
    """
    no_answer: Exception | None = None
    with short_transaction(using, LOCK_WAIT):
        entry.acted_at = DbNow()
        entry.save(using=using, force_insert=True)
        try:
            done = act()
        except Exception as error:
            if not unsure(error):
                raise
            no_answer = error
            entry.evidence += "; the server gave no answer: it may not have been done"
            entry.counted = False  # if it was not, the next pass counts it
            entry.save(using=using, update_fields=["evidence", "counted"])
        else:
            transaction.set_rollback(not done, using=using)
    if no_answer is not None:
        raise no_answer
    return done


class Adapter:
    """One alias of TASKS. ``backend`` is the site's own instance of its class.

    ``name`` is the adapter's short name, ``package`` the distribution that brings the
    backend, and ``worker_command`` the program of its workers; empty where there are none.
    """

    name: ClassVar[str] = ""
    package: ClassVar[str] = ""
    worker_command: ClassVar[str] = ""
    supports_stats: ClassVar[bool] = False
    supports_liveness: ClassVar[bool] = False
    supports_rescue: ClassVar[bool] = False
    supports_tasks: ClassVar[bool] = False
    supports_requeue: ClassVar[bool] = False
    supports_fail: ClassVar[bool] = False
    supports_fence: ClassVar[bool] = False
    supports_prune: ClassVar[bool] = False
    why_not: ClassVar[Mapping[str, str]] = {}
    # Its tasks are rows of django-tasks-db's table: what is supported of rescue, tasks, requeue,
    # fail and prune is done by the jobs for that table, and not asked of the adapter.
    in_task_table: ClassVar[bool] = False

    def __init__(self, alias: str, path: str, backend: Any, using: str) -> None:
        self.alias, self.path, self.backend, self.using = alias, path, backend, using

    def supports(self, capability: str) -> bool:
        """Whether it can do this; a name of ``CAPABILITIES``."""
        return bool(getattr(self, f"supports_{capability}"))

    def worker_arguments(self, queues: Sequence[str] = ()) -> list[str]:
        """What follows ``manage.py`` to start a worker of these queues, or of all; empty: none.

        Nothing where there are no workers, or where nobody knows how they are started.
        """
        return self.worker_command.split()[1:]

    def start_command(self, *queues: str) -> str:
        """The same for a shell, and for a person to paste."""
        arguments = self.worker_arguments(queues)
        return shlex.join(["manage.py", *arguments]) if arguments else ""

    def queues(self) -> list[Queue]:
        """Its queues, by name."""
        raise self._lacks("queues")

    def workers(self) -> list[Worker]:
        """Its workers, the dead ones that it still knows included."""
        raise self._lacks("workers")

    def counters(self) -> dict[str, int]:
        """Signals of its tasks that were seen in processes of this site, by event, if counted."""
        return {}

    def lost(self) -> list[Lost]:
        """Tasks whose worker is dead, and those of which that may yet turn out."""
        raise self._lacks("lost")

    def tasks(self, status: str, most: int) -> list[Task]:
        """At most so many of one status: the longest waiting first, of the finished the newest.

        Asked of those that keep their tasks elsewhere than in the task table, as is ``task``.
        """
        raise self._lacks("tasks")

    def task(self, task_id: str) -> Task | None:
        """One by its whole id; None: this alias has none of that id."""
        raise self._lacks("task")

    def overlong(self) -> list[Overlong]:
        """RUNNING tasks that the backend gives to a second worker, though the first may live."""
        return []

    def requeue(self, lost: Lost, entry: LedgerEntry, delay: float = 0) -> bool:
        """Make it ready again, ``delay`` seconds from now, and save the entry: both or neither.

        One that is lost, or that has FAILED. False, and no trace, where the task is no longer
        as it was read.
        """
        raise self._lacks("requeue")

    def fail(self, lost: Lost, entry: LedgerEntry, error: type[Exception]) -> bool:
        """Fail it with an exception class of ours; what it is told is ``entry.evidence``.

        One that is lost or READY; of one that has FAILED the error becomes this. Returns what
        ``requeue`` does.
        """
        raise self._lacks("fail")

    def enqueue_overdue(self) -> int:
        """Put scheduled tasks that are due, and that nobody else will, into their queue."""
        return 0

    def prune(self, order: PruneOrder) -> Pruned:
        """Delete finished tasks past their retention, in bounded steps."""
        raise self._lacks("prune")

    def warnings(self) -> list[str]:
        """What a production site should know: one line each. Asks no server."""
        return []

    def _lacks(self, method: str) -> NotImplementedError:
        name = type(self).__name__
        return NotImplementedError(f"{name} says that it supports this, and has no {method}()")

    def __repr__(self) -> str:
        """For logs."""
        return f"<{type(self).__name__} {self.alias}>"
