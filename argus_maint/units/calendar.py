"""A cron expression as sets of numbers, and as systemd and Kubernetes want it.

Using it::

    fields = parse("*/5 9-17 * * mon-fri")
    on_calendar(fields, "Europe/Oslo")
    # ["Mon..Fri *-*-* 09..17:00..55/5:00 Europe/Oslo"]

The expression is one that ``ticks.parse_schedule`` has accepted. A day matches by either
of its two fields, as in Debian's cron, unless one of them begins with ``*``; then both
must. systemd always wants both, so that "either" takes two lines.

Sources: crontab(5) of Debian, systemd.time(7).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
EVERY_DAY = frozenset(range(1, 32))
EVERY_HOUR = frozenset(range(24))
EVERY_MONTH = frozenset(range(1, 13))
EVERY_WEEKDAY = frozenset(range(7))


@dataclass(frozen=True, slots=True)
class Fields:
    """When something fires. Sunday is 0."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int] = EVERY_DAY
    months: frozenset[int] = EVERY_MONTH
    weekdays: frozenset[int] = EVERY_WEEKDAY
    either: bool = False  # one of the two day fields is enough
    wild: bool = True  # by the elapsed time, where clocks change


def parse(expression: str) -> Fields:
    """The sets of an expression that is known to be right."""
    texts = expression.lower().split()
    minutes, hours, days, months, sundays = (
        frozenset(value for term in text.split(",") for value in _term(term, *bounds))
        for text, bounds in zip(texts, BOUNDS, strict=True)
    )
    weekdays = frozenset(day % 7 for day in sundays)
    either = not any(text.startswith("*") for text in (texts[2], texts[4]))
    wild = any(text.startswith("*") for text in texts[:2])
    if either and (days == EVERY_DAY or weekdays == EVERY_WEEKDAY):
        days, weekdays, either = EVERY_DAY, EVERY_WEEKDAY, False
    return Fields(minutes, hours, days, months, weekdays, either, wild)


def _term(term: str, low: int, high: int) -> range:
    values, _, step = term.partition("/")
    if values == "*":
        return range(low, high + 1, int(step or 1))
    first, _, last = values.partition("-")
    return range(_number(first), _number(last or first) + 1, int(step or 1))


def _number(text: str) -> int:
    if text.isdigit():
        return int(text)
    return MONTHS.index(text) + 1 if text in MONTHS else WEEKDAYS.index(text)


def on_calendar(fields: Fields, zone: str) -> list[str]:
    """Values of OnCalendar= that fire at these times and no other; one, or two."""
    hours = _systemd(fields.hours, 0, 23, "02")
    time = f"{hours}:{_systemd(fields.minutes, 0, 59, '02')}:00 {zone}"
    month = _systemd(fields.months, 1, 12, "02")
    days = _systemd(fields.days, 1, 31, "02")
    weekdays = _named(fields.weekdays)
    if fields.either:
        return [f"*-{month}-{days} {time}", f"{weekdays}*-{month}-* {time}"]
    return [f"{weekdays}*-{month}-{days} {time}"]


def _systemd(values: Iterable[int], low: int, high: int, form: str) -> str:
    numbers = sorted(values)
    if len(numbers) == high - low + 1:
        return "*"
    if step := _step(numbers):
        # With its end: systemd 252 jumps over the first of January for *-*-01/12.
        return f"{numbers[0]:{form}}..{numbers[-1]:{form}}/{step}"
    return ",".join(
        f"{first:{form}}" if first == last else f"{first:{form}}..{last:{form}}"
        for first, last in _runs(numbers)
    )


def _named(weekdays: frozenset[int]) -> str:
    """The days by name, Monday first as systemd orders them; nothing for all of them."""
    if weekdays == EVERY_WEEKDAY:
        return ""
    runs = _runs(sorted(day or 7 for day in weekdays))
    names = [tuple(WEEKDAYS[day % 7].title() for day in run) for run in runs]
    return ",".join(first if first == last else f"{first}..{last}" for first, last in names) + " "


def cron_field(values: Iterable[int], low: int, high: int) -> str:
    """One field of a cron expression; ``*`` for all of them."""
    numbers = sorted(values)
    if len(numbers) == high - low + 1:
        return "*"
    if step := _step(numbers):
        begins, ends = numbers[0] == low, numbers[-1] + step > high
        return f"*/{step}" if begins and ends else f"{numbers[0]}-{numbers[-1]}/{step}"
    return cron_list(numbers)


def cron_list(values: Iterable[int]) -> str:
    """One field of a cron expression that never begins with ``*``."""
    return ",".join(
        f"{first}" if first == last else f"{first}-{last}" for first, last in _runs(sorted(values))
    )


def _step(numbers: list[int]) -> int:
    """The one distance between them, if that is worth writing."""
    steps = {after - before for before, after in zip(numbers, numbers[1:], strict=False)}
    return steps.pop() if len(numbers) > 2 and len(steps) == 1 and steps != {1} else 0


def _runs(numbers: list[int]) -> list[tuple[int, int]]:
    """First and last of each run without a hole; a pair stays two."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return [
        part
        for first, last in runs
        for part in ([(first, last)] if last != first + 1 else [(first, first), (last, last)])
    ]
