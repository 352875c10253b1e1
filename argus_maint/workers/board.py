"""Memory shared by a supervisor, its keeper and its workers.

One anonymous shared mapping, made before the first fork. The keeper writes the
leases, each worker writes what it is doing, the supervisor reads both and never
needs a database to know. Every field has exactly one writer at a time; fields
that belong together are guarded by a sequence number (odd while being written),
so a reader never acts on half of an update.
"""

from __future__ import annotations

import ctypes
import mmap
import time
import uuid
from dataclasses import dataclass
from enum import IntEnum


class Phase(IntEnum):
    """What a worker is doing."""

    STARTING = 0
    IDLE = 1
    CLAIMING = 2
    RUNNING = 3
    FINISHING = 4


@dataclass(frozen=True, slots=True)
class Held:
    """The attempt a worker holds: which, since when, and how long it may take."""

    task_id: uuid.UUID
    attempt: int
    since: float
    limit: float  # seconds; 0 is none
    kill: bool  # on_overdue is "kill"
    announcing: bool = False  # its outcome is written; task_finished receivers run


class _Header(ctypes.Structure):
    _fields_ = (
        ("keeper_alive", ctypes.c_double),  # keeper: its loop last turned
        ("last_commit", ctypes.c_double),  # keeper: its last committed beat
        ("acked", ctypes.c_uint64),  # keeper: last order it has carried out
    )


class _Slot(ctypes.Structure):
    _fields_ = (
        # written by the keeper
        ("lease_until", ctypes.c_double),
        ("epoch", ctypes.c_uint64),
        ("doomed", ctypes.c_uint64),  # child and entry (``_mark``) that a person wants ended
        # written by the supervisor
        ("number", ctypes.c_uint64),  # of the child that has this slot
        ("ending", ctypes.c_uint64),
        # written by the worker
        ("phase", ctypes.c_uint64),
        ("call_since", ctypes.c_double),  # start of the database call in hand; 0 is none
        ("empty_at", ctypes.c_double),  # start of the last look that found nothing
        ("last_finish", ctypes.c_double),
        ("finished", ctypes.c_uint64),
        ("sequence", ctypes.c_uint64),
        ("task_high", ctypes.c_uint64),
        ("task_low", ctypes.c_uint64),
        ("attempt", ctypes.c_uint64),
        ("since", ctypes.c_double),
        ("limit", ctypes.c_double),
        ("kill", ctypes.c_uint64),
        ("announcing", ctypes.c_uint64),
    )


def _mark(number: int, sequence: int) -> int:
    """One word for one attempt of one child: it is written whole, and fits no other."""
    return number << 40 | sequence & _SEQUENCE


_SEQUENCE = (1 << 40) - 1


class Slot:
    """One worker's part of the board."""

    def __init__(self, raw: _Slot) -> None:
        self.raw = raw

    def reset(self, number: int) -> None:
        """Clear everything for a new child (the supervisor, before it starts one here)."""
        ctypes.memset(ctypes.addressof(self.raw), 0, ctypes.sizeof(self.raw))
        self.raw.number = number

    def hold(
        self, task_id: uuid.UUID, attempt: int, since: float, limit: float, kill: bool
    ) -> None:
        """Publish the attempt in hand (the worker)."""
        raw = self.raw
        raw.sequence += 1
        raw.task_high, raw.task_low = task_id.int >> 64, task_id.int & (2**64 - 1)
        raw.attempt, raw.since, raw.limit, raw.kill = attempt, since, limit, int(kill)
        raw.announcing = 0
        raw.sequence += 1

    def announce(self, since: float) -> None:
        """Publish that the attempt in hand is over and its receivers run (the worker)."""
        raw = self.raw
        raw.sequence += 1
        raw.since, raw.announcing = since, 1
        raw.sequence += 1

    def release(self) -> None:
        """Publish that nothing is held (the worker)."""
        raw = self.raw
        raw.sequence += 1
        raw.task_high = raw.task_low = raw.attempt = 0
        raw.since = raw.limit = 0.0
        raw.announcing = 0
        raw.sequence += 1

    def held(self) -> Held | None:
        """What the worker holds. After its death even a half-written entry is read."""
        raw = self.raw
        for tries in range(100):
            if tries > 50:  # the writer may have been preempted, or stopped, in the middle
                time.sleep(0.0002)
            before = raw.sequence
            high, low = raw.task_high, raw.task_low
            entry = (raw.attempt, raw.since, raw.limit, bool(raw.kill), bool(raw.announcing))
            if before == raw.sequence and not before & 1:
                break
        if not high and not low:
            return None
        return Held(uuid.UUID(int=high << 64 | low), *entry)

    def doom(self, number: int, task_id: uuid.UUID, attempt: int) -> None:
        """Mark an attempt that a person wants ended, if it is in hand (the keeper)."""
        sequence, held = self.raw.sequence, self.held()
        if held is None or (held.task_id, held.attempt) != (task_id, attempt):
            return
        if sequence == self.raw.sequence and not sequence & 1:
            self.raw.doomed = _mark(number, sequence)

    def is_doomed(self) -> bool:
        """Whether the attempt in hand is so marked, and its task still runs."""
        raw = self.raw
        mark = _mark(raw.number, raw.sequence)
        return bool(raw.phase == Phase.RUNNING and raw.doomed != 0 and raw.doomed == mark)


class Board:
    """The whole mapping: one header and ``size`` slots."""

    def __init__(self, size: int) -> None:
        length = ctypes.sizeof(_Header) + size * ctypes.sizeof(_Slot)
        self._memory = mmap.mmap(-1, length)  # shared and anonymous: children inherit it
        self.header = _Header.from_buffer(self._memory)
        offset = ctypes.sizeof(_Header)
        self.slots = [
            Slot(_Slot.from_buffer(self._memory, offset + index * ctypes.sizeof(_Slot)))
            for index in range(size)
        ]
