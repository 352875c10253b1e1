"""When a job is due: pure functions of a cron expression, a time zone and a moment.

Using it::

    nightly = parse_schedule("17 3 * * *", "Europe/Oslo")
    nightly.after(moment)  # the first tick later than a moment, in UTC
    nightly.latest(moment)  # the last tick at or before it
    nightly.between(begin, end, most=9)  # the newest of those later than begin, end included

An expression is the five fields of crontab(5), as Debian's cron reads them. Where clocks
change it does as cron(8) says: a job at a fixed time runs once, at the time that the clock
jumps to or the first of two; one whose minute or hour begins with ``*`` runs by the new
time at once. After a change of more than three hours (a zone crosses the date line) the
new time counts for all jobs. Of three hours exactly cron(8) says nothing: our job runs.

cronsim finds the times of a clock that never changes. What becomes of them where clocks
change is worked out here, for cronsim's own answers depend on where a search began. What
it takes beyond crontab(5) (seconds, ``L``, ``#``, ``5/10``) is refused: a crontab line or a
timer made of it would be another schedule.

Raises ValueError, in one line that says what is right, from ``parse_schedule`` only.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import islice, takewhile
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from argus_maint.options import did_you_mean, show

UTC = timezone.utc
NONE, MINUTE, DAY = timedelta(), timedelta(minutes=1), timedelta(days=1)
CORRECTION = timedelta(hours=3)  # a greater change of the clock: see above
APART = timedelta(days=2)  # more than any two offsets of a zone: Pacific/Apia had 25 h
_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec"
_DAYS = "sun mon tue wed thu fri sat"
FIELDS = {  # what is right, and the numbers and names that are
    "minute": ("0 to 59", range(60), ""),
    "hour": ("0 to 23", range(24), ""),
    "day-of-month": ("1 to 31", range(1, 32), ""),
    "month": ("1 to 12 or jan to dec", range(1, 13), _MONTHS),
    "day-of-week": ("0 to 7 (0 and 7 are Sunday) or sun to sat", range(8), _DAYS),
}
MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_SYNTAX = "*, ranges from low to high (1-5), steps of these (*/10, 1-9/2) and lists (1,3,5)"
_STEP = "/(?:0?[1-9]|[1-9][0-9])"
_TERM = re.compile(rf"\*(?:{_STEP})?|([0-9a-z]+)(?:-([0-9a-z]+)({_STEP})?)?")


@dataclass(frozen=True, slots=True)
class Schedule:
    """A parsed expression; make it with ``parse_schedule``."""

    expression: str
    zone: str

    def after(self, moment: datetime) -> datetime:
        """The first tick later than ``moment``."""
        return next(self._ticks(moment, back=False))

    def latest(self, moment: datetime) -> datetime:
        """The last tick at or before ``moment``."""
        return next(self._ticks(moment, back=True))

    def between(self, begin: datetime, end: datetime, most: int) -> list[datetime]:
        """Ticks later than ``begin``, ``end`` included; the newest ``most``, oldest first."""
        begin = begin.astimezone(UTC)  # local times of one zone compare without their fold
        newer = takewhile(lambda tick: tick > begin, self._ticks(end, back=True))
        return list(islice(newer, most))[::-1]

    def _ticks(self, moment: datetime, *, back: bool) -> Iterator[datetime]:
        """Ticks later than a moment, or back from it and it included, in UTC, each once."""
        zone, seen = ZoneInfo(self.zone), None
        # All offsets since 1972 are whole minutes, so all ticks are.
        at = moment.astimezone(UTC).replace(second=0, microsecond=0)
        while True:
            begin, end = (at - DAY, at) if back else (at, at + DAY)
            for tick in self._within(begin, end, zone, back):
                if tick != seen:  # several that a jump skipped are due at its end
                    yield tick
                seen = tick
            at = self._skip(begin if back else end, zone, back)

    def _within(
        self, begin: datetime, end: datetime, zone: ZoneInfo, back: bool
    ) -> Iterator[datetime]:
        """Ticks later than ``begin``, ``end`` included; no two changes may be that near."""
        fixed = not any(field.startswith("*") for field in self.expression.split()[:2])
        old, new = _offset(begin, zone), _offset(end, zone)
        change = _change(begin, end, zone) if old != new else end + MINUTE
        # What a jump skips is due when it ends, so these times count with those after it.
        skipped = new - old if fixed and NONE < new - old <= CORRECTION else NONE
        stretches = [(begin + MINUTE, change - MINUTE, old, NONE), (change, end, new, skipped)]
        for first, last, offset, earlier in stretches[::-1] if back else stretches:
            for wall in self._walls(first + offset - earlier, last + offset, back):
                tick = max(wall - offset, first)
                if not (fixed and _is_repeated(tick, zone)):
                    yield tick

    def _walls(self, first: datetime, last: datetime, back: bool) -> Iterator[datetime]:
        """Times that match, both ends included, on a clock labelled UTC that never changes."""
        walls = CronSim(self.expression, last + MINUTE if back else first - MINUTE, reverse=back)
        return takewhile(lambda wall: first <= wall <= last, walls)

    def _skip(self, moment: datetime, zone: ZoneInfo, back: bool) -> datetime:
        """A moment with no tick between it and this one, near the next that may have one."""
        offset, slack = _offset(moment, zone), APART if back else -APART
        wall = next(CronSim(self.expression, moment + offset + slack, reverse=back))
        return (min if back else max)(moment, wall - offset + slack)


def _offset(moment: datetime, zone: ZoneInfo) -> timedelta:
    return moment.astimezone(zone).utcoffset() or NONE


def _change(begin: datetime, end: datetime, zone: ZoneInfo) -> datetime:
    """The first moment whose offset is not that of ``begin``; ``end`` has another."""
    minutes, old = range((end - begin) // MINUTE), _offset(begin, zone)
    first = bisect_left(minutes, True, key=lambda n: _offset(begin + n * MINUTE, zone) != old)
    return begin + first * MINUTE


def _is_repeated(tick: datetime, zone: ZoneInfo) -> bool:
    """Whether the clock has shown this time before, and was then put back a little."""
    local = tick.astimezone(zone)
    first = local.replace(fold=0).astimezone(UTC)
    return local.fold == 1 and tick - first <= CORRECTION


def parse_schedule(expression: object, zone: object, what: str = "the schedule") -> Schedule:
    """Read an expression as crontab(5) describes it, and a zone's name (``Europe/Oslo``)."""
    if not isinstance(expression, str) or not expression.strip():
        raise ValueError(
            f'{what} must be five fields of cron, such as "17 3 * * *", not {show(expression)}.'
        )
    text = " ".join(expression.split())
    if text.startswith("@"):
        same = MACROS.get(text.lower())
        right = f'"{same}" says the same' if same else 'such as "17 3 * * *"'
        raise ValueError(f"{what} must be five fields of cron, not {show(text)}: {right}.")
    if wrong := _wrong(text.split(" ")):
        raise ValueError(f"{what} {show(text)} {wrong}.")
    return Schedule(text, _zone(zone, what))


def _wrong(fields: list[str]) -> str:
    """What is wrong with these fields, and what would be right; nothing if they are right."""
    if len(fields) != len(FIELDS):
        return f"has {len(fields)} fields; it must have five: {', '.join(FIELDS)}"
    for (name, (allowed, numbers, names)), field in zip(FIELDS.items(), fields, strict=True):
        values = {str(n): n for n in numbers} | {f"{n:02}": n for n in numbers}
        values |= {word: n for n, word in zip(numbers, names.split(), strict=False)}
        for term in field.split(","):
            if not _is_right(term.lower(), values):
                return f"has a wrong {name}, {show(term)}; it is {allowed}, with {_SYNTAX}"
    # Also beside a day of the week, where such a day would add nothing: it is a mistake.
    try:
        CronSim(f"0 0 {fields[2]} {fields[3]} *", datetime(2000, 1, 1))  # looks for no tick yet
    except CronSimError:
        return f"never fires on its day-of-month, {show(fields[2])}; that must be in its months"
    return ""


def _is_right(term: str, values: dict[str, int]) -> bool:
    if not (match := _TERM.fullmatch(term)):
        return False
    first, last, step = match.groups()
    if not last:
        return not first or first in values
    # cronsim takes 5-5/10 for 5/10, which crontab refuses, and crontab for 5.
    return first in values and last in values and values[first] + bool(step) <= values[last]


def _zone(zone: object, what: str) -> str:
    try:
        if isinstance(zone, str) and zone:
            return ZoneInfo(zone).key
    except (KeyError, OSError, ValueError):  # not found, or no name at all (a path, a folder)
        pass
    near = did_you_mean(zone, available_timezones()) if isinstance(zone, str) else ""
    raise ValueError(
        f'the time zone of {what} must be a name such as "Europe/Oslo" or "UTC", not '
        f"{show(zone)}.{near}"
    )
