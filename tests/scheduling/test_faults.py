"""What breaks around a scheduler: the database, the line to it, the host's clock."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from argus_maint.drills import clock
from argus_maint.models import Run
from tests.faults.conftest import cannot, hold, only, servers, through
from tests.faults.proxy import Proxy
from tests.lab import until
from tests.scheduling.seconds import once
from tests.scheduling.site import EACH_SECOND, Site

RUN = "argus_maint_run"
CLAIM = f"INSERT INTO .{RUN}. .*'running'"
FINISH = f"UPDATE .{RUN}. SET .state. = '(done|failed)'"


def each_once(site: Site, job: str) -> None:
    """Every tick that was claimed began once."""
    begun = [line.split()[2] for line in site.begun(job)]
    assert len(begun) == len(set(begun))


@only("sqlite")
def test_a_writer_that_outlasts_the_busy_timeout_delays_a_tick_and_no_more(site: Site) -> None:
    site.job("a", EACH_SECOND)
    scheduler = site.scheduler()
    until(lambda: site.begun("a"), 60, scheduler.log)
    name = connection.settings_dict["NAME"]
    with closing(sqlite3.connect(name, timeout=30, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        hold(6)  # Django's own timeout is 5 s
        writer.execute("ROLLBACK")
    seen = len(site.begun("a"))

    until(lambda: len(site.begun("a")) >= seen + 3)

    assert scheduler.stop() == 0
    each_once(site, "a")
    assert not Run.objects.filter(state__in=["lost", "running"]).exists()


@servers
def test_a_tick_at_which_the_database_is_away_is_run_when_it_is_back(
    site: Site, proxy: Proxy
) -> None:
    """It ends a run in the outage, too: that it did is written down afterwards."""
    due = time.time() + 9
    site.job("tick", once(9))
    site.job("across", once(), options={"seconds": 3})
    scheduler = site.scheduler(**through(proxy))
    until(lambda: site.begun("across"), 40, scheduler.log)
    (across,) = site.runs("across")

    proxy.refuse()
    assert time.time() < due
    until(lambda: len(site.lab.lines("out")) == 2, what="the end of what ran")
    until(lambda: time.time() > due + 1, what="the tick has passed")
    assert "scheduler.waiting" in scheduler.log
    assert not site.begun("tick")
    proxy.restore()

    until(lambda: site.begun("tick"), 40, scheduler.log)
    until(lambda: Run.objects.get(pk=across.pk).state == "done", 20, scheduler.log)
    assert Run.objects.get(pk=across.pk).attempt == len(site.begun("across")) == 1
    assert "scheduler.back" in scheduler.log
    assert scheduler.stop() == 0


@servers
@pytest.mark.parametrize("fault", ["lose_reply", "lose_statement"])
def test_a_claim_whose_reply_is_lost_is_run_once(site: Site, proxy: Proxy, fault: str) -> None:
    """By the process that made it, whatever the job says of losses: nothing had begun."""
    site.job("again", once(), on_lost="rerun")
    site.job("told", once(), on_lost="report")
    lost = getattr(proxy, fault)(CLAIM, times=2)
    scheduler = site.scheduler(**through(proxy))
    site.ready(scheduler)

    until(lambda: Run.objects.filter(state="done").count() == 2, 30, scheduler.log)

    assert lost.hit == 2
    assert len(site.begun("again")) == len(site.begun("told")) == 1
    assert scheduler.stop() == 0


@servers
@pytest.mark.parametrize("fault", ["lose_reply", "lose_statement"])
def test_an_end_whose_reply_is_lost_is_written_once(site: Site, proxy: Proxy, fault: str) -> None:
    site.job("a", once(), on_lost="rerun")
    lost = getattr(proxy, fault)(FINISH)
    scheduler = site.scheduler(**through(proxy))

    run = until(lambda: Run.objects.filter(state="done").first(), 40, scheduler.log)

    until(lambda: site.process_of(scheduler).beats > 3)  # looks that could take it for lost
    assert scheduler.stop() == 0
    assert (lost.hit, run.attempt, len(site.begun("a"))) == (1, 1, 1)
    assert "job.refused" not in scheduler.log


# -- the host's clock ------------------------------------------------------------------


@pytest.fixture
def dial(tmp_path: Path) -> Iterator[Any]:
    """Sets the wall clock of processes that are running, while monotonic ones go on."""
    if why := clock.missing():
        cannot(why)
    file = tmp_path / "clock"

    def turn(offset: str) -> dict[str, str]:
        file.write_text(f"{offset}\n")
        return {
            "LD_PRELOAD": str(clock.library()),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    with clock.tidy():
        yield turn


@servers
@pytest.mark.parametrize("offset", ["+3600", "-3600"])
def test_a_clock_that_is_set_stops_nothing(site: Site, dial: Any, offset: str) -> None:
    """By the clock of the database a tick comes each second, before and after."""
    site.job("a", EACH_SECOND)
    scheduler = site.scheduler(**dial("+0"))
    until(lambda: len(site.begun("a")) >= 2, 60, scheduler.log)

    dial(offset)

    until(lambda: "clock.jumped" in scheduler.log, 20, scheduler.log)
    seen = len(site.begun("a"))
    until(lambda: len(site.begun("a")) >= seen + 2, 20, scheduler.log)
    assert scheduler.stop() == 0
    each_once(site, "a")
    late = [(run.started_at - run.tick).total_seconds() for run in site.runs("a")]
    assert min(late) >= 0
    assert max(late) < 60  # an hour off is another matter
