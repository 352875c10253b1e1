"""Which ticks are to be run: a pure function of the last one and the time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from argus_maint.conf_jobs import MOST_CAUGHT_UP, Job
from argus_maint.scheduling.due import Due, due
from argus_maint.ticks import UTC, parse_schedule

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)


def job(expression: str = "0 * * * *", **values: Any) -> Job:
    return Job("j", "a job", parse_schedule(expression, "UTC"), **values)


def hours(number: float) -> datetime:
    return NOON + timedelta(hours=number)


def test_the_tick_that_was_claimed_is_not_due_again() -> None:
    assert due(job(), NOON, hours(0.99)) == Due()


def test_the_next_tick_is_due_at_its_own_time_and_not_before() -> None:
    assert due(job(), NOON, hours(1) - timedelta(seconds=1)) == Due()
    assert due(job(), NOON, hours(1)) == Due((hours(1),))


def test_after_downtime_the_newest_missed_tick_runs_and_the_others_are_counted() -> None:
    assert due(job(), NOON, hours(5.5)) == Due((hours(5),), missed=4)


def test_who_asks_for_all_gets_each_of_them_up_to_a_bound() -> None:
    all_of_them = job(catch_up="all")
    assert due(all_of_them, NOON, hours(3.5)) == Due((hours(1), hours(2), hours(3)))
    many = due(all_of_them, NOON, hours(30.5))
    assert many.ticks == tuple(hours(n) for n in range(7, 31))
    assert (len(many.ticks), many.missed) == (MOST_CAUGHT_UP, 6)


def test_who_skips_runs_what_is_late_but_not_what_was_missed() -> None:
    skips = job(catch_up="skip")
    assert due(skips, NOON, hours(1) + timedelta(seconds=90)) == Due((hours(1),))
    assert due(skips, NOON, hours(1) + timedelta(seconds=150)) == Due(passed=hours(1))


def test_a_new_job_begins_with_the_tick_that_has_just_come_and_with_no_older_one() -> None:
    assert due(job(), None, NOON + timedelta(seconds=1)) == Due((NOON,))
    assert due(job(), None, hours(0.5)) == Due(passed=NOON)


@pytest.mark.parametrize("last", [None, NOON])
def test_what_is_switched_off_passes_its_ticks_over(last: datetime | None) -> None:
    assert due(job(enabled=False), last, hours(1.5)) == Due(passed=hours(1))
