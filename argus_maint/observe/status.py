"""The state of the queue in one look, and whether somebody has to do something.

``gather`` looks and returns a ``Status``, plain data; ``observe.document`` has its JSON
form. What it costs does not depend on how many tasks have
finished: only READY and RUNNING rows are read, and the newest of our own.

Ages of our own columns are by the database's clock. Ages of the task table's columns
compare the clocks of two hosts and are approximate; their names say so.
"""

from __future__ import annotations

import shlex
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, QuerySet

from argus_maint.backends.database import QueueCounts, queue_counts
from argus_maint.backends.search import short_ids
from argus_maint.conf import get_settings
from argus_maint.models import LedgerEntry, Process
from argus_maint.observe import history, schedulers
from argus_maint.observe.census import Census, Running, take
from argus_maint.observe.screen import span

SHOWN = 10  # tasks of one kind on the screen
RESCUES = 5
TROUBLES = ("lost", "overdue", "unregistered")
STUCK_AFTER = 3600.0  # seconds after which an unregistered task is a problem
LOOK_BACK = 3600.0  # seconds for which ended processes are counted


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that a person has to look at, and the command to begin with."""

    code: str
    message: str
    command: str


@dataclass(frozen=True, slots=True)
class Queue:
    """One queue, and how many registered workers take from it."""

    counts: QueueCounts
    workers: int


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
    queues: list[Queue] = field(default_factory=list)
    deaths: list[Deaths] = field(default_factory=list)
    gone: list[Process] = field(default_factory=list)  # supervisors that nobody started again
    schedulers_gone: list[Process] = field(default_factory=list)  # where none is alive
    rescues: list[LedgerEntry] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    holdings: dict[Any, Running] = field(default_factory=dict)  # by the worker's row
    short: dict[uuid.UUID, str] = field(default_factory=dict)  # ids as the screen shows them

    @property
    def healthy(self) -> bool:
        """Whether nobody has to do anything."""
        return not self.problems

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


def gather(using: str, backend: str = "") -> Status:
    """Look once; ``backend`` leaves out the tasks and queues of other aliases."""
    status = Status(using, backend, take(using, backend))
    running = status.census.running
    status.holdings = {each.owner.pk: each for each in running if each.owner is not None}
    status.queues = _queues(status.census, using, backend)
    status.deaths = _deaths(using, status.census.taken_at)
    if any(each.kind == Process.Kind.SUPERVISOR for each in status.deaths):
        status.gone = _gone(using, status.census)
    status.schedulers_gone = _schedulers_gone(using, status.census)
    status.rescues = history.last_rescues(using, RESCUES, backend)
    status.problems = _problems(status)
    status.short = short_ids(_shown_ids(status), using)
    return status


def _shown_ids(status: Status) -> list[uuid.UUID]:
    shown = [entry.task_id for entry in status.rescues]
    for state in TROUBLES:
        shown += [each.attempt.task_id for each in status.census.of_state(state)[:SHOWN]]
    return shown


def _queues(census: Census, using: str, backend: str) -> list[Queue]:
    """Queues that hold a task or that a worker names."""
    counts = {(each.backend_name, each.queue_name): each for each in queue_counts(using)}
    for process in census.living:
        alias = process.info.get("backend", "")
        for name in process.info.get("queues", []):
            if name != "*" and alias:
                counts.setdefault((alias, name), QueueCounts(alias, name, 0, 0, 0, None))
    return [
        Queue(each, len(takers(census, each)))
        for (alias, _), each in sorted(counts.items())
        if backend in ("", alias)
    ]


def takers(census: Census, queue: QueueCounts) -> list[Process]:
    """Workers, alive by all that is known, that would take a task of this queue."""
    return [
        each
        for each in census.living
        if each.kind == Process.Kind.WORKER
        and census.states[each.pk] == Process.State.ALIVE
        and _takes(each.info, queue)
    ]


def _takes(info: dict[str, Any], queue: QueueCounts) -> bool:
    names = info.get("queues", [])
    return (
        info.get("backend") == queue.backend_name
        and ("*" in names or queue.queue_name in names)
        and queue.queue_name not in info.get("excluded", [])
    )


def _died(using: str, now: datetime) -> QuerySet[Process]:
    """Supervisors and workers that ended lately, and not by a clean stop."""
    ended = Process.objects.using(using).filter(
        state=Process.State.ENDED,
        kind__in=[Process.Kind.SUPERVISOR, Process.Kind.WORKER],
        ended_at__gte=now - timedelta(seconds=LOOK_BACK),
    )
    return ended.exclude(reason__in=["stopped", "shutdown", ""])


def _deaths(using: str, now: datetime) -> list[Deaths]:
    fields = ("kind", "reason", "exit_signal", "exit_status")
    rows = _died(using, now).order_by().values_list(*fields).annotate(n=Count("pk"))
    deaths = [
        Deaths(kind, reason, signal or ("" if code is None else f"exit status {code}"), number)
        for kind, reason, signal, code, number in rows
    ]
    return sorted(deaths, key=lambda each: -each.count)


def _gone(using: str, census: Census) -> list[Process]:
    """Supervisors that died and have no successor: of their name, or newer on their host."""
    died = _died(using, census.taken_at).filter(kind=Process.Kind.SUPERVISOR)
    heads = living_supervisors(census)
    return [each for each in died.order_by("-ended_at", "pk") if not has_heir(each, heads)]


def living_supervisors(census: Census) -> list[Process]:
    """Supervisors that are alive by all that is known."""
    return [
        each
        for each in census.living
        if each.kind == Process.Kind.SUPERVISOR and _is_alive(each, census)
    ]


def has_heir(dead: Process, heads: list[Process]) -> bool:
    """Whether a supervisor that died has a successor: of its name, or newer on its host."""
    return any(
        head.name == dead.name
        or (head.hostname == dead.hostname and head.registered_at > dead.last_beat_at)
        for head in heads
    )


def _schedulers_gone(using: str, census: Census) -> list[Process]:
    alive = [each for each in census.living if _is_alive(each, census)]
    dead = [each for each in census.living if not _is_alive(each, census)]
    return schedulers.gone(alive, using, census.taken_at, dead)


def _is_alive(process: Process, census: Census) -> bool:
    return census.states[process.pk] not in ("exited", "expired")


def _problems(status: Status) -> list[Problem]:
    """What a person has to look at, the most urgent first."""
    return [
        *_lost(status.census),
        *_unserved(status),
        *_no_worker(status),
        *_stalled(status),
        *_no_scheduler(status),
        *_silent(status.census),
        *_overdue(status.census),
        *_unregistered(status.census),
    ]


def _lost(census: Census) -> list[Problem]:
    lost = census.of_state("lost")
    if not lost:
        return []
    message = f"{count(len(lost), 'task')} lost"
    supervisors = [each for each in census.living if each.kind == Process.Kind.SUPERVISOR]
    if any(_is_alive(each, census) for each in supervisors):
        message += ", a supervisor is putting them back"
        return [Problem("lost", message, "manage.py maint status --watch")]
    return [Problem("lost", message, "manage.py maint rescue")]


def _unserved(status: Status) -> list[Problem]:
    found = []
    for queue in status.queues:
        if queue.counts.ready and not queue.workers:
            message = f"{queue.counts.ready:,} ready in {_where(queue.counts)}: no worker"
            command = _start_worker(queue.counts.queue_name, queue.counts.backend_name)
            found.append(Problem("unserved", message, command))
    return found


def _where(counts: QueueCounts) -> str:
    name, alias = counts.queue_name, counts.backend_name
    return name if alias == "default" else f"{name} of backend {alias}"


def _start_worker(queue: str, alias: str) -> str:
    options = [] if queue == "default" else ["--queue-name", queue]
    options += [] if alias == "default" else ["--backend", alias]
    return shlex.join(["manage.py", "db_worker", *options])


def _no_worker(status: Status) -> list[Problem]:
    census = status.census
    if any(queue.counts.ready and not queue.workers for queue in status.queues) or any(
        each.kind == Process.Kind.WORKER and census.states[each.pk] == Process.State.ALIVE
        for each in census.living
    ):
        return []
    return [Problem("no_worker", "no worker is running", "manage.py db_worker")]


def _stalled(status: Status) -> list[Problem]:
    """Queues that do not move: every worker has been at one task for long, and others wait."""
    after, found = get_settings().stalled_after, []
    for queue in status.queues:
        if is_stalled(status, queue):
            waits = span(oldest_age(queue.counts, status.census.host_now))
            message = (
                f"{queue.counts.ready:,} ready in {_where(queue.counts)} for {waits}: "
                f"{count(queue.workers, 'worker')} busy with one task for over {span(after)}"
            )
            found.append(Problem("stalled", message, "manage.py maint tasks --state running"))
    return found


def is_stalled(status: Status, queue: Queue) -> bool:
    """Whether a task has waited for ``stalled_after``, and each worker held one as long."""
    census, after = status.census, get_settings().stalled_after
    waits = oldest_age(queue.counts, census.host_now)
    if waits is None or waits <= after or not queue.workers:
        return False
    held = [status.holdings.get(each.pk) for each in takers(census, queue.counts)]
    ages = [each.running_for(census.host_now) if each else None for each in held]
    return all(age is not None and age > after for age in ages)


def _no_scheduler(status: Status) -> list[Problem]:
    """Schedulers died, and none is alive. A site that never had one is driven by cron."""
    if not status.schedulers_gone:
        return []
    last = status.schedulers_gone[0]
    when = span((status.census.taken_at - schedulers.died_at(last)).total_seconds())
    message = f"no scheduler is running; {last.name} on {last.hostname} died {when} ago"
    return [Problem("no_scheduler", message, "manage.py crontask")]


def _silent(census: Census) -> list[Problem]:
    """Dead or silent processes that hold no task: what they held is told already."""
    holders = {each.owner.pk for each in census.of_state("lost") if each.owner is not None}
    silent = [each for each in census.living if not _is_alive(each, census)]
    if not silent or any(each.pk in holders for each in silent):
        return []
    message = f"{count(len(silent), 'process', 'processes')} dead or silent"
    return [Problem("silent", message, "manage.py maint rescue --dry-run")]


def _overdue(census: Census) -> list[Problem]:
    overdue = census.of_state("overdue")
    if not overdue:
        return []
    command = "manage.py maint tasks --state overdue"
    if len(overdue) == 1:
        command = f"manage.py maint history --task {overdue[0].attempt.task_id}"
    return [Problem("overdue", f"{count(len(overdue), 'task')} overdue", command)]


def _unregistered(census: Census) -> list[Problem]:
    stuck = [
        each
        for each in census.of_state("unregistered")
        if each.first_seen_at is not None
        and (census.taken_at - each.first_seen_at).total_seconds() > STUCK_AFTER
    ]
    if not stuck:
        return []
    message = f"{count(len(stuck), 'task')} unregistered for over 1h; if the worker is gone:"
    command = "manage.py maint requeue --unregistered --older-than 1s --dry-run"
    return [Problem("unregistered", message, command)]


def count(number: int, one: str, many: str = "") -> str:
    """``1 task``, ``2 tasks``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def oldest_age(counts: QueueCounts, host_now: datetime) -> float | None:
    """Seconds that the oldest READY task has been due, by the clocks of two hosts."""
    if counts.oldest_ready_at is None:
        return None
    return round(max(0.0, (host_now - counts.oldest_ready_at).total_seconds()), 3)
