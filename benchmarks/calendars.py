"""Random cron expressions: our next ticks, the systemd form and cronsim agree over a year.

An expression is days times minutes. So for each one every day of a year is compared (its
day fields at midnight), and then the expression itself from a random moment on, for as
many ticks as a day may have of them. ours: ``ticks.Schedule.after``. systemd: the form of
``units.calendar`` as the real ``systemd-analyze calendar`` fires it. In UTC: where clocks
change, the three differ on purpose (``argus_maint.units.zones``).

Exits 1 when one of them differs. Needs systemd-analyze, and no database.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta, timezone
from itertools import islice, takewhile

from cronsim import CronSim

from argus_maint.ticks import parse_schedule
from argus_maint.units.calendar import MONTHS, WEEKDAYS, on_calendar, parse
from benchmarks.common import Figure, parser, report, say

UTC = timezone.utc
YEARS = range(2024, 2032)
FAR = datetime(2099, 1, 1, tzinfo=UTC)
TICKS = 40
Times = list[datetime]


def expressions(chance: random.Random) -> Iterator[str]:
    """Right ones, with all that a field may have; each fires at least once a year or so."""
    while True:
        text = " ".join((
            _field(chance, 0, 59, stars=0.2),
            _field(chance, 0, 23, stars=0.3),
            _field(chance, 1, 31, stars=0.5),
            _field(chance, 1, 12, stars=0.6, names=MONTHS),
            _field(chance, 0, 7, stars=0.5, names=WEEKDAYS),
        ))  # fmt: skip
        try:
            yield parse_schedule(text, "UTC").expression
        except ValueError:  # 31 June
            continue


def _field(
    chance: random.Random, low: int, high: int, stars: float, names: tuple[str, ...] | None = None
) -> str:
    if chance.random() < stars:
        return "*"
    return ",".join(_term(chance, low, high, names) for _ in range(chance.choice((1, 1, 1, 2, 3))))


def _term(chance: random.Random, low: int, high: int, names: tuple[str, ...] | None) -> str:
    first, last = sorted(chance.sample(range(low, high + 1), 2))  # cronsim reads 3-3/2 as 3/2
    step = f"/{chance.randint(1, (high - low) // 2)}" if chance.random() < 0.3 else ""
    kind = chance.random()
    if kind < 0.25:
        return f"*{step}"
    if names and last - low < len(names) and chance.random() < 0.4:
        begin, end = names[first - low], names[last - low]
        return f"{begin}-{end}{step}" if kind < 0.6 else begin.title()
    return f"{first}-{last}{step}" if kind < 0.6 else str(first)


def disagreements(texts: Iterable[str], chance: random.Random) -> Iterator[str]:
    """One line for each expression on which the three do not agree."""
    for text in texts:
        year = chance.choice(YEARS)
        begin = datetime(year, 1, 1, tzinfo=UTC) - timedelta(seconds=1)
        end = datetime(year, 12, 31, 23, 59, tzinfo=UTC)
        moment = begin + timedelta(minutes=chance.randrange(360 * 24 * 60))
        days = "0 0 " + text.split(" ", 2)[2]
        found = _compare(days, begin, 366, end) or _compare(text, moment, TICKS, FAR)
        if found:
            yield found


def _compare(text: str, begin: datetime, most: int, end: datetime) -> str:
    """What is wrong; nothing where all is right."""
    calendar = on_calendar(parse(text), "UTC")
    fired = {each for line in calendar for each in systemd(line, begin, most)}
    wanted, ours, theirs = (
        list(islice(takewhile(lambda time: time <= end, times), most))
        for times in (_cronsim(text, begin), _ours(text, begin), iter(sorted(fired)))
    )
    if wanted == ours == theirs:
        return ""
    differ = sorted(set(wanted) ^ set(ours) | set(wanted) ^ set(theirs))
    return f"{text}: {calendar} from {begin}: {[str(each) for each in differ[:3]]}"


def _cronsim(text: str, begin: datetime) -> Iterator[datetime]:
    try:
        yield from CronSim(text, begin)
    except StopIteration:
        return


def _ours(text: str, moment: datetime) -> Iterator[datetime]:
    schedule = parse_schedule(text, "UTC")
    while True:
        moment = schedule.after(moment)
        yield moment


def systemd(calendar: str, begin: datetime, most: int) -> Times:
    """What the real systemd-analyze says: the times after ``begin``."""
    done = subprocess.run(
        [
            "systemd-analyze",
            "calendar",
            f"--base-time={begin:%Y-%m-%d %H:%M:%S} UTC",
            f"--iterations={most}",
            calendar,
        ],
        env={**os.environ, "TZ": "UTC", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise ValueError(f"{calendar}: {done.stderr.strip()}")
    return [
        datetime.strptime(line[-23:], "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC)
        for line in done.stdout.splitlines()
        if line.endswith(" UTC") and ("Next elapse: " in line or "Iter" in line)
    ]


def main() -> int:
    options = parser(__doc__, databases=("sqlite",))
    options.add_argument("--count", type=int, default=10_000, help="default: %(default)s")
    options.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    arguments = options.parse_args()
    count = 100 if arguments.quick else arguments.count
    chance, started = random.Random(arguments.seed), time.monotonic()
    wrong = 0
    for line in disagreements(islice(expressions(chance), count), chance):
        say(line)
        wrong += 1
    figure = Figure(
        f"random cron expressions, ours, systemd's form and cronsim, a year ({count:,})",
        f"{wrong} differ, {time.monotonic() - started:.0f} s",
        target="0 differ",
        met=wrong == 0,
    )
    return report("calendars", arguments, [figure]) or int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
