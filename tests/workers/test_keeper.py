"""The keeper's rhythm, whatever a pass takes."""

from __future__ import annotations

import os
from uuid import uuid4

import pytest
from django.db import OperationalError

from argus_maint.models import Process
from argus_maint.workers import keeper as module
from argus_maint.workers.board import Board
from argus_maint.workers.identity import this_host
from argus_maint.workers.keeper import Duties, Keeper, Member
from argus_maint.workers.orders import Outbox
from argus_maint.workers.registry import Group
from tests.lab import until


@pytest.mark.django_db(transaction=True)
def test_a_pass_of_many_rows_beats_on() -> None:
    seen: list[tuple[int, float]] = []

    def beats() -> int:
        return Process.objects.get(kind="supervisor").beats

    def rescue(keeper: Keeper) -> None:
        """A pass over more rows than a lease is long."""
        if seen:
            return
        before = beats()

        def row() -> bool:
            keeper.between()
            return beats() >= before + 4

        until(row, what="beats within the pass")
        seen.append((beats() - before, board.slots[0].raw.lease_until))
        outbox.add("stop")

    read, write = os.pipe()
    board, outbox = Board(1), Outbox()
    outbox.connect(write)
    board.slots[0].reset(1)
    keeper = Keeper(
        Group(uuid4(), "w", this_host(), 0.9, {}),
        "cafe",
        board,
        [Member(0, os.getpid(), None), Member(1, os.getpid(), board.slots[0])],
        [],
        read,
        Duties(rescue=rescue, overdue=lambda *args: None, finish=lambda tick: None),
        beat=0.3,
        retention=60,
    )
    keeper.run()
    os.close(write)
    os.close(read)
    ((count, lease_until),) = seen
    assert count >= 4
    assert lease_until > 0
    assert set(Process.objects.values_list("state", flat=True)) == {"ended"}


def test_it_goes_on_to_say_that_it_waits_and_for_how_long(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    keeper = Keeper(
        Group(uuid4(), "w", this_host(), 15, {}),
        "cafe",
        Board(1),
        [],
        [],
        os.pipe()[0],
        Duties(rescue=lambda *args: None, overdue=lambda *args: None, finish=lambda tick: None),
        beat=5,
        retention=60,
    )
    for at in range(1000, 1131):
        monkeypatch.setattr(module, "now", lambda at=at: float(at))
        keeper._database_away(OperationalError("unable to open database file"))
    words = [each.getMessage() for each in caplog.records if "keeper.waiting" in each.getMessage()]
    assert [word.rpartition("seconds=")[2] for word in words] == ["0", "60", "120"]
    assert all('hint="look at the setting DATABASES"' in word for word in words)
