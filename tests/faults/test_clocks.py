"""Hosts that do not agree what time it is: only the database's clock counts."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from argus_maint.drills import clock
from argus_maint.models import LedgerEntry
from tests import tasks
from tests.faults import namespace
from tests.faults.conftest import cannot, hold, servers
from tests.faults.evidence import announced, deaths, runs, undisturbed
from tests.faults.tasks import append_and_wait
from tests.lab import Lab, Supervised, until


@pytest.fixture(autouse=True)
def _clocks() -> Iterator[None]:
    if why := clock.missing():
        cannot(why)
    with clock.tidy():
        yield


def two(lab: Lab, alone: tuple[str, ...], offset: str, *more: str) -> list[Supervised]:
    """A supervisor whose clock is right, and one far away whose clock is wrong."""
    right = lab.worker("--lease=3", *more, name="right").ready()
    wrong = lab.worker("--lease=3", *more, name="wrong", prefix=alone, **clock.wrong(offset))
    return [right, wrong.ready()]


@servers
@pytest.mark.parametrize("offset", ["+1h", "-1h"])
def test_a_wrong_clock_makes_nobody_dead(lab: Lab, alone: tuple[str, ...], offset: str) -> None:
    _, wrong = two(lab, alone, offset)
    results = [append_and_wait.enqueue(lab.path("out"), n, lab.path("go")) for n in "ab"]
    until(lambda: runs(lab, "a") and runs(lab, "b"))

    hold(7)  # two leases and more
    lab.folder.joinpath("go").touch()

    for result in results:
        undisturbed(lab, result)
    apart = abs((lab.row(results[0]).started_at - lab.row(results[1]).started_at).total_seconds())
    assert 3500 < apart < 3700, "the clocks agreed"
    assert deaths() == []
    namespace.stop(wrong)


@servers
@pytest.mark.parametrize("offset", ["+1h", "-1h"])
@pytest.mark.parametrize("victim", ["right", "wrong"])
def test_the_dead_are_found_whoever_has_the_wrong_clock(
    lab: Lab, alone: tuple[str, ...], offset: str, victim: str
) -> None:
    # One second's backoff is one second, also where the rescuer lives in another hour.
    lab.setting(RESCUE={"*": {"backoff": [0.5, 0.5]}})
    right, wrong = two(lab, alone, offset)
    results = [append_and_wait.enqueue(lab.path("out"), n, lab.path("go")) for n in "ab"]
    until(lambda: runs(lab, "a") and runs(lab, "b"))
    dead = right if victim == "right" else wrong
    os.kill(dead.pid if dead is right else namespace.supervisor(wrong), signal.SIGKILL)
    (entry,) = until(LedgerEntry.objects.all, 40)
    assert entry.noticed_by.startswith("wrong" if dead is right else "right")
    assert entry.delay == 0.5
    if dead is right:
        os.kill(namespace.supervisor(wrong), signal.SIGTERM)  # so that others must run it
    lab.worker("--lease=3", name="third").ready()  # of the right time
    lab.folder.joinpath("go").touch()

    lost = [result for result in results if result.id == str(entry.task_id)]
    for result in results:
        lab.until_status(result, "SUCCESSFUL")
        announced(lab, result)
        assert len(lab.ledger(result)) == (1 if result in lost else 0)
    undisturbed(lab, tasks.add.enqueue(1, 2))
