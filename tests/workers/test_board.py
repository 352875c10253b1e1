"""The board: what one process writes is read whole by another, and outlives the writer."""

from __future__ import annotations

import os
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argus_maint.workers.board import Board, Held, Phase, Slot

LOW = Held(uuid.UUID(int=1), 1, 1.0, 1.0, False)
HIGH = Held(uuid.UUID(int=2**128 - 1), 2**32, 9e9, 3600.0, True)

helds = st.builds(
    Held,
    st.uuids(),
    st.integers(1, 2**63),
    st.floats(0, 1e12),
    st.floats(0, 1e9),
    st.booleans(),
)


def hold_in(slot: Slot, held: Held) -> None:
    slot.hold(held.task_id, held.attempt, held.since, held.limit, held.kill)


def hold(board: Board, held: Held) -> None:
    hold_in(board.slots[0], held)


@settings(deadline=None)  # machines are slow
@given(helds)
def test_what_is_published_is_read(held: Held) -> None:
    board = Board(1)
    hold(board, held)
    assert board.slots[0].held() == held
    board.slots[0].release()
    assert board.slots[0].held() is None


class Racing:
    """The fields of a slot, into which a writer writes while they are read.

    ``schedule`` says how many of its writes come before each read.
    """

    def __init__(self, before: Held, after: Held, schedule: list[int]) -> None:
        self.writes: list[tuple[str, object]] = []
        self.schedule = iter(schedule)
        self.fields: dict[str, object] = {"sequence": 0}
        slot = Slot(_Recorder(self))  # type: ignore[arg-type]
        hold_in(slot, before)
        self.writes.clear()
        begin = dict(self.fields)
        hold_in(slot, after)
        self.fields = begin

    def __getattr__(self, name: str) -> object:
        for _ in range(min(next(self.schedule, 99), len(self.writes))):
            written, value = self.writes.pop(0)
            self.fields[written] = value
        return self.fields[name]


class _Recorder:
    def __init__(self, race: Racing) -> None:
        object.__setattr__(self, "race", race)

    def __getattr__(self, name: str) -> object:
        return self.race.fields[name]

    def __setattr__(self, name: str, value: object) -> None:
        self.race.fields[name] = value
        self.race.writes.append((name, value))


@settings(deadline=None)  # machines are slow
@given(st.lists(st.integers(0, 3), max_size=60))
def test_a_reader_never_sees_half_of_an_update(schedule: list[int]) -> None:
    assert Slot(Racing(LOW, HIGH, schedule)).held() in (LOW, HIGH)  # type: ignore[arg-type]


@settings(deadline=None)  # machines are slow
@given(st.lists(st.integers(0, 3), max_size=60))
def test_a_reader_never_sees_half_of_a_release(schedule: list[int]) -> None:
    race = Racing(HIGH, LOW, schedule)
    race.writes = [("sequence", 3), ("task_high", 0), ("task_low", 0), ("sequence", 4)]
    assert Slot(race).held() in (HIGH, None)  # type: ignore[arg-type]


def test_after_the_death_of_its_writer_even_half_an_entry_is_read() -> None:
    """A worker that was killed while it wrote has claimed all the same."""
    board = Board(1)
    hold(board, LOW)
    board.slots[0].raw.sequence += 1
    assert board.slots[0].held() == LOW


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_slots_are_apart_and_children_share_them() -> None:
    board = Board(3)
    child = os.fork()
    if child == 0:
        hold_in(board.slots[1], HIGH)
        board.slots[1].raw.phase = Phase.RUNNING
        board.header.last_commit = 5.0
        os._exit(0)
    os.waitpid(child, 0)
    assert [slot.held() for slot in board.slots] == [None, HIGH, None]
    assert [slot.raw.phase for slot in board.slots] == [0, Phase.RUNNING, 0]
    assert board.header.last_commit == 5.0


def test_a_new_child_finds_its_slot_empty() -> None:
    board = Board(2)
    hold(board, HIGH)
    board.slots[1].raw.number = 1
    raw = board.slots[0].raw
    raw.lease_until, raw.epoch, raw.finished, raw.ending, raw.empty_at = 1.0, 2, 3, 4, 5.0
    board.slots[0].reset(7)
    assert board.slots[0].held() is None
    assert raw.number == 7
    fields = {name for name, _type in raw._fields_} - {"number"}
    assert {name: getattr(raw, name) for name in fields} == dict.fromkeys(fields, 0)
    assert board.slots[1].raw.number == 1


def test_an_attempt_is_told_from_the_next_one_at_the_same_task() -> None:
    board = Board(1)
    hold(board, LOW)
    first = board.slots[0].raw.sequence
    board.slots[0].release()
    hold(board, LOW)
    assert board.slots[0].raw.sequence != first
