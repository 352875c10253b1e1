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
    born_at: datetime | None = None
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


def place_of(server: Server, name: str, since: datetime | None = None) -> Place | None:
    """Where a worker ran whose entry this process has seen.

    None as well where it is a later one of the same name: born after ``since``.
    """
    place = _remembered.get((server.identity, name))
    if place is not None and since and place.born_at and place.born_at > since:
        return None
    return place


def process_of(server: Server, place: Place, table: processes.Table) -> processes.Process | None:
    """The worker's process, if it is there. In containers another soon has the same pid."""
    if not place.here or place.pid is None:
        return None
    for (identity, _), other in _remembered.items():
        if identity == server.identity and (other.host, other.pid) == (place.host, place.pid):
            if other.born_at and place.born_at and other.born_at > place.born_at:
                return None
    return table.worker(place.pid)


def owner(server: Server, name: str, since: datetime | None = None) -> processes.Owner:
    """What ties a horse on this host to a worker."""
    place = place_of(server, name, since)
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
        if last is not None and process_of(server, last, table) is not None:
            said, alive = f"{said}, and its process {last.pid} is there", None
        host, pid, seen = (last.host, last.pid, last.seen_at) if last else ("", None, None)
        return Worker(name, host, pid, seen_at=seen, alive=alive, evidence=said)
    alive, said = _verdict(server, entry, table)
    place = entry.place
    return Worker(name, place.host, place.pid, entry.queues, place.seen_at, alive, said, entry.task)


def _verdict(server: Server, entry: Entry, table: processes.Table) -> tuple[bool | None, str]:
    pid, state = entry.place.pid, entry.state
    if entry.ended:
        return False, "it has said goodbye"
    if not entry.place.here:
        return True, f"{state}; on another host, where only its entry can tell"
    if not table.readable or pid is None:
        return True, f"{state}; this host's processes cannot be looked at"
    process = process_of(server, entry.place, table)
    if process is not None:
        return True, f"{state}; its process {pid} is {'stopped' if process.stopped else 'there'}"
    if processes.exists(pid) and table.worker(pid) is None:
        return None, f"process {pid} of this host is not recognised as an rqworker"
    horse = table.horse_of(entry.task, owner(server, entry.name)) if entry.task else None
    goes_on = f"; its work horse {horse.pid} goes on" if horse else ""
    return False, f"its process {pid} is gone from this host{goes_on}"


def _entry(name: str, stored: dict[str, str], running: Iterable[bytes]) -> Entry:
    first = next(iter(sorted(text(each) for each in running)), "")
    return Entry(
        name,
        Place(
            stored.get("hostname", ""),
            int(stored["pid"]) if stored.get("pid", "").isdigit() else None,
            when(stored.get("last_heartbeat", "")),
            when(stored.get("birth", "")),
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
