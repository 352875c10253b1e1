"""Workers as rq knows them, and what became of those that it knows no more.

rq's entry of a busy worker expires with that of its job, and then its host and pid are gone
from the server. So each look remembers them: a second one, a minute later in the same
process, still knows where to look for the horse.
"""

from __future__ import annotations

import socket
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from argus_maint.backends.adapters.base import Worker
from argus_maint.backends.adapters.rq import processes
from argus_maint.backends.adapters.rq.records import chunks, when
from argus_maint.backends.adapters.rq.server import Server, key, text

MOST = 1000  # workers of one queue that are looked at
_remembered: OrderedDict[tuple[str, str], Place] = OrderedDict()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker runs, or ran."""

    host: str
    pid: int | None
    seen_at: datetime | None
    session: int | None = None

    @property
    def here(self) -> bool:
        """Whether its pid can be looked up: by host name, rq has no more to tell hosts by."""
        return self.host == socket.gethostname()


@dataclass(frozen=True, slots=True)
class Entry:
    """A worker's entry on the server."""

    name: str
    place: Place
    queues: tuple[str, ...]
    state: str
    task: str
    ended: bool


def entries(server: Server, names: Iterable[str], table: processes.Table) -> dict[str, Entry]:
    """The entries that are still there, by name."""
    found = {}
    for part in chunks(dict.fromkeys(names)):
        pipeline = server.pipeline()
        for name in part:
            pipeline.hgetall(key("worker", name))
            pipeline.smembers(key("worker", name, "executions"))
        answers = pipeline.execute()
        for number, name in enumerate(part):
            stored, running = answers[2 * number], answers[2 * number + 1]
            if stored:
                entry = _entry(name, {text(k): text(v) for k, v in stored.items()}, running)
                found[name] = entry
                _remember(server, entry, table)
    return found


def place_of(server: Server, name: str) -> Place | None:
    """Where a worker ran whose entry this process has seen."""
    return _remembered.get((server.identity, name))


def owner(server: Server, name: str) -> processes.Owner:
    """What ties a horse on this host to a worker."""
    place = place_of(server, name)
    pid = place.pid if place is not None else None
    others = {each.pid for each in _remembered.values() if each.here and each.pid is not None}
    session = place.session if place is not None else None
    return processes.Owner(name, pid, session, frozenset(others - {pid}))


def names_of(server: Server, queues: Iterable[str]) -> list[str]:
    """Workers that take from these queues, those included whose entry has expired."""
    found: dict[str, None] = {}
    prefix = key("worker", "")
    for queue in queues:
        cursor, number = 0, 0
        while number < MOST:
            cursor, members = server.client.sscan(key("workers", queue), cursor, count=200)
            number += len(members)
            for member in sorted(map(text, members)):
                found[member.removeprefix(prefix)] = None
            if not cursor:
                break
    return list(found)


def workers(server: Server, queues: Iterable[str]) -> list[Worker]:
    """All of them, by name."""
    names = sorted(names_of(server, queues))
    table = processes.table()
    known = entries(server, names, table)
    return [_worker(server, name, known.get(name), table) for name in names]


def _worker(server: Server, name: str, entry: Entry | None, table: processes.Table) -> Worker:
    last = place_of(server, name)
    if entry is None:
        said = "its entry has expired: no heartbeat within rq's limit"
        alive: bool | None = False
        if last is not None and last.here and last.pid and table.worker(last.pid):
            said, alive = f"{said}, and its process {last.pid} is there", None
        host, pid, seen = (last.host, last.pid, last.seen_at) if last else ("", None, None)
        return Worker(name, host, pid, seen_at=seen, alive=alive, evidence=said)
    alive, said = _verdict(entry, owner(server, name), table)
    place = entry.place
    return Worker(name, place.host, place.pid, entry.queues, place.seen_at, alive, said, entry.task)


def _verdict(
    entry: Entry, owner: processes.Owner, table: processes.Table
) -> tuple[bool | None, str]:
    place = entry.place
    if entry.ended:
        return False, "it has said goodbye"
    if not place.here:
        return True, f"{entry.state}; on another host, where only its entry can tell"
    if not table.readable or place.pid is None:
        return True, f"{entry.state}; this host's processes cannot be looked at"
    process = table.worker(place.pid)
    if process is None and not processes.exists(place.pid):
        horse = table.horse_of(entry.task, owner) if entry.task else None
        goes_on = f"; its work horse {horse.pid} goes on" if horse else ""
        return False, f"its process {place.pid} is gone from this host{goes_on}"
    if process is None:
        return None, f"process {place.pid} of this host is not recognised as an rqworker"
    if process.stopped:
        return True, f"{entry.state}; its process {place.pid} is stopped"
    return True, f"{entry.state}; its process {place.pid} is there"


def _entry(name: str, stored: dict[str, str], running: Iterable[bytes]) -> Entry:
    first = next(iter(sorted(text(each) for each in running)), "")
    return Entry(
        name,
        Place(
            stored.get("hostname", ""),
            int(stored["pid"]) if stored.get("pid", "").isdigit() else None,
            when(stored.get("last_heartbeat", "")),
        ),
        tuple(each for each in stored.get("queues", "").split(",") if each),
        stored.get("state") or "unknown state",
        first.partition(":")[0] or stored.get("current_job", ""),
        "death" in stored,
    )


def _remember(server: Server, entry: Entry, table: processes.Table) -> None:
    place, known = entry.place, (server.identity, entry.name)
    if not place.host:
        return
    last = _remembered.pop(known, None)
    process = table.worker(place.pid) if place.here and place.pid is not None else None
    if process is not None:
        place = replace(place, session=process.session)
    elif last is not None and (last.host, last.pid) == (place.host, place.pid):
        place = replace(place, session=last.session)
    _remembered[known] = place
    while len(_remembered) > 10 * MOST:
        _remembered.popitem(last=False)
