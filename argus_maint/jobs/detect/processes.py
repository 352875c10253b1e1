"""Workers and schedulers: who died, and what runs without being looked after.

- ``DeadWorker``: a supervisor that died within the hour, and nothing took its place: neither
  one of its name nor a newer one on its host; or one whose workers died ``deaths`` times
  ``within`` that time; or processes that died with tasks in their memory (``detect.pools``);
  or workers of another backend that died, with none of it left alive on their host.
- ``UnregisteredWorker``: tasks RUNNING under a worker that never registered, for ``seen``.
- ``SchedulerDown``: a scheduler died within a day, and none is alive.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from argus_maint.findings import book
from argus_maint.findings.observation import Observation
from argus_maint.jobs.detect.look import Look
from argus_maint.jobs.detect.pools import LOOK_BACK, WANTED, dead_pools
from argus_maint.models import Process
from argus_maint.observe import schedulers
from argus_maint.observe.census import Running
from argus_maint.observe.others import Other
from argus_maint.observe.picture import count
from argus_maint.observe.screen import span
from argus_maint.observe.status import has_heir, living_supervisors

MOST = 2000  # deaths that are read


def dead_workers(look: Look) -> Iterator[Observation]:
    """Supervisors without an heir, and supervisors whose workers keep dying."""
    gone = {_place(each): each for each in reversed(_gone(look))}
    for place, each in gone.items():
        ended = span((look.now - schedulers.died_at(each)).total_seconds())
        how = each.exit_signal or each.verdict or "silent"
        summary = f"{each.name} on {each.hostname} died {ended} ago ({how}), nothing in its place"
        yield Observation("DeadWorker", place, summary, _evidence(each))
    for place, deaths in _loops(look).items():
        if place not in gone:
            within = span(look.option("DeadWorker", "within"))
            summary = f"workers of {place} died {len(deaths)} times within {within}: "
            summary += ", ".join(sorted({_how(each) for each in deaths}))
            evidence = {**_evidence(deaths[0]), "deaths": len(deaths)}
            yield Observation("DeadWorker", place, summary, evidence)
    resolved = book.resolved_at("DeadWorker", look.now - LOOK_BACK, look.using)
    yield from dead_pools(look, resolved)
    for other in look.status.others:
        yield from _dead_of(other, resolved)


def _dead_of(other: Other, resolved: Mapping[str, datetime]) -> Iterator[Observation]:
    """One for each host on which workers of another backend died, and none is alive.

    What a person has resolved since it was last heard of counts no more.
    """
    manned = {each.host for each in other.workers if each.alive}
    dead = {each.host: each for each in other.workers if each.alive is False}
    command = other.start_command()
    for host, each in sorted(dead.items()):
        # A pool is told of by ``detect.pools``. One whose host nobody knows any more may have
        # had any of the living for its heir.
        mark = resolved.get(f"{each.name}@{host}")
        seen_to = mark is not None and (each.seen_at is None or mark > each.seen_at)
        if not command or seen_to or host in manned or (manned and not host):
            continue
        summary = f"{each.name} on {host or 'a host'} of backend {other.alias} died "
        summary += f"({each.evidence}), nothing in its place: {command}"
        evidence = {
            "worker": each.name,
            "host": host,
            "pid": each.pid,
            "backend": other.alias,
            "queue": ",".join(each.queues),
        }
        yield Observation("DeadWorker", f"{each.name}@{host}", summary, evidence)


def _gone(look: Look) -> list[Process]:
    """The ended ones, and those whose death nobody has noted yet."""
    census = look.status.census
    heads = living_supervisors(census)
    silent = [
        each
        for each in census.living
        if each.kind == Process.Kind.SUPERVISOR
        and census.states[each.pk] in ("exited", "expired")
        and each.state != Process.State.DRAINING
        # A beat that has yet to come is one of a wrong clock (ClockSkew), and proves no death.
        and (each.last_beat_at <= look.now or census.states[each.pk] == "exited")
        and not has_heir(each, heads)
    ]
    return silent + [each for each in look.status.gone if each.reason not in WANTED]


def _place(process: Process) -> str:
    return f"{process.name}@{process.hostname}"


def _evidence(process: Process) -> dict[str, object]:
    return {
        "worker": process.name,
        "host": process.hostname,
        "pid": process.pid,
        "backend": process.info.get("backend", ""),
        "queue": ",".join(process.info.get("queues", [])),
        "reason": process.reason,
    }


def _how(process: Process) -> str:
    if process.exit_signal:
        return process.exit_signal
    status = process.exit_status
    return process.reason if status is None else f"exit status {status}"


def _loops(look: Look) -> dict[str, list[Process]]:
    """Deaths of workers by supervisor, where they are many; the newest first."""
    # Not by their state: most rows have ended, and SQLite would look all of them up by it.
    rows = Process.objects.using(look.using).filter(
        kind=Process.Kind.WORKER, ended_at__gte=look.since("DeadWorker")
    )
    resolved = look.resolved("DeadWorker")
    found: defaultdict[str, list[Process]] = defaultdict(list)
    # A worker that went down with its supervisor is no crash of its own.
    for each in rows.exclude(reason__in=[*WANTED, "lost"]).order_by("-ended_at")[:MOST]:
        mark = resolved.get(_place(each))
        if mark is None or (each.ended_at is not None and each.ended_at > mark):
            found[_place(each)].append(each)
    least = look.option("DeadWorker", "deaths")
    return {place: deaths for place, deaths in found.items() if len(deaths) >= least}


def unregistered_workers(look: Look) -> Iterator[Observation]:
    """Strangers that have been at a task for long."""
    least = look.option("UnregisteredWorker", "seen")
    for worker, tasks in _by_worker(look.status.census.of_state("unregistered")).items():
        ages = [
            (look.now - each.first_seen_at).total_seconds()
            for each in tasks
            if each.first_seen_at is not None
        ]
        if not ages or max(ages) <= least:
            continue
        attempt = tasks[0].attempt
        summary = f"{count(len(tasks), 'task')} under {worker or '(none)'}, which never registered"
        yield Observation(
            "UnregisteredWorker",
            worker,
            f"{summary}, for {span(max(ages))}",
            {
                "worker": worker,
                "tasks": len(tasks),
                "task_id": str(attempt.task_id),
                "task": attempt.task_path,
                "queue": attempt.queue_name,
                "backend": attempt.backend_name,
            },
        )


def _by_worker(tasks: Iterable[Running]) -> dict[str, list[Running]]:
    found: defaultdict[str, list[Running]] = defaultdict(list)
    for each in tasks:
        found[each.attempt.owner].append(each)
    return found


def scheduler_down(look: Look) -> Iterator[Observation]:
    """Schedulers died, and none is alive. A site that never had one is driven by cron."""
    for last in look.status.schedulers_gone[:1]:
        when = span((look.now - schedulers.died_at(last)).total_seconds())
        summary = f"no scheduler is running; {last.name} on {last.hostname} died {when} ago"
        evidence = {"host": last.hostname, "pid": last.pid, "scheduler": last.name}
        yield Observation("SchedulerDown", "", summary, evidence)


DETECTORS = {
    "DeadWorker": dead_workers,
    "UnregisteredWorker": unregistered_workers,
    "SchedulerDown": scheduler_down,
}
