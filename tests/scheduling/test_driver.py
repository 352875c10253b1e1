"""The loop of a scheduler, without a process."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger
from django.db import OperationalError, ProgrammingError

from argus_maint.conf_jobs import defaults
from argus_maint.scheduling import crontask
from argus_maint.scheduling.driver import Driver
from argus_maint.scheduling.member import Member
from argus_maint.scheduling.runner import Runner
from argus_maint.ticks import UTC
from argus_maint.workers.notify import Manager

HOUR = timedelta(hours=1)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Driver]:
    scheduler = BackgroundScheduler(timezone=UTC)
    monkeypatch.setattr(crontask, "scheduler", lambda: scheduler)
    scheduler.start(paused=True)
    scheduler.add_job(print, CronTrigger(minute="*"), id="each minute")
    runner = Runner("default", Member("default", "crontask"), lambda job, run: {})
    yield Driver(runner, {}, lambda: None, Manager())
    scheduler.shutdown(wait=False)


def waits(driver: Driver) -> timedelta:
    """Until APScheduler fires."""
    wait: timedelta = driver.scheduler.get_job("each minute").next_run_time - datetime.now(UTC)
    return wait


def test_after_the_clock_was_set_back_the_next_tick_is_not_waited_for_that_long(
    driver: Driver,
) -> None:
    job = driver.scheduler.get_job("each minute")
    job.modify(next_run_time=job.next_run_time + HOUR)  # as it was before the clock was set
    driver.offset += 3600
    driver._look_at_the_clock()
    assert waits(driver) <= timedelta(minutes=1)
    assert driver.next_beat == 0  # and ours are looked for at once


def test_after_the_clock_was_set_forward_the_last_tick_is_made_up_for(driver: Driver) -> None:
    """APScheduler fires it, once, when it is woken: it is not put off to the next."""
    job = driver.scheduler.get_job("each minute")
    job.modify(next_run_time=job.next_run_time - HOUR)
    driver.offset -= 3600
    driver._look_at_the_clock()
    assert waits(driver) < timedelta()


def test_a_clock_that_is_drawn_near_bit_by_bit_has_not_jumped(driver: Driver) -> None:
    driver.next_beat = 1e12
    driver.offset += 1.0
    driver._look_at_the_clock()
    assert driver.next_beat == 1e12


@pytest.mark.parametrize(
    "error",
    [
        ProgrammingError('relation "argus_maint_process" does not exist'),  # PostgreSQL
        ProgrammingError(1146, "Table 'site.argus_maint_process' doesn't exist"),  # MariaDB
        OperationalError("no such table: argus_maint_process"),  # SQLite
    ],
)
def test_before_migrate_it_waits_and_says_what_helps(
    driver: Driver,
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(driver.member, "register", failing(error))
    monkeypatch.setattr("argus_maint.scheduling.driver.discard", lambda using: None)
    monkeypatch.setattr(driver.runner, "fire", failing(error))
    driver.jobs = defaults()
    driver._turn()
    driver.fire("findings")
    assert "run manage.py migrate" in caplog.text
    assert "scheduler.error" not in caplog.text and "Traceback" not in caplog.text


def test_a_defect_in_a_statement_is_not_waited_for(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    error = ProgrammingError('syntax error at or near "SELCT"')
    monkeypatch.setattr(driver.member, "register", failing(error))
    monkeypatch.setattr(driver.runner, "fire", failing(error))
    driver.jobs = defaults()
    driver.fire("findings")
    assert "scheduler.error" in caplog.text
    with pytest.raises(ProgrammingError):
        driver._turn()


def failing(error: Exception) -> Any:
    """A call that raises it."""

    def fail(*args: object) -> None:
        raise error

    return fail
