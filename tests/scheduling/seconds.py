"""Schedules with seconds: a fast clock for tests, which no setting can ask for."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from argus_maint.ticks import UTC, Schedule

YEAR = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class _Every:
    """What ``ticks.Schedule`` is to the scheduling: a tick each ``period``, from ``origin`` on."""

    expression: str
    origin: datetime
    period: timedelta
    zone: str = "UTC"

    def after(self, moment: datetime) -> datetime:
        return self.latest(moment) + self.period

    def latest(self, moment: datetime) -> datetime:
        return self.origin + (moment - self.origin) // self.period * self.period

    def between(self, begin: datetime, end: datetime, most: int) -> list[datetime]:
        last = self.latest(end)
        number = min(most, max(0, -((begin - last) // self.period)))
        return [last - n * self.period for n in reversed(range(number))]


def every_second() -> Schedule:
    """A tick at each full second."""
    return schedule("1s")


def once(seconds: int = -1) -> str:
    """A tick a second ago, or in so many, and then none for long: a new job is due at once."""
    return f"@{time.time() + seconds:.0f}"


def schedule(text: str) -> Schedule:
    """``5s`` or ``5s+2``: each 5 seconds, 2 later; ``@EPOCH``: then; else five fields of cron."""
    if text[0] == "@":
        made = _Every(text, datetime.fromtimestamp(int(text[1:]), UTC), YEAR)
    elif text[0].isdigit() and "s" in text:
        period, _, offset = text.partition("s")
        origin = datetime.fromtimestamp(int(offset or 0), UTC)
        made = _Every(text, origin, timedelta(seconds=int(period)))
    else:
        return Schedule(text, "UTC")
    return cast(Any, made)  # type: ignore[no-any-return]
