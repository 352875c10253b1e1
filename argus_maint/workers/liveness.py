"""Is a process dead? The verdicts, and the patience they need.

*exited*: this host proves that the process no longer exists. *expired*: its lease
has run out by the database's clock and a watcher has confirmed it. Anything else
is alive.

An expired lease alone proves little: when the database was away, or locked by a
writer, nobody could beat. So a watcher must itself have committed beats without a
gap for one whole lease of the watched process, by its own monotonic clock, and
have seen the watched beat counter unchanged throughout (``Watch``).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from argus_maint.models import Process
from argus_maint.workers.identity import Host, Presence, presence, same_place

# Commits come late by the time a commit takes. A gap of one beat and a half is still
# a watcher that missed none of its beats.
GAP = 1.5


class Verdict(str, Enum):
    """What the evidence says."""

    ALIVE = "alive"
    EXITED = "exited"
    EXPIRED = "expired"  # and confirmed
    WAITING = "waiting"  # lease over, confirmation under way


@dataclass(slots=True)
class _Seen:
    beats: int
    since: float


class Watch:
    """A watcher's own proof that it could write all along, and what it saw meanwhile."""

    def __init__(self, beat: float) -> None:
        self.beat = beat
        self._unbroken_since: float | None = None
        self._last: float | None = None
        self._seen: dict[object, _Seen] = {}

    def committed(self, at: float) -> None:
        """Note that a beat of the watcher's own was committed at this monotonic time."""
        if self._last is None or at - self._last > self.beat * GAP:
            self._unbroken_since = at
        self._last = at

    def observe(self, process: Process, at: float) -> None:
        """Note the beat counter of a watched process, just read."""
        seen = self._seen.get(process.pk)
        if seen is None or seen.beats != process.beats:
            self._seen[process.pk] = _Seen(process.beats, at)

    def forget(self, living: set[object]) -> None:
        """Drop what is known of processes that are no longer listed."""
        self._seen = {key: seen for key, seen in self._seen.items() if key in living}

    def confirms_at(self, process: Process) -> float | None:
        """When (monotonic) an unchanged counter will be proof; None without own commits."""
        seen = self._seen.get(process.pk)
        if seen is None or self._unbroken_since is None:
            return None
        return max(seen.since, self._unbroken_since) + process.lease

    def confirmed(self, process: Process, at: float) -> bool:
        """Whether silence of one lease has been witnessed without a gap."""
        due = self.confirms_at(process)
        fresh = self._last is not None and at - self._last <= self.beat * GAP
        return due is not None and at >= due and fresh


def lease_is_over(process: Process, now: datetime) -> bool:
    """Whether the lease has run out; ``now`` is the database's time.

    A beat in the future means that the database's clock was set back. Its age is then
    unknown, and only confirmation counts.
    """
    age = (now - process.last_beat_at).total_seconds()
    return age > process.lease or age < 0


def judge(process: Process, host: Host, now: datetime, watch: Watch | None, at: float) -> Verdict:
    """Weigh the evidence about one registered process that has not ended.

    ``now`` is the database's time, ``at`` the watcher's monotonic time. Without a
    ``watch`` an expired lease can only be WAITING.
    """
    if same_place(host, process.boot_id, process.pid_namespace):
        if presence(process.pid, process.start_time) is Presence.GONE:
            return Verdict.EXITED
    if not lease_is_over(process, now):
        return Verdict.ALIVE
    if watch is not None and watch.confirmed(process, at):
        return Verdict.EXPIRED
    return Verdict.WAITING
