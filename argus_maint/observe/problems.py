"""What is wrong at this very moment, the most urgent first.

A problem that lasts becomes a finding, by the passes of the job ``findings``; here nothing
is waited for. Each names the finding that it becomes.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace

from django.db import OperationalError, connections

from argus_maint.backends.database import QueueCounts
from argus_maint.backends.locks import PATIENCE, holders
from argus_maint.checks import database_backends, local_database_backends
from argus_maint.conf import get_settings
from argus_maint.models import Process
from argus_maint.observe import schedulers
from argus_maint.observe.census import Census
from argus_maint.observe.others import named
from argus_maint.observe.picture import Problem, Queue, Status, count, is_alive, oldest_age
from argus_maint.observe.screen import span

STUCK_AFTER = 3600.0  # seconds after which an unregistered task is a problem

# Nobody beats, claims or puts back while the database is locked.
HELD_UP = ("lost", "unserved", "no_worker", "stalled", "no_scheduler", "silent")


def locked(using: str) -> list[Problem]:
    """Whether somebody holds locks that the queue waits for. Then no pass can write a finding.

    Within a transaction of the caller's nothing is looked for: it may hold them itself.
    """
    code = get_settings().findings["DatabaseLocked"]
    if not code.enabled or connections[using].in_atomic_block:
        return []
    command = "manage.py maint runbook DatabaseLocked"
    try:
        found = holders(using, code.options["held"], PATIENCE)
    except OperationalError as error:  # SQLite: no lock that is held, but no writes either
        text = " ".join(str(error).split())
        message = f"the database takes no writes: {text}"
        return [Problem("locked", message, "manage.py maint doctor", "DatabaseLocked")]
    worst = next((each for each in found if each.urgent), None)
    if worst is None:
        return []
    return [Problem("locked", str(worst), command, "DatabaseLocked")]


def behind(lock: list[Problem], others: list[Problem]) -> list[Problem]:
    """The others, without what to do about those that a lock may be the cause of."""
    held_up = HELD_UP if lock else ()
    return [replace(each, command="") if each.code in held_up else each for each in others]


def problems(status: Status) -> list[Problem]:
    """What a person has to look at."""
    return [
        *_lost(status.census),
        *_unusable(status),
        *_unserved(status),
        *_no_worker(status),
        *_stalled(status),
        *_no_scheduler(status),
        *_silent(status.census),
        *_overdue(status.census),
        *_unregistered(status.census),
        *_jobs(status),
    ]


def _lost(census: Census) -> list[Problem]:
    lost = census.of_state("lost")
    if not lost:
        return []
    message = f"{count(len(lost), 'task')} lost"
    supervisors = [each for each in census.living if each.kind == Process.Kind.SUPERVISOR]
    if any(is_alive(each, census) for each in supervisors):
        message += ", a supervisor is putting them back"
        return [Problem("lost", message, "manage.py maint status --watch", "StuckTask")]
    return [Problem("lost", message, "manage.py maint rescue", "StuckTask")]


def _unusable(status: Status) -> list[Problem]:
    """Backends that do not answer, or cannot be used at all."""
    found = []
    for each in status.others:
        if each.trouble:
            becomes = ("BackendUnreachable", each.alias) if each.usable else ("Misconfigured", "")
            look = ["--look"] if each.usable else []
            line = shlex.join(["manage.py", "maint", "backends", each.alias, *look])
            message = f"backend {each.alias}: {each.trouble}"
            found.append(Problem("backend", message, line, *becomes))
    return found


def _unattended(status: Status) -> Iterator[Queue]:
    """Queues in which a task waits, that are to be worked, and that no worker takes from."""
    local = local_database_backends()
    for queue in status.queues:
        if queue.counts.ready and not queue.workers and queue.pause is None:
            if queue.counts.backend_name not in local:
                yield queue


def _unserved(status: Status) -> list[Problem]:
    found = []
    none_at_all = any(each.row.code == "NoWorkers" for each in status.findings)
    for queue in _unattended(status):
        counts = queue.counts
        message = f"{counts.ready:,} ready in {_where(counts)}: no worker"
        other = named(status.others, counts.backend_name)
        command = other.start_command(counts.queue_name) if other else _start_worker(counts)
        becomes = ("UnattendedQueue", object_of(counts))
        if none_at_all:
            becomes = ("NoWorkers", "")
        found.append(Problem("unserved", message, command, *becomes))
    return found


def object_of(counts: QueueCounts) -> str:
    """A queue as a finding names it."""
    name, alias = counts.queue_name, counts.backend_name
    return name if alias == "default" else f"{alias}/{name}"


def _where(counts: QueueCounts) -> str:
    name, alias = counts.queue_name, counts.backend_name
    return name if alias == "default" else f"{name} of backend {alias}"


def _start_worker(counts: QueueCounts) -> str:
    queue, alias = counts.queue_name, counts.backend_name
    options = [] if queue == "default" else ["--queue-name", queue]
    options += [] if alias == "default" else ["--backend", alias]
    return shlex.join(["manage.py", "db_worker", *options])


def _no_worker(status: Status) -> list[Problem]:
    census = status.census
    if (
        not database_backends()
        or any(_unattended(status))
        or any(
            each.kind == Process.Kind.WORKER and census.states[each.pk] == Process.State.ALIVE
            for each in census.living
        )
    ):
        return []
    return [Problem("no_worker", "no worker is running", "manage.py db_worker", "NoWorkers")]


def _stalled(status: Status) -> list[Problem]:
    """Queues that do not move: every worker has been at one task for long, and others wait."""
    after, found = get_settings().stalled_after, []
    for queue in status.queues:
        if queue.pause is None and is_stalled(status, queue):
            waits = span(oldest_age(queue.counts, status.census.host_now))
            message = (
                f"{queue.counts.ready:,} ready in {_where(queue.counts)} for {waits}: "
                f"{count(queue.workers, 'worker')} busy with one task for over {span(after)}"
            )
            command = "manage.py maint tasks --state running"
            becomes = ("QueueBacklog", object_of(queue.counts))
            found.append(Problem("stalled", message, command, *becomes))
    return found


def is_stalled(status: Status, queue: Queue) -> bool:
    """Whether a task has waited for ``stalled_after``, and each worker held one as long."""
    census, after = status.census, get_settings().stalled_after
    waits = oldest_age(queue.counts, census.host_now)
    if waits is None or waits <= after or not queue.workers:
        return False
    takers = status.takers(queue.counts)
    if not takers:  # those of another backend do not say since when they hold what
        return False
    held = [status.holdings.get(each.pk) for each in takers]
    ages = [each.running_for(census.host_now) if each else None for each in held]
    return all(age is not None and age > after for age in ages)


def _no_scheduler(status: Status) -> list[Problem]:
    """Schedulers died, and none is alive. A site that never had one is driven by cron."""
    if not status.schedulers_gone:
        return []
    last = status.schedulers_gone[0]
    when = span((status.census.taken_at - schedulers.died_at(last)).total_seconds())
    message = f"no scheduler is running; {last.name} on {last.hostname} died {when} ago"
    return [Problem("no_scheduler", message, "manage.py crontask", "SchedulerDown")]


def _silent(census: Census) -> list[Problem]:
    """Dead or silent processes that hold no task: what they held is told already."""
    holders = {each.owner.pk for each in census.of_state("lost") if each.owner is not None}
    silent = [each for each in census.living if not is_alive(each, census)]
    if not silent or any(each.pk in holders for each in silent):
        return []
    message = f"{count(len(silent), 'process', 'processes')} dead or silent"
    return [Problem("silent", message, "manage.py maint rescue --dry-run", "DeadWorker")]


def _overdue(census: Census) -> list[Problem]:
    overdue = census.of_state("overdue")
    if not overdue:
        return []
    command = "manage.py maint tasks --state overdue"
    if len(overdue) == 1:
        command = f"manage.py maint history --task {overdue[0].attempt.task_id}"
    return [Problem("overdue", f"{count(len(overdue), 'task')} overdue", command, "StuckTask")]


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
    return [Problem("unregistered", message, command, "UnregisteredWorker")]


def _jobs(status: Status) -> list[Problem]:
    """Jobs whose newest run was no success."""
    told = {each.row.code for each in status.findings}
    found = []
    for each in status.jobs:
        becomes = ("JobFailed", each.job)
        if each.job == "prune" and "ArchiveFailed" in told:
            becomes = ("ArchiveFailed", "")
        command = shlex.join(["manage.py", "maint", "jobs", "--job", each.job])
        found.append(Problem("job", each.message, command, *becomes))
    return found
