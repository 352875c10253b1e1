"""Who is there, and who runs what: living processes and RUNNING tasks, put together.

One look costs a handful of queries, whatever the number of processes, tasks and
finished rows. It changes nothing. Verdicts are those of ``workers.liveness`` as far
as one look can give them: an expired lease is *expired* here, and not yet confirmed.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from django.utils import timezone

from argus_maint.backends.database import Attempt, running
from argus_maint.backends.search import CHUNK
from argus_maint.checks import local_database_backends
from argus_maint.dbtime import db_now
from argus_maint.models import DeclaredPolicy, LedgerEntry, Process, Sighting
from argus_maint.policy import policy_for
from argus_maint.workers import registry
from argus_maint.workers.identity import Host, this_host
from argus_maint.workers.liveness import Verdict, judge


@dataclass(frozen=True, slots=True)
class Running:
    """A RUNNING task and what is known of who runs it."""

    attempt: Attempt
    owner: Process | None
    state: str  # "running", "lost" or "unregistered"
    verdict: str = ""  # of a lost one: "exited" or "expired"
    confirmed: bool = True  # an expired lease needs confirmation before anyone may act
    first_seen_at: datetime | None = None  # database time; of an unregistered one
    overdue: str = ""  # why it counts as overdue

    @property
    def worker(self) -> str:
        """The worker's name for people."""
        return label(self.owner.worker_id) if self.owner else self.attempt.owner or "(none)"

    def running_for(self, host_now: datetime) -> float | None:
        """Seconds since the claim, by the clocks of two hosts: approximate."""
        if self.attempt.started_at is None:
            return None
        return max(0.0, (host_now - self.attempt.started_at).total_seconds())


@dataclass(slots=True)
class Census:
    """One look at processes and RUNNING tasks."""

    taken_at: datetime  # the database's clock
    host_now: datetime  # this host's clock, for the neighbour's columns
    living: list[Process] = field(default_factory=list)
    states: dict[uuid.UUID, str] = field(default_factory=dict)  # of the living, by row
    running: list[Running] = field(default_factory=list)

    def of_state(self, state: str) -> list[Running]:
        """RUNNING tasks that are lost, unregistered, overdue, or run as they should."""
        if state == "overdue":
            return [each for each in self.running if each.overdue]
        return [each for each in self.running if each.state == state]


def label(worker_id: str) -> str:
    """``name.number`` of a worker id, without the incarnation; a supervisor's is its name."""
    name, _, rest = worker_id.rpartition(".")
    name, _, incarnation = name.rpartition(".")
    if not name or len(incarnation) != 12:
        return worker_id
    return name if rest.partition("-")[0] == "0" else f"{name}.{rest}"


def take(using: str, backend: str = "") -> Census:
    """Look once."""
    attempts = _running(using, backend)
    living = registry.living(using)
    census = Census(db_now(using), timezone.now(), living)
    host = this_host()
    verdicts = {process.pk: _verdict(process, host, census.taken_at) for process in living}
    census.states = {process.pk: verdicts[process.pk] or process.state for process in living}
    census.running = _classify(attempts, verdicts, using)
    if any(each.state == "lost" for each in census.running):
        # A task may have ended, and its worker after it, between the looks at the two.
        still = set(_running(using, backend))
        census.running = [each for each in census.running if each.attempt in still]
    census.running = _with_overdue(census, using)
    return census


def _running(using: str, backend: str) -> list[Attempt]:
    return [each for each in running(using) if backend in ("", each.backend_name)]


def _verdict(process: Process, host: Host, now: datetime) -> str:
    """ "exited", "expired" (unconfirmed), or nothing for a process that is alive."""
    verdict = judge(process, host, now, None, 0.0)
    return {Verdict.EXITED: "exited", Verdict.WAITING: "expired"}.get(verdict, "")


def _classify(attempts: list[Attempt], verdicts: dict[uuid.UUID, str], using: str) -> list[Running]:
    local = local_database_backends()
    alone = [each for each in attempts if each.backend_name in local]
    attempts = [each for each in attempts if each.backend_name not in local]
    owners = registry.by_worker_id((attempt.owner for attempt in attempts), using)
    strangers = any(attempt.owner not in owners for attempt in attempts)
    sightings = registry.sightings(using) if strangers else {}
    # What runs in a web process is seen to by its own backend: nobody has to be told of it.
    return [Running(attempt, None, "running") for attempt in alone] + [
        _of_stranger(attempt, sightings.get(attempt.task_id))
        if attempt.owner not in owners
        else _of_process(attempt, owners[attempt.owner], verdicts)
        for attempt in attempts
    ]


def _of_stranger(attempt: Attempt, sighting: Sighting | None) -> Running:
    seen = sighting is not None and sighting.attempt == attempt.number
    return Running(
        attempt,
        None,
        "unregistered",
        first_seen_at=sighting.first_seen_at if sighting is not None and seen else None,
    )


def _of_process(attempt: Attempt, owner: Process, verdicts: dict[uuid.UUID, str]) -> Running:
    if owner.state == Process.State.ENDED:
        return Running(attempt, owner, "lost", owner.verdict or "exited")
    verdict = verdicts.get(owner.pk, "")
    if verdict:
        return Running(attempt, owner, "lost", verdict, confirmed=verdict == "exited")
    return Running(attempt, owner, "running")


def _with_overdue(census: Census, using: str) -> list[Running]:
    """Mark what a supervisor has reported as overdue, or what is past its policy's limit."""
    reported = _reported([each.attempt for each in census.running], using)
    limits = _limits({each.attempt.task_path for each in census.running}, using)
    return [_marked(each, census.host_now, reported, limits) for each in census.running]


def _marked(
    each: Running,
    host_now: datetime,
    reported: set[tuple[uuid.UUID, int]],
    limits: dict[str, float],
) -> Running:
    if each.state == "lost":
        return each
    limit, age = limits.get(each.attempt.task_path), each.running_for(host_now)
    if (each.attempt.task_id, each.attempt.number) in reported:
        why = "reported by its supervisor"
    elif limit is not None and age is not None and age > limit:
        why = f"past its limit of {limit:g} s"
    else:
        return each
    return replace(each, overdue=why)


def _reported(attempts: list[Attempt], using: str) -> set[tuple[uuid.UUID, int]]:
    found: set[tuple[uuid.UUID, int]] = set()
    for start in range(0, len(attempts), CHUNK):
        ids = [attempt.task_id for attempt in attempts[start : start + CHUNK]]
        entries = LedgerEntry.objects.using(using).filter(
            task_id__in=ids, verdict=LedgerEntry.Verdict.OVERDUE
        )
        found |= set(entries.values_list("task_id", "attempt"))
    return found


def _limits(paths: Iterable[str], using: str) -> dict[str, float]:
    """Time limits in force, for the task paths that have one."""
    wanted = sorted(paths)
    if not wanted:
        return {}
    declared = DeclaredPolicy.objects.using(using).in_bulk([path[:255] for path in wanted])
    limits = {}
    for path in wanted:
        row = declared.get(path[:255])
        try:
            limit = policy_for(path, row.options if row else None).time_limit
        except (TypeError, ValueError):  # stored by another version; a rescue reports it
            continue
        if limit:
            limits[path] = limit
    return limits
