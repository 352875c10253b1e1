"""Processes that ran tasks in their own memory, and took some with them.

Of those of one host that died within the hour: how many tasks, by their last word. One that
held none has lost nothing, and whoever started it starts the next; it is nobody's trouble.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from argus_maint.backends.pools import in_hand
from argus_maint.findings.observation import Observation
from argus_maint.jobs.detect.look import Look
from argus_maint.models import Process
from argus_maint.observe import schedulers
from argus_maint.observe.picture import count
from argus_maint.observe.screen import span

WANTED = ("stopped", "shutdown", "manual", "buried", "")  # ends that somebody meant
LOOK_BACK = timedelta(hours=1)
MOST = 500  # deaths that are read


def dead_pools(look: Look, resolved: Mapping[str, datetime]) -> Iterator[Observation]:
    """One for each host on which tasks died with their processes."""
    by_place: defaultdict[str, list[Process]] = defaultdict(list)
    for each in _dead(look):
        mark = resolved.get(place := f"{each.name}@{each.hostname}")
        if lost_with(each) and (mark is None or schedulers.died_at(each) > mark):
            by_place[place].append(each)
    for place, dead in by_place.items():
        last = max(dead, key=schedulers.died_at)
        tasks = sum(map(lost_with, dead))
        ended = span((look.now - schedulers.died_at(last)).total_seconds())
        who = count(len(dead), "process", "processes")
        summary = f"{count(tasks, 'task')} died with {who} of {last.hostname}, the last {ended} ago"
        yield Observation("DeadWorker", place, f"{summary}: {_kinds(dead)}", _evidence(dead, tasks))


def lost_with(process: Process) -> int:
    """Tasks that it had in hand by its last word."""
    return sum(map(in_hand, process.info.get("pools", {}).values()))


def _dead(look: Look) -> list[Process]:
    census = look.status.census
    silent = [
        each
        for each in census.living
        if each.kind == Process.Kind.POOL
        and (
            census.states[each.pk] == "exited"
            or (census.states[each.pk] == "expired" and each.last_beat_at <= look.now)
        )
    ]
    ended = Process.objects.using(look.using).filter(
        kind=Process.Kind.POOL, ended_at__gte=look.now - LOOK_BACK
    )
    return silent + list(ended.exclude(reason__in=WANTED).order_by("-ended_at")[:MOST])


def _kinds(dead: list[Process]) -> str:
    kinds: Counter[str] = Counter()
    for each in dead:
        for pool in each.info.get("pools", {}).values():
            kinds.update(pool.get("tasks", {}))
    return ", ".join(f"{number:,} {path}" for path, number in kinds.most_common(3))


def _evidence(dead: list[Process], tasks: int) -> dict[str, object]:
    last = max(dead, key=schedulers.died_at)
    pools = {alias: pool for alias, pool in last.info["pools"].items() if in_hand(pool)}
    queues = {name for pool in pools.values() for name in pool["queues"]}
    return {
        "worker": last.name,
        "host": last.hostname,
        "pid": last.pid,
        "backend": ",".join(sorted(pools)),
        "queue": ",".join(sorted(queues)),
        "reason": last.reason,
        "tasks": tasks,
        "processes": len(dead),
    }
