"""Times in other words: systemd's, Kubernetes', and those of a host in another zone."""

from __future__ import annotations

import random
from datetime import datetime, timedelta, timezone
from itertools import islice, takewhile
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim

from argus_maint.units import crontab, kubernetes, systemd, zones
from argus_maint.units.calendar import cron_field, on_calendar, parse
from benchmarks import calendars
from tests.units import tools
from tests.units.sites import job, site

UTC = timezone.utc
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("expression", "lines"),
    [
        ("* * * * *", ["*-*-* *:*:00 UTC"]),
        ("17 3 * * *", ["*-*-* 03:17:00 UTC"]),
        ("*/5 9-17 * * mon-fri", ["Mon..Fri *-*-* 09..17:00..55/5:00 UTC"]),
        ("0 0 * * 5-7", ["Fri..Sun *-*-* 00:00:00 UTC"]),
        ("0 0 * * 0,6", ["Sat,Sun *-*-* 00:00:00 UTC"]),
        ("0 6 1 * mon", ["*-*-01 06:00:00 UTC", "Mon *-*-* 06:00:00 UTC"]),  # either
        ("0 6 */10 * mon", ["Mon *-*-01..31/10 06:00:00 UTC"]),  # both
        ("0 6 13 */3 *", ["*-01..10/3-13 06:00:00 UTC"]),
        ("0 6 15 * 0-6", ["*-*-* 06:00:00 UTC"]),  # either, and one is every day
    ],
)
def test_what_systemd_is_told(expression: str, lines: list[str]) -> None:
    assert on_calendar(parse(expression), "UTC") == lines


@pytest.mark.parametrize("text", ["*", "*/7", "3", "1-5", "1-9/4,2", "0,59", "5-59/9"])
def test_a_field_survives_being_written_again(text: str) -> None:
    minutes = parse(f"{text} * * * *").minutes
    assert parse(f"{cron_field(minutes, 0, 59)} * * * *").minutes == minutes


@pytest.mark.slow
def test_ours_systemd_and_cronsim_agree() -> None:
    """A sample of what benchmarks.calendars does with 10,000."""
    tools.need("systemd-analyze", "systemd")
    chance = random.Random()
    texts = list(islice(calendars.expressions(chance), 30))
    assert list(calendars.disagreements(texts, chance)) == []


def test_a_wrong_form_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    tools.need("systemd-analyze", "systemd")

    def only_one(fields: Any, zone: str) -> list[str]:
        return on_calendar(fields, zone)[:1]

    monkeypatch.setattr(calendars, "on_calendar", only_one)
    assert list(calendars.disagreements(["0 6 1 * mon"], random.Random(1)))


# -- other zones, and changing clocks ---------------------------------------------------

YEAR = 2027  # of which zones.py sees the rules
BEGIN, END = datetime(YEAR, 1, 1, tzinfo=UTC), datetime(YEAR + 1, 1, 1, tzinfo=UTC)
CHANGES = [  # one forward and one back, in this order
    ("Europe/Oslo", datetime(YEAR, 3, 28, 1, tzinfo=UTC)),
    ("Europe/Oslo", datetime(YEAR, 10, 31, 1, tzinfo=UTC)),
    ("America/New_York", datetime(YEAR, 3, 14, 7, tzinfo=UTC)),
    ("America/New_York", datetime(YEAR, 11, 7, 6, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(YEAR, 10, 2, 15, 30, tzinfo=UTC)),  # by half an hour
    ("America/Nuuk", datetime(YEAR, 3, 28, 1, tzinfo=UTC)),  # over midnight
    ("America/Santiago", datetime(YEAR, 9, 5, 4, tzinfo=UTC)),  # at midnight
    ("America/New_York", datetime(YEAR, 10, 31, 1, tzinfo=UTC)),  # as Berlin changes
    ("Asia/Kathmandu", datetime(YEAR, 6, 1, tzinfo=UTC)),  # never, and 5:45 ahead
]
EXPRESSIONS = [
    "30 2 * * *", "17 3 * * *", "0,15,45 0-3 * * *", "30 23 * * 6", "0 0 1 * *", "5 0 * * 0",
    "*/20 * * * *", "*/20 2 * * *", "0 */2 * * *", "10 * 28-31 * *", "45 1,2 * * 0",
    "30 21 * * *",
]  # fmt: skip


def ticks(expression: str, zone: str, begin: datetime, end: datetime) -> set[datetime]:
    local = CronSim(expression, begin.astimezone(ZoneInfo(zone)))
    found = (each.astimezone(UTC) for each in local)
    return set(takewhile(lambda each: each <= end, found))


def at_the_wall(expression: str, zone: str, begin: datetime, end: datetime) -> set[datetime]:
    """Of a clock on the wall: it leaves out what is skipped, and repeats what comes twice."""
    fields, info, found, moment = parse(expression), ZoneInfo(zone), set(), begin
    while (moment := moment + MINUTE) <= end:
        local = moment.astimezone(info)
        if local.minute not in fields.minutes or local.hour not in fields.hours:
            continue
        day, weekday = local.day in fields.days, local.isoweekday() % 7 in fields.weekdays
        if (day or weekday) if fields.either else (day and weekday):
            found.add(moment)
    return found


def unfired(due: set[datetime], fired: set[datetime]) -> list[datetime]:
    """Ticks that nothing fires at or within an hour after."""
    return [tick for tick in due if not any(tick <= each < tick + HOUR for each in fired)]


AROUND = [
    pytest.param(expression, zone, change, id=f"{zone}-{change:%b}-{expression}")
    for zone, change in CHANGES
    for expression in EXPRESSIONS
]


@pytest.mark.parametrize(("expression", "zone", "change"), AROUND)
def test_a_cronjob_fires_at_every_tick_where_clocks_change(
    expression: str, zone: str, change: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zones, "_year", lambda: YEAR)
    begin, end = change - 36 * HOUR, change + 36 * HOUR
    wide = kubernetes.schedule(job(expression=expression, zone=zone))
    due = ticks(expression, zone, begin, end - HOUR)
    assert unfired(due, at_the_wall(wide, zone, begin, end)) == []


@pytest.mark.parametrize("host", ["UTC", "Europe/Berlin", "Asia/Kolkata"])
@pytest.mark.parametrize(("expression", "zone", "change"), AROUND)
def test_cron_of_another_zone_fires_at_every_tick(
    expression: str, zone: str, change: datetime, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zones, "_year", lambda: YEAR)
    begin, end = change - 36 * HOUR, change + 36 * HOUR
    shop = site(host_zone=host, job=("true",))
    line = crontab.lines(shop, [job(expression=expression, zone=zone)]).splitlines()[-1]
    fired = ticks(" ".join(line.split()[:5]), host, begin, end)  # as Debian's cron does
    assert unfired(ticks(expression, zone, begin, end - HOUR), fired) == []


@pytest.mark.parametrize(("zone", "change"), CHANGES)
def test_a_timer_fires_at_every_tick_where_clocks_change(
    zone: str, change: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real systemd's arithmetic."""
    tools.need("systemd-analyze", "systemd")
    monkeypatch.setattr(zones, "_year", lambda: YEAR)
    for expression in ("30 2 * * *", "30 23 * * 6", "5 0 * * 0", "10 1 28-31 * 0"):
        lines = systemd.when(job(expression=expression, zone=zone))
        begin, end = change - 36 * HOUR, change + 36 * HOUR
        fired = {each for line in lines for each in calendars.systemd(line, begin, 8)}
        due = ticks(expression, zone, begin, end)
        assert unfired(due, fired) == [], (expression, lines)


@pytest.mark.parametrize(("zone", "change"), CHANGES)
def test_a_timer_that_fires_all_the_time_knows_no_hour_without(zone: str, change: datetime) -> None:
    tools.need("systemd-analyze", "systemd")
    for expression in ("*/20 * * * *", "7 */2 * * *", "*/30 0-3 * * *"):
        lines = systemd.when(job(expression=expression, zone=zone))
        begin, end = change - 5 * HOUR, change + 5 * HOUR
        fired = {each for line in lines for each in calendars.systemd(line, begin, 70)}
        assert unfired(ticks(expression, zone, begin, end), fired) == [], (expression, lines)


def test_where_zones_are_one_the_expression_stays() -> None:
    (text,) = (
        crontab.lines(site(host_zone="Etc/UTC"), [job(expression="5 4 1 jan mon", zone="UTC")]),
    )
    assert text.splitlines()[-1].startswith("5 4 1 jan mon cd ")
    assert "more often" not in text


def test_the_zone_of_the_host_is_one_that_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ZoneInfo(zones.zone_of_host())
    monkeypatch.setenv("TZ", "Asia/Tokyo")  # of the site: Django sets it
    assert zones.zone_of_host() != "Asia/Tokyo"
    monkeypatch.setattr(zones.os.path, "realpath", lambda path: "/etc/localtime")
    monkeypatch.setattr(zones.Path, "read_text", lambda path: "Europe/Oslo\n")
    assert zones.zone_of_host() == "Europe/Oslo"
    monkeypatch.setattr(zones.Path, "read_text", lambda path: "no such zone")
    assert zones.zone_of_host() == "UTC"
