"""What one look at the queue has found, as plain data: ``observe.status`` takes the look.

Ages of our own columns are by the database's clock. Ages of the task table's columns
compare the clocks of two hosts and are approximate; their names say so.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from argus_maint.backends.database import QueueCounts
from argus_maint.models import LedgerEntry, Pause, Process
from argus_maint.observe.book import Open
from argus_maint.observe.census import Census, Running
from argus_maint.observe.others import Other
from argus_maint.observe.pauses import Pauses
from argus_maint.observe.runs import Trouble


@dataclass(frozen=True, slots=True)
class Problem:
    """What a person may have to look at, and the command to begin with.

    ``finding`` is the code of the finding that it becomes where it lasts. ``command`` is empty
    where another problem comes first.
    """

    code: str
    message: str
    command: str
    finding: str
    object: str = ""  # of that finding, where the problem is about one thing


@dataclass(frozen=True, slots=True)
class Queue:
    """One queue, how many registered workers take from it, and whether it is paused."""

    counts: QueueCounts
    workers: int
    pause: Pause | None = None


@dataclass(frozen=True, slots=True)
class Deaths:
    """Workers or supervisors that died of one cause within the last hour."""

    kind: str
    reason: str
    cause: str  # signal or exit status
    count: int


@dataclass(slots=True)
class Status:
    """Everything the status screen shows."""

    using: str
    backend: str
    census: Census
    findings: list[Open] = field(default_factory=list)
    looked: float | None = None  # seconds since the book of findings was last kept
    pauses: Pauses = field(default_factory=Pauses)
    others: list[Other] = field(default_factory=list)  # backends that are not in the task table
    queues: list[Queue] = field(default_factory=list)
    deaths: list[Deaths] = field(default_factory=list)
    gone: list[Process] = field(default_factory=list)  # supervisors that nobody started again
    schedulers_gone: list[Process] = field(default_factory=list)  # where none is alive
    jobs: list[Trouble] = field(default_factory=list)
    rescues: list[LedgerEntry] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    holdings: dict[Any, Running] = field(default_factory=dict)  # by the worker's row
    short: dict[uuid.UUID, str] = field(default_factory=dict)  # ids as the screen shows them

    @property
    def healthy(self) -> bool:
        """Whether nobody has to do anything."""
        return not self.news and not any(each.urgent for each in self.findings)

    @property
    def news(self) -> list[Problem]:
        """Problems that no open finding tells of already."""
        return [each for each in self.problems if not self._is_told(each)]

    def _is_told(self, problem: Problem) -> bool:
        rows = [each.row for each in self.findings]
        return any(
            row.code == problem.finding and (not problem.object or row.object == problem.object)
            for row in rows
        )

    @property
    def workers(self) -> int:
        """Workers of every backend that nobody knows to be dead."""
        registered = (each for each in self.census.living if each.kind == Process.Kind.WORKER)
        elsewhere = (each for other in self.others for each in other.workers)
        return sum(is_alive(each, self.census) for each in registered) + sum(
            each.alive is not False for each in elsewhere
        )

    @property
    def running(self) -> int:
        """RUNNING tasks of every backend."""
        elsewhere = (each.counts.running for other in self.others for each in other.queues)
        return len(self.census.running) + sum(elsewhere)

    def beat_age(self, process: Process) -> float:
        """Seconds since a process last beat, by the database's clock."""
        return max(0.0, (self.census.taken_at - process.last_beat_at).total_seconds())

    def families(self) -> list[tuple[Process, list[Process]]]:
        """Supervisors with their workers; what has no supervisor here stands by itself."""
        members: dict[Any, list[Process]] = {}
        heads = []
        for each in self.census.living:
            if each.kind == Process.Kind.WORKER:
                members.setdefault(each.supervisor, []).append(each)
            else:
                heads.append(each)
        found = [(head, members.pop(head.supervisor, [])) for head in heads]
        return found + [(each, []) for group in members.values() for each in group]

    def takers(self, counts: QueueCounts) -> list[Process]:
        """Workers, alive and not drained by all that is known, that take from this queue."""
        return [
            each
            for each in self.census.living
            if each.kind == Process.Kind.WORKER
            and self.census.states[each.pk] == Process.State.ALIVE
            and self.pauses.of_process(each) is None
            and _takes(each.info, counts)
        ]


def _takes(info: dict[str, Any], queue: QueueCounts) -> bool:
    names = info.get("queues", [])
    return (
        info.get("backend") == queue.backend_name
        and ("*" in names or queue.queue_name in names)
        and queue.queue_name not in info.get("excluded", [])
    )


def is_alive(process: Process, census: Census) -> bool:
    """Whether nothing says that a registered process is dead."""
    return census.states[process.pk] not in ("exited", "expired")


def count(number: int, one: str, many: str = "") -> str:
    """``1 task``, ``2 tasks``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def oldest_age(counts: QueueCounts, host_now: datetime) -> float | None:
    """Seconds that the oldest READY task has been due, by the clocks of two hosts."""
    if counts.oldest_ready_at is None:
        return None
    return round(max(0.0, (host_now - counts.oldest_ready_at).total_seconds()), 3)
