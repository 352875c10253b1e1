"""Schedules in one zone, fired by a clock in another, or by one that skips an hour.

``maint run JOB --scheduled`` does nothing unless a tick is due, so a line may fire too
often, but never not at all. What is needed:

- ``elsewhere``: a host's cron has one zone, and the job another. The times are moved by
  every difference that the two zones have in a year.
- ``over_gaps``: Debian's cron runs at 3:00 what an hour that is left out has hidden;
  systemd and Kubernetes leave it out. The hour after the gap is added.

Both fire within an hour of every tick, and at most one of them late: the one in a gap.
"""

from __future__ import annotations

import functools
import os
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

from argus_maint.units.calendar import EVERY_DAY, EVERY_HOUR, EVERY_MONTH, EVERY_WEEKDAY, Fields

UTC = timezone.utc
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
HOURS = 2 * 366 * 24  # how far ahead rules are looked at
A_DAY = 24 * 60


def zone_of_host() -> str:
    """The zone of this host's cron. Not TZ: Django has put the site's zone there."""
    try:
        path = os.path.realpath("/etc/localtime")
        name = path.partition("zoneinfo/")[2] or Path("/etc/timezone").read_text().strip()
        return ZoneInfo(name).key
    except (OSError, KeyError, ValueError):
        return "UTC"


def differences(zone: str, host: str, year: int | None = None) -> frozenset[int]:
    """How many minutes the first is ahead of the second, at one time or another."""
    offsets = zip(_offsets(zone, _year(year)), _offsets(host, _year(year)), strict=True)
    return frozenset(ahead - behind for ahead, behind in offsets)


def constant(zone: str, year: int | None = None) -> bool:
    """Whether clocks never change there."""
    return len(set(_offsets(zone, _year(year)))) == 1


def elsewhere(fields: Fields, zone: str, host: str, year: int | None = None) -> Fields:
    """Times of a host's zone among which is every tick of a schedule in another zone."""
    ahead = differences(zone, host, year)
    if ahead == {0}:
        return fields
    moved = {
        (hour * 60 + minute - minutes) % A_DAY
        for hour in fields.hours
        for minute in fields.minutes
        for minutes in ahead
    }
    hours = frozenset(time // 60 for time in moved)
    # Where the host's clocks change, cron runs a fixed time once in the hour that comes
    # twice; with a star it runs by the elapsed time.
    wild = not constant(host, year) or hours == EVERY_HOUR
    return Fields(
        frozenset(time % 60 for time in moved),
        EVERY_HOUR if wild else hours,
        EVERY_DAY,
        EVERY_MONTH,
        EVERY_WEEKDAY,
        wild=wild,
    )


def over_gaps(fields: Fields, zone: str, year: int | None = None) -> Fields:
    """The same, and the time after each gap that hides one of them."""
    if fields.wild:
        return fields
    for begin, length in _gaps(zone, _year(year)):
        hidden = [
            hour * 60 + minute
            for hour in fields.hours
            for minute in fields.minutes
            if begin <= hour * 60 + minute < begin + length
        ]
        later = {time + length for time in hidden}
        fields = replace(fields, hours=fields.hours | {time // 60 % 24 for time in later})
        if any(time >= A_DAY for time in later):  # that is on the next day
            fields = Fields(fields.minutes, fields.hours, wild=False)
    return fields


def _year(year: int | None) -> int:
    return year or datetime.now(UTC).year


@functools.lru_cache(maxsize=64)
def _offsets(zone: str, year: int) -> tuple[int, ...]:
    """Minutes ahead of UTC, hour by hour."""
    info, begin = ZoneInfo(zone), datetime(year, 1, 1, tzinfo=UTC)
    return tuple(_offset(begin + number * HOUR, info) for number in range(HOURS))


def _offset(moment: datetime, info: ZoneInfo) -> int:
    offset = moment.astimezone(info).utcoffset()
    assert offset is not None
    return int(offset.total_seconds()) // 60


@functools.lru_cache(maxsize=64)
def _gaps(zone: str, year: int) -> frozenset[tuple[int, int]]:
    """Minute of the day at which clocks jump forward, and by how many minutes."""
    info, begin = ZoneInfo(zone), datetime(year, 1, 1, tzinfo=UTC)
    offsets, found = _offsets(zone, year), set()
    for number in range(1, HOURS):
        before, after = offsets[number - 1], offsets[number]
        if after <= before:
            continue
        moment = begin + (number - 1) * HOUR
        while _offset(moment, info) != after:
            moment += MINUTE
        local = moment + before * MINUTE
        found.add((local.hour * 60 + local.minute, after - before))
    return frozenset(found)
