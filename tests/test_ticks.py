"""When jobs are due: against a clock watched minute by minute, and against Debian's crontab.

The reference below knows nothing of cronsim and nothing of ``ticks``: it steps through UTC
a minute at a time, reads the local clock, and does what cron(8) says of a clock that moves.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import time
from bisect import bisect_right
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from argus_maint.ticks import MACROS, Schedule, parse_schedule

UTC = timezone.utc
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
A_LITTLE = 3 * HOUR  # cron(8): a clock that moves by more has been corrected
ZONES = [
    "UTC",
    "Europe/Oslo",
    "Europe/Dublin",  # summer time is the standard there, as in Morocco
    "Africa/Casablanca",
    "Africa/El_Aaiun",
    "Africa/Cairo",
    "America/Havana",  # at midnight, and back to before it
    "America/Sao_Paulo",
    "America/Scoresbysund",  # from 2024, from 23:00 of one day to the next
    "America/St_Johns",  # half an hour off, and until 2011 at one minute past midnight
    "America/Caracas",  # moved by half an hour for good
    "Antarctica/Casey",  # moves by three hours
    "Antarctica/Troll",  # moves by two
    "Antarctica/Vostok",  # moved by seven
    "Asia/Beirut",
    "Asia/Gaza",
    "Asia/Kathmandu",
    "Asia/Pyongyang",
    "Asia/Tehran",
    "Australia/Lord_Howe",  # moves by half an hour
    "Pacific/Apia",  # had no 30 December 2011
    "Pacific/Chatham",
    "Pacific/Kiritimati",
    "Pacific/Kwajalein",
]
FIRST, LAST = datetime(1990, 1, 1, tzinfo=UTC), datetime(2037, 12, 31, tzinfo=UTC)


def offset(moment: datetime, zone: ZoneInfo) -> timedelta:
    found = moment.astimezone(zone).utcoffset()
    assert found is not None
    return found


@functools.cache
def changes(name: str) -> list[tuple[datetime, timedelta]]:
    """Each change of a zone's clock: its first moment, and by how much."""
    zone, found = ZoneInfo(name), []
    before = offset(FIRST, zone)
    for n in range((LAST - FIRST) // DAY):
        low, high = FIRST + n * DAY, FIRST + (n + 1) * DAY
        if (after := offset(high, zone)) == before:
            continue
        while high - low > MINUTE:
            middle = low + (high - low) // MINUTE // 2 * MINUTE
            low, high = (middle, high) if offset(middle, zone) == before else (low, middle)
        found.append((high, after - before))
        before = after
    return found


def some_changes(name: str) -> list[tuple[datetime, timedelta]]:
    """About ten of them; an odd step, for they go forward and back by turns."""
    found = changes(name)
    return found[:: len(found) // 9 | 1]


def clock_change(name: str, year: int, month: int) -> tuple[str, tuple[datetime, timedelta]]:
    (found,) = [it for it in changes(name) if (it[0].year, it[0].month) == (year, month)]
    return name, found


def first_moment(wall: datetime, name: str, otherwise: datetime) -> datetime:
    """When a clock shows a time first, if it ever does."""
    moment = wall.replace(tzinfo=ZoneInfo(name)).astimezone(UTC)
    shows = moment.astimezone(ZoneInfo(name)).replace(tzinfo=None)
    return moment if shows == wall else otherwise


# -- the reference ---------------------------------------------------------------------

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
NAMES = {name: n for n, name in enumerate(MONTHS, 1)} | {name: n for n, name in enumerate(WEEKDAYS)}


def numbers(field: str, low: int, high: int) -> set[int]:
    """The numbers of a right field, as crontab(5) describes them."""
    found: set[int] = set()
    for term in field.lower().split(","):
        span, _, step = term.partition("/")
        first, _, last = f"{low}-{high}".partition("-") if span == "*" else span.partition("-")
        first, last = (NAMES.get(end, end) for end in (first, last or first))
        found.update(range(int(first), int(last) + 1, int(step or 1)))
    return found


class Cron:
    """One line of a crontab, and the cron(8) that watches a clock for it."""

    def __init__(self, expression: str) -> None:
        fields = expression.split()
        ends = (0, 59), (0, 23), (1, 31), (1, 12), (0, 7)
        self.minutes, self.hours, self.days, self.months, weekdays = (
            numbers(field, *end) for field, end in zip(fields, ends, strict=True)
        )
        self.weekdays = {n % 7 for n in weekdays}
        self.both_days = any(field.startswith("*") for field in (fields[2], fields[4]))
        self.has_star = any(field.startswith("*") for field in fields[:2])

    def matches(self, wall: datetime) -> bool:
        if wall.minute not in self.minutes or wall.hour not in self.hours:
            return False
        days = wall.day in self.days, wall.isoweekday() % 7 in self.weekdays
        return wall.month in self.months and (all(days) if self.both_days else any(days))

    def ticks(self, name: str, begin: datetime, end: datetime) -> list[datetime]:
        """Ticks later than ``begin``, ``end`` included."""
        zone, found = ZoneInfo(name), []
        now = begin - DAY  # so that it has seen whatever is still felt at the beginning
        wall = done = now.astimezone(zone).replace(tzinfo=None)
        while now < end:
            now += MINUTE
            before, wall = wall, now.astimezone(zone).replace(tzinfo=None)
            if self.has_star or abs(wall - before - MINUTE) > A_LITTLE:
                due, done = self.matches(wall), wall
            else:
                due = False
                while done < wall:  # nothing while it waits for a clock put back
                    done += MINUTE
                    due = self.matches(done) or due
            if due and now > begin:
                found.append(now)
        return found


# -- what there is to try --------------------------------------------------------------


@st.composite
def terms(draw: st.DrawFn, field: int) -> str:
    low, high = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))[field]

    def number(n: int) -> str:
        names = {3: MONTHS, 4: WEEKDAYS}.get(field, ())
        name = names[n - low] if n - low < len(names) else str(n)
        return draw(st.sampled_from([str(n), f"{n:02}", name, name.upper(), name.title()]))

    step = draw(st.sampled_from(["", "", "/1", "/2", "/3", "/7", "/05", "/15", "/90"]))
    first, last = sorted((draw(st.integers(low, high)), draw(st.integers(low, high))))
    kind = draw(st.sampled_from(["*", "one", "range"]))
    if kind == "*":
        return f"*{step}"
    return (
        number(first) if kind == "one" or first == last else f"{number(first)}-{number(last)}{step}"
    )


def fields(field: int) -> st.SearchStrategy[str]:
    return st.lists(terms(field), min_size=1, max_size=3).map(",".join)


def is_right(expression: str) -> bool:
    try:
        parse_schedule(expression, "UTC")
    except ValueError:
        return False
    return True


ANY = st.tuples(*(fields(n) for n in range(5))).map(" ".join)
# Most days, and early in them, where the clocks change.
EARLY = st.sampled_from(["0", "0,2", "1", "2", "1-3", "0-23", "23", "*", "*/2", "0,23", "1,*"])
DAILY = st.tuples(fields(0), EARLY, st.sampled_from(["* * *", "*/2 * *", "* * 0,6", "1-20 * sun"]))
EXPRESSIONS = st.one_of(DAILY.map(" ".join), ANY).filter(is_right)
MOMENTS = st.datetimes(
    datetime(1990, 1, 1),
    datetime(2037, 12, 31),
    timezones=st.sampled_from([UTC, *(ZoneInfo(name) for name in ZONES)]),
    allow_imaginary=True,
)
CHANGES = st.sampled_from([name for name in ZONES if changes(name)]).flatmap(
    lambda name: st.tuples(st.just(name), st.sampled_from(changes(name)))
)


def walk(schedule: Schedule, begin: datetime, end: datetime) -> list[datetime]:
    found = []
    while (begin := schedule.after(begin)) <= end:
        found.append(begin)
    return found


# -- where clocks change ---------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(
    EXPRESSIONS,
    CHANGES,
    st.tuples(st.integers(-30 * 60, 30 * 60), st.integers(0, 40 * 60)),
    st.lists(st.integers(-36 * 3600, 36 * 3600), max_size=12),
    st.integers(0, 40),
)
# Three that cronsim alone gets wrong: that night's tick overlooked, one tick too many or
# too few, and a search without an end.
@pytest.mark.slow
@example("30 2 * * *", clock_change("Europe/Oslo", 2024, 10), (-600, 1200), [1800, 3600], 5)
@example("*/15 0 * * *", clock_change("Australia/Lord_Howe", 2023, 9), (-600, 1200), [0], 5)
@example("* 2 * * *", clock_change("Pacific/Chatham", 2025, 4), (-600, 1200), [0], 5)
def test_near_a_change_it_does_as_cron_does(
    expression: str,
    change: tuple[str, tuple[datetime, timedelta]],
    window: tuple[int, int],
    offsets: list[int],
    most: int,
) -> None:
    """All three, from moments before, in and after hours that are there twice or never."""
    name, (at, by) = change
    schedule = parse_schedule(expression, name)
    low = min(at, at + by) - 40 * HOUR
    expected = Cron(expression).ticks(name, low, at + 40 * HOUR)
    for moment in [at, at - MINUTE, *(at + timedelta(seconds=n) for n in offsets)]:
        n = bisect_right(expected, moment)
        local = moment.astimezone(ZoneInfo(name))  # with a fold of 1, if it is the second
        assert n == 0 or schedule.latest(local) == expected[n - 1]
        assert n == len(expected) or schedule.after(local) == expected[n]
    begin = at + window[0] * MINUTE
    end = min(begin + window[1] * MINUTE, at + 40 * HOUR)
    inside = expected[bisect_right(expected, begin) : bisect_right(expected, end)]
    assert schedule.between(begin, end, most) == inside[max(0, len(inside) - most) :]
    assert schedule.between(begin, end, 10_000) == inside
    assert walk(schedule, begin, end) == inside


@pytest.mark.parametrize("name", ZONES)
def test_a_job_at_a_fixed_time_runs_once_a_day(name: str) -> None:
    """At its time, the first of two, or the end of the jump over it; all in one go."""
    for at, by in some_changes(name):
        if abs(by) > A_LITTLE:
            continue
        local = at.astimezone(ZoneInfo(name))
        for clock in sorted({(local + n * HOUR / 2).time() for n in range(-8, 8)}):
            expected = [
                first_moment(datetime.combine(local.date() + n * DAY, clock), name, at)
                for n in range(-2, 3)
            ]
            schedule = parse_schedule(f"{clock.minute} {clock.hour} * * *", name)
            begin, end = expected[0] - MINUTE, expected[-1]
            assert schedule.between(begin, end, 10) == expected, (at, by)
            assert walk(schedule, begin, end) == expected, (at, by)


@pytest.mark.parametrize("name", ZONES)
def test_a_job_with_a_star_runs_by_elapsed_time(name: str) -> None:
    for at, by in some_changes(name):
        for step in (1, 15, 30, 60):
            if by % (step * MINUTE) or offset(at, ZoneInfo(name)) % HOUR % (step * MINUTE):
                continue
            expression = f"*/{step} * * * *" if step < 60 else "0 * * * *"
            found = parse_schedule(expression, name).between(at - 3 * HOUR, at + 3 * HOUR, 999)
            assert len(found) == 6 * 60 // step, (at, by)
            assert {b - a for a, b in zip(found, found[1:], strict=False)} == {step * MINUTE}


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("Pacific/Apia", date(2011, 12, 30)),
        ("Pacific/Kiritimati", date(1994, 12, 31)),
        ("Pacific/Kwajalein", date(1993, 8, 21)),
    ],
)
@pytest.mark.parametrize("clock", ["0 0", "30 3", "*/30 3", "59 23"])
def test_a_day_that_is_not_there_has_no_ticks(name: str, missing: date, clock: str) -> None:
    schedule = parse_schedule(f"{clock} * * *", name)
    noon = datetime(missing.year, missing.month, missing.day, 12, tzinfo=UTC)
    found = schedule.between(noon - 4 * DAY, noon + 4 * DAY, 99)
    days = {tick.astimezone(ZoneInfo(name)).date() for tick in found}
    assert missing not in days
    assert {missing - DAY, missing + DAY} <= days
    assert len(found) == len(days) * (2 if "*" in clock else 1)
    never = parse_schedule(f"{clock} {missing.day} {missing.month} *", name)
    assert never.after(noon - 40 * DAY).astimezone(ZoneInfo(name)).year == missing.year + 1


@pytest.mark.slow
def test_no_zone_changes_its_clock_twice_a_day() -> None:
    """Nor strays by two days, nor by parts of a minute: ``ticks`` counts on these three."""
    for zone in map(ZoneInfo, sorted(available_timezones())):
        low = high = before = offset(FIRST, zone)
        last = FIRST - 7 * DAY
        for n in range(0, (LAST - FIRST).days, 2):
            if (now := offset(FIRST + n * DAY, zone)) != before:
                assert FIRST + n * DAY - last > 3 * DAY, zone
                last, before = FIRST + n * DAY, now
                low, high = min(now, low), max(now, high)
            assert not now % MINUTE, zone
        assert high - low <= 25 * HOUR, zone


# -- anywhere --------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(EXPRESSIONS, st.sampled_from(ZONES), MOMENTS)
@example("0 0 29 2 *", "Europe/Oslo", datetime(2028, 2, 28, 23, 0, tzinfo=UTC))
@example("0 0 29 2 */7", "Asia/Beirut", datetime(2004, 2, 29, tzinfo=UTC))
@example("* * * 3 *", "Pacific/Apia", datetime(2011, 4, 2, tzinfo=UTC))  # -11 then, +14 in March
@example("* * * * *", "America/Havana", datetime(2024, 11, 3, 5, 30, 0, 1, tzinfo=UTC))
def test_after_is_later_and_latest_is_the_last_before_it(
    expression: str, name: str, moment: datetime
) -> None:
    schedule = parse_schedule(expression, name)
    moment = moment.astimezone(UTC)
    after, latest = schedule.after(moment), schedule.latest(moment)
    assert latest <= moment < after
    assert schedule.after(latest) == after
    assert schedule.latest(after) == after
    assert schedule.latest(after - timedelta(microseconds=1)) == latest
    assert schedule.between(latest, after, 2) == [after]
    assert schedule.between(moment, moment, 9) == schedule.between(latest, after, 0) == []
    assert after.tzinfo is latest.tzinfo is UTC
    assert not after.second and not after.microsecond


@settings(max_examples=60, deadline=None)
@given(EXPRESSIONS, st.sampled_from(ZONES), MOMENTS, st.integers(0, 60))
def test_between_is_the_walk(expression: str, name: str, begin: datetime, most: int) -> None:
    schedule = parse_schedule(expression, name)
    found = [begin]
    for _ in range(most + 2):
        found.append(schedule.after(found[-1]))
    assert schedule.between(begin, found[-1], most) == found[len(found) - most :]
    assert schedule.between(begin, found[-1], 99) == found[1:]


# -- what may be written ---------------------------------------------------------------


def crontab(folder: Path, *expressions: str) -> str:
    """What Debian's crontab has against these lines; it stops at the first."""
    file = folder / "crontab"
    file.write_text("".join(f"{expression} true\n" for expression in expressions))
    done = subprocess.run(["crontab", "-n", file], capture_output=True, text=True, timeout=20)
    return f"{done.stdout}{done.stderr}" if done.returncode else ""


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    if shutil.which("crontab") is None:
        pytest.skip("the program crontab is not installed")
    folder = tmp_path_factory.mktemp("cron")
    # Other crons' -n means something else, and some users may not use crontab at all.
    if crontab(folder, "* * * * *") or "bad minute" not in crontab(folder, "60 * * * *"):
        pytest.skip("the program crontab is not Debian's, or does not work here")
    return functools.partial(crontab, folder)


RIGHT = [
    "17 3 * * *",
    "*/90 * * * *",
    "0-59/60 */24 */31 */12 */8",
    "05 03 01 01 00",
    "*,5 5,* 1,*/2,3-4 * *",
    "0 0 * JAN,feb-Mar,4 SUN,Mon-fri/2,SAT",
    "0 0 * * 7",
    "0 0 * * sun-tue",
    "0 0 * * 5-7",
    "0 0 * * sat-7",
    "0 0 29 2 *",
    "0 0 31 2,3 *",
    "1-1 2-2 3-3 4-4 5-fri",
]
REFUSED_BY_BOTH = [
    ("60 * * * *", "minute", "0 to 59"),
    ("0-60 * * * *", "minute", "0 to 59"),
    ("-1 * * * *", "minute", "0 to 59"),
    ("*/0 * * * *", "minute", "steps of these"),
    ("1-9/00 * * * *", "minute", "steps of these"),
    ("1-9/ * * * *", "minute", "steps of these"),
    ("5/10 * * * *", "minute", "steps of these"),
    ("1,,2 * * * *", "minute", "lists"),
    (",1 * * * *", "minute", "lists"),
    ("? * * * *", "minute", "0 to 59"),
    ("sun * * * *", "minute", "0 to 59"),
    ("٣ * * * *", "minute", "0 to 59"),
    ("0 24 * * *", "hour", "0 to 23"),
    ("0 1,25 * * *", "hour", "0 to 23"),
    ("0 0 0 * *", "day-of-month", "1 to 31"),
    ("0 0 32 * *", "day-of-month", "1 to 31"),
    ("0 0 L * *", "day-of-month", "1 to 31"),
    ("0 0 * 0 *", "month", "1 to 12 or jan to dec"),
    ("0 0 * 13 *", "month", "1 to 12 or jan to dec"),
    ("0 0 * mon *", "month", "1 to 12 or jan to dec"),
    ("0 0 * january *", "month", "1 to 12 or jan to dec"),
    ("0 0 * */feb *", "month", "steps of these"),
    ("0 0 * * 8", "day-of-week", "or sun to sat"),
    ("0 0 * * jan", "day-of-week", "or sun to sat"),
    ("0 0 * * sunday", "day-of-week", "or sun to sat"),
    ("0 0 * * 5L", "day-of-week", "or sun to sat"),
]
# crontab takes these, for no job, for another than they say, or by what it overlooks.
REFUSED_BY_US = [
    ("9-5 * * * *", "minute", "from low to high"),
    ("0 0 * * fri-sun", "day-of-week", "from low to high"),
    ("0 0 * dec-jan *", "month", "from low to high"),
    ("5-5/10 * * * *", "minute", "steps of these"),
    ("0 0 * * mon-1/2", "day-of-week", "steps of these"),
    ("005 * * * *", "minute", "0 to 59"),
    ("*/100 * * * *", "minute", "steps of these"),
    ("1-5-7 * * * *", "minute", "0 to 59"),
    ("1-5/2/2 * * * *", "minute", "0 to 59"),
    ("*5 * * * *", "minute", "0 to 59"),
    ("0~59 * * * *", "minute", "0 to 59"),
    ("0 0 * * 5#2", "day-of-week", "or sun to sat"),
]


@pytest.mark.parametrize(("expression", "field", "right"), REFUSED_BY_BOTH + REFUSED_BY_US)
def test_a_wrong_field_is_named_with_what_is_right(expression: str, field: str, right: str) -> None:
    with pytest.raises(ValueError, match=f"^the job '.*' has a wrong {field}, ") as error:
        parse_schedule(expression, "UTC", "the job")
    assert right in f"{error.value}"
    assert "\n" not in f"{error.value}"


@pytest.mark.parametrize("expression", RIGHT)
def test_what_is_right_is_taken(expression: str) -> None:
    schedule = parse_schedule(f" {expression.replace(' ', '  ')}\t", "UTC")
    assert schedule.expression == expression
    assert schedule.after(FIRST) > FIRST


@pytest.mark.parametrize("macro", [*MACROS, "@reboot", "@Daily"])
def test_a_macro_is_refused_with_its_five_fields(macro: str) -> None:
    with pytest.raises(ValueError, match="must be five fields of cron, not '@") as error:
        parse_schedule(macro, "UTC")
    assert MACROS.get(macro.lower(), "17 3 * * *") in f"{error.value}"


def test_crontab_refuses_what_both_should(asked: Callable[..., str]) -> None:
    for expression, field, _ in REFUSED_BY_BOTH:
        assert f"bad {field}" in asked(expression), expression
    assert not asked(*(expression for expression, *_ in REFUSED_BY_US))
    assert not asked(*RIGHT)


@settings(max_examples=8, deadline=None)
@given(st.lists(ANY.filter(is_right), min_size=30, max_size=40))
def test_crontab_takes_what_we_take(asked: Callable[..., str], expressions: list[str]) -> None:
    assert not asked(*expressions)


# Nearly right: a right expression with something put in, or taken out.
NOISE = st.text("0123456789*/-,~#?LW+ aefjnorsu٣\u212a", max_size=2)
SPOILT = st.tuples(ANY, st.integers(0, 40), st.integers(0, 2), NOISE).map(
    lambda it: it[0][: it[1]] + it[3] + it[0][it[1] + it[2] :]
)


@settings(max_examples=8, deadline=None)
@given(st.lists(SPOILT, min_size=25, max_size=30))
def test_we_refuse_what_crontab_refuses(asked: Callable[..., str], spoilt: list[str]) -> None:
    """Which is the same as: crontab takes what we take of these."""
    taken = [parse_schedule(text, "UTC").expression for text in spoilt if is_right(text)]
    assert not asked(*taken)
    refused = [text for text in spoilt if not is_right(text)]
    for text in refused[:3]:
        with pytest.raises(ValueError, match=r"\A[^\n]+\.\Z"):
            parse_schedule(text, "UTC")


# -- how fast --------------------------------------------------------------------------


def fastest(call: Callable[[], object], times: int = 5) -> float:
    def seconds() -> float:
        begin = time.perf_counter()
        call()
        return time.perf_counter() - begin

    return min(seconds() for _ in range(times))


@pytest.mark.parametrize(
    "days", ["30 2 *", "31 2,4,6,9,11 */2", "30-31 feb *", "30 2 1", "31 4 sun-sat"]
)
def test_what_never_fires_is_refused_at_once(days: str) -> None:
    """Also beside a day of the week, where it is as surely a mistake."""

    def refused() -> None:
        with pytest.raises(ValueError, match="never fires on its day-of-month, .* must be in"):
            parse_schedule(f"0 0 {days}", "Europe/Oslo")

    assert fastest(refused) < 0.02


@pytest.mark.parametrize("name", ["UTC", "Europe/Oslo", "Pacific/Apia"])
@pytest.mark.parametrize(
    "expression",
    ["* * * * *", "0-59 0-23 * * *", "17 3 * * *", "0 0 1 1 *", "* * 29 2 *", "0 0 29 2 */7"],
)
@pytest.mark.parametrize(
    "moment",
    [
        datetime(2011, 12, 30, 9, 59, tzinfo=UTC),
        datetime(2024, 10, 27, 0, 59, tzinfo=UTC),
        datetime(2024, 10, 27, 1, 0, tzinfo=UTC),
        datetime(2072, 3, 1, tzinfo=UTC),  # the next 29 February on a Sunday: 40 years on
    ],
)
def test_a_tick_is_found_at_once(expression: str, name: str, moment: datetime) -> None:
    schedule = parse_schedule(expression, name)
    assert fastest(lambda: schedule.after(moment)) < 0.02
    assert fastest(lambda: schedule.latest(moment)) < 0.02
