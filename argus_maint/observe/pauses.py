"""Which queues are paused and which workers are drained: who said so, why, how long."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from argus_maint.models import Pause, Process
from argus_maint.observe.history import iso
from argus_maint.observe.screen import span
from argus_maint.workers import pauses


@dataclass(frozen=True, slots=True)
class Pauses:
    """Those that hold at one moment."""

    rows: list[Pause] = field(default_factory=list)

    def of_queue(self, backend: str, queue: str) -> Pause | None:
        """What keeps workers from a queue."""
        for each in self.rows:
            if not each.worker and (each.backend_name, each.queue_name) == (backend, queue):
                return each
        return None

    def of_process(self, process: Process) -> Pause | None:
        """What keeps a supervisor, and so its workers, from taking anything."""
        return next((each for each in self.rows if each.worker == process.name), None)

    def queues(self) -> Iterable[Pause]:
        """The paused queues."""
        return (each for each in self.rows if not each.worker)


def live(using: str) -> Pauses:
    """Those that hold now, by the database's clock."""
    return Pauses(pauses.live(using))


def as_dict(pause: Pause) -> dict[str, Any]:
    """The JSON form."""
    return {
        "backend": pause.backend_name or None,
        "queue": pause.queue_name or None,
        "worker": pause.worker or None,
        "by": pause.by,
        "why": pause.why,
        "since": iso(pause.since),
        "until": iso(pause.until),
    }


def told(pause: Pause, now: datetime) -> str:
    """Who holds it, for how long, and why, on one line; ``now`` is the database's time."""
    since = span(max(0.0, (now - pause.since).total_seconds()))
    end = f", {left(pause, now)}" if pause.until is not None else ""
    return f"by {pause.by} for {since}{end}: {pause.why}"


def left(pause: Pause, now: datetime) -> str:
    """How long it still holds."""
    if pause.until is None:
        return "until it is taken back"
    return f"ends in {span(max(0.0, (pause.until - now).total_seconds()))}"
