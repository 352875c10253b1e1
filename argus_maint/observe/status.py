"""The state of the queue in one look, and whether somebody has to do something.

``gather`` looks and returns a ``Status``, plain data; ``observe.document`` has its JSON
form. What it costs does not depend on how many tasks have finished: only READY and RUNNING
rows are read, and the newest of our own.
"""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

from django.db.models import Count, QuerySet

from argus_maint.backends.database import QueueCounts, queue_counts
from argus_maint.backends.search import short_ids
from argus_maint.conf import get_settings
from argus_maint.models import Process
from argus_maint.observe import book, history, others, pauses, runs, schedulers
from argus_maint.observe.census import Census, take
from argus_maint.observe.picture import Deaths, Queue, Status, is_alive
from argus_maint.observe.problems import behind, locked, problems

SHOWN = 10  # tasks of one kind on the screen
RESCUES = 5
TROUBLES = ("lost", "overdue", "unregistered")
LOOK_BACK = 3600.0  # seconds for which ended processes are counted


def watch(using: str, backend: str = "") -> Status:
    """The same look with eyes for what nobody could write down: whether writes are held up."""
    status = gather(using, backend)
    lock = locked(using)
    status.problems = [*lock, *behind(lock, status.problems)]
    return status


def gather(using: str, backend: str = "") -> Status:
    """Look once; ``backend`` leaves out the tasks and queues of other aliases."""
    status = Status(using, backend, take(using, backend))
    census = status.census
    status.holdings = {each.owner.pk: each for each in census.running if each.owner is not None}
    status.findings = book.open_findings(using, census.taken_at)
    status.looked = book.since_last_look(using, census.taken_at)
    status.pauses = pauses.live(using)
    status.others = others.look(using, backend)
    status.queues = [*_queues(status), *_of_others(status)]
    status.deaths = _deaths(using, census.taken_at)
    if any(each.kind == Process.Kind.SUPERVISOR for each in status.deaths):
        status.gone = _gone(using, census)
    status.schedulers_gone = _schedulers_gone(using, census)
    status.jobs = runs.troubles(get_settings().jobs.values(), using, census.taken_at)
    status.rescues = history.last_rescues(using, RESCUES, backend)
    status.problems = problems(status)
    status.short = short_ids(_shown_ids(status), using)
    return status


def _shown_ids(status: Status) -> list[uuid.UUID]:
    shown = [entry.task_id for entry in status.rescues]
    for state in TROUBLES:
        shown += [each.attempt.task_id for each in status.census.of_state(state)[:SHOWN]]
    return shown


def _queues(status: Status) -> list[Queue]:
    """Queues that hold a task, that a worker names, or that are paused."""
    counts = {(each.backend_name, each.queue_name): each for each in queue_counts(status.using)}
    named = [(each.backend_name, each.queue_name) for each in status.pauses.queues()]
    for process in status.census.living:
        alias = process.info.get("backend", "")
        names = process.info.get("queues", [])
        named += [(alias, name) for name in names if name != "*" and alias]
    for alias, name in named:
        counts.setdefault((alias, name), QueueCounts(alias, name, 0, 0, 0, None))
    return [
        Queue(each, len(status.takers(each)), status.pauses.of_queue(alias, name))
        for (alias, name), each in sorted(counts.items())
        if status.backend in ("", alias)
    ]


def _of_others(status: Status) -> list[Queue]:
    return [
        Queue(each.counts, other.takers(each.counts.queue_name))
        for other in status.others
        for each in other.queues
    ]


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
    died = died.exclude(reason="buried")  # a person has said that it is meant to be gone
    heads = living_supervisors(census)
    return [each for each in died.order_by("-ended_at", "pk") if not has_heir(each, heads)]


def living_supervisors(census: Census) -> list[Process]:
    """Supervisors that are alive by all that is known."""
    return [
        each
        for each in census.living
        if each.kind == Process.Kind.SUPERVISOR and is_alive(each, census)
    ]


def has_heir(dead: Process, heads: list[Process]) -> bool:
    """Whether a supervisor that died has a successor: of its name, or newer on its host."""
    return any(
        head.name == dead.name
        or (head.hostname == dead.hostname and head.registered_at > dead.last_beat_at)
        for head in heads
    )


def _schedulers_gone(using: str, census: Census) -> list[Process]:
    alive = [each for each in census.living if is_alive(each, census)]
    dead = [each for each in census.living if not is_alive(each, census)]
    return schedulers.gone(alive, using, census.taken_at, dead)
