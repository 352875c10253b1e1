"""When a job is due: pure functions of a cron expression, a time zone and a moment.

Using it::

    nightly = parse_schedule("17 3 * * *", "Europe/Oslo")
    nightly.after(moment)        # the first tick later than a moment, in UTC
    nightly.latest(moment)       # the last tick at or before it
    nightly.between(begin, end)  # those later than begin, end included

An expression has the five fields that Debian's cron(8) knows, with its names, ranges,
lists and steps. Where clocks change it does as that cron does: a job at a fixed time runs
once a day, at the time that the clock jumps to or the first of two; one with ``*`` in its
minute or hour runs by the elapsed time. The arithmetic is cronsim's, which follows
Debian's cron; what it takes beyond (seconds, ``L``, ``#``, ``5/10``) is refused here, for a
crontab line or a timer made of it would be another schedule.

Raises ValueError, in one line that says what is right, from ``parse_schedule`` only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import islice
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from argus_maint.options import did_you_mean, show

UTC = timezone.utc
MINUTE = timedelta(minutes=1)
FIELDS = {
    "minute": "0 to 59",
    "hour": "0 to 23",
    "day-of-month": "1 to 31",
    "month": "1 to 12 or jan to dec",
    "day-of-week": "0 to 7 (0 and 7 are Sunday) or sun to sat",
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
_NAME_OR_NUMBER = r"(?:\d{1,2}|[A-Za-z]{3})"
_FIELD = re.compile(rf"(?:\*|{_NAME_OR_NUMBER}-{_NAME_OR_NUMBER})(?:/\d{{1,2}})?|{_NAME_OR_NUMBER}")
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Schedule:
    """A parsed expression; make it with ``parse_schedule``."""

    expression: str
    zone: str

    def after(self, moment: datetime) -> datetime:
        """The first tick later than ``moment``."""
        return next(self._ticks(moment, reverse=False))

    def latest(self, moment: datetime) -> datetime:
        """The last tick at or before ``moment``."""
        return next(self._ticks(moment + MINUTE, reverse=True, until=moment))

    def between(self, begin: datetime, end: datetime, most: int) -> list[datetime]:
        """Ticks later than ``begin``, ``end`` included; the newest ``most``, oldest first."""
        newest: list[datetime] = []
        for tick in islice(self._ticks(end + MINUTE, reverse=True, until=end), most):
            if tick <= begin:
                break
            newest.append(tick)
        return newest[::-1]

    def _ticks(
        self, moment: datetime, *, reverse: bool, until: datetime | None = None
    ) -> Iterator[datetime]:
        """Ticks from a moment on, or back from it, in UTC, each once."""
        start = moment.astimezone(ZoneInfo(self.zone))
        seen = None
        for local in CronSim(self.expression, start, reverse=reverse):
            tick = local.astimezone(UTC)
            if tick == seen or (until is not None and tick > until):
                continue
            if not reverse and tick <= moment:
                continue
            seen = tick
            yield tick


def parse_schedule(expression: object, zone: object, what: str = "the schedule") -> Schedule:
    """Read an expression and the name of a zone (``Europe/Oslo``, ``UTC``)."""
    if not isinstance(expression, str) or not expression.strip():
        raise ValueError(
            f'{what} must be five fields of cron, such as "17 3 * * *", not {show(expression)}.'
        )
    text = " ".join(expression.split())
    if text.startswith("@"):
        same = MACROS.get(text.lower())
        right = f'"{same}" says the same' if same else 'such as "17 3 * * *"'
        raise ValueError(f"{what} must be five fields of cron, not {show(text)}: {right}.")
    _check_fields(text, what)
    schedule = Schedule(text, _zone(zone, what))
    try:
        schedule.after(_EPOCH)
    except StopIteration:
        raise ValueError(f"{what} {show(text)} never fires: there is no such day.") from None
    except CronSimError as error:
        field = str(error).removeprefix("Bad ")
        if _is_no_such_day(text, field):
            raise ValueError(f"{what} {show(text)} never fires: there is no such day.") from None
        raise ValueError(f"{what} {show(text)} {_wrong(text, field)}.") from None
    return schedule


def _check_fields(text: str, what: str) -> None:
    fields = text.split(" ")
    if len(fields) != len(FIELDS):
        raise ValueError(
            f"{what} {show(text)} has {len(fields)} fields; it must have five: {', '.join(FIELDS)}."
        )
    for name, field in zip(FIELDS, fields, strict=True):
        if not all(_FIELD.fullmatch(term) for term in field.split(",")):
            raise ValueError(f"{what} {show(text)} {_wrong(text, name)}.")


def _wrong(text: str, name: str) -> str:
    field = text.split(" ")[list(FIELDS).index(name)]
    allowed = FIELDS[name]
    return f"has a wrong {name}, {show(field)}; it is {allowed}, with *, lists, ranges and steps"


def _is_no_such_day(text: str, name: str) -> bool:
    """Whether each day is right by itself, but none of these months has it."""
    days = text.split(" ")[2]
    try:
        CronSim(f"0 0 {days} * *", _EPOCH)
    except CronSimError:
        return False
    return name == "day-of-month"


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
