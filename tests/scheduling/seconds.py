"""A schedule with a tick every second: a fast clock for tests, which no setting can ask for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from argus_maint.ticks import UTC, Schedule

SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class _EverySecond:
    """What ``ticks.Schedule`` is to the scheduling."""

    expression: str = "* * * * * *"
    zone: str = "UTC"

    def after(self, moment: datetime) -> datetime:
        return self.latest(moment) + SECOND

    def latest(self, moment: datetime) -> datetime:
        return moment.astimezone(UTC).replace(microsecond=0)

    def between(self, begin: datetime, end: datetime, most: int) -> list[datetime]:
        last, number = self.latest(end), 0
        number = min(most, max(0, -((begin - last) // SECOND)))
        return [last - n * SECOND for n in reversed(range(number))]


def every_second() -> Schedule:
    """A tick at each full second."""
    return cast(Any, _EverySecond())  # type: ignore[no-any-return]
