"""Orders: none is lost, none is done twice, and the supervisor never waits."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argus_maint.workers.orders import Inbox, Order, Outbox


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    for descriptor in (read, write):
        with contextlib.suppress(OSError):  # a test may have closed it
            os.close(descriptor)


def test_orders_arrive_in_their_order_with_their_data(pipe: tuple[int, int]) -> None:
    outbox, inbox = Outbox(), Inbox(pipe[0])
    outbox.connect(pipe[1])
    outbox.add("spawn", number=1, pid=99, slot=0)
    outbox.add("overdue", stack='line\n"two" \N{SNOWMAN}')
    assert inbox.read(1) == [
        Order(1, "spawn", {"number": 1, "pid": 99, "slot": 0}),
        Order(2, "overdue", {"stack": 'line\n"two" \N{SNOWMAN}'}),
    ]
    assert inbox.read(0) == []
    assert not inbox.closed


def test_what_is_not_acknowledged_is_kept_for_the_next_keeper(pipe: tuple[int, int]) -> None:
    outbox = Outbox()
    outbox.connect(pipe[1])
    for number in range(3):
        outbox.add("exit", number=number)
    outbox.acknowledged(2)
    assert [order.data for order in outbox.pending] == [{"number": 2}]
    outbox.disconnect()
    outbox.add("drain")
    assert [order.sequence for order in outbox.pending] == [3, 4]


def test_a_new_keeper_is_sent_only_what_it_was_not_born_with(pipe: tuple[int, int]) -> None:
    outbox, inbox = Outbox(), Inbox(pipe[0])
    outbox.add("spawn", number=1)
    outbox.connect(pipe[1])
    outbox.add("spawn", number=2)
    assert [order.data["number"] for order in inbox.read(1)] == [2]


def test_a_keeper_that_does_not_read_makes_nobody_wait(pipe: tuple[int, int]) -> None:
    outbox, inbox = Outbox(), Inbox(pipe[0])
    outbox.connect(pipe[1])
    for number in range(300):
        outbox.add("overdue", number=number, stack="x" * 1000)  # far more than a pipe holds
    got: list[Order] = []
    while len(got) < 300:
        outbox.flush()
        got += inbox.read(1)
    assert [order.sequence for order in got] == list(range(1, 301))


def test_a_keeper_that_is_gone_breaks_nothing(pipe: tuple[int, int]) -> None:
    outbox = Outbox()
    outbox.connect(pipe[1])
    os.close(pipe[0])
    outbox.add("exit", number=1)
    outbox.flush()
    assert len(outbox.pending) == 1


def test_the_end_of_the_pipe_says_that_the_supervisor_is_gone(pipe: tuple[int, int]) -> None:
    outbox, inbox = Outbox(), Inbox(pipe[0])
    outbox.connect(pipe[1])
    outbox.add("drain")
    os.close(pipe[1])
    assert [order.kind for order in inbox.read(1)] == ["drain"]
    assert inbox.read(1) == []
    assert inbox.closed


@settings(deadline=None)  # machines are slow
@given(st.lists(st.text(max_size=50), min_size=1, max_size=5), st.data())
def test_orders_may_arrive_in_any_pieces(texts: list[str], data: st.DataObject) -> None:
    read, write = os.pipe()
    through, stream = os.pipe()
    try:
        outbox, inbox = Outbox(), Inbox(through)
        outbox.connect(write)
        for text in texts:
            outbox.add("overdue", stack=text)
        sent = os.read(read, 65536)
        got: list[Order] = []
        while sent:
            size = data.draw(st.integers(1, len(sent)))
            os.write(stream, sent[:size])
            sent = sent[size:]
            got += inbox.read(1)
        assert [order.data["stack"] for order in got] == texts
    finally:
        for descriptor in (read, write, through, stream):
            os.close(descriptor)
