"""A schedule of ours as an APScheduler trigger."""

from __future__ import annotations

from datetime import datetime

from apscheduler.triggers.base import BaseTrigger

from argus_maint.ticks import Schedule


class TickTrigger(BaseTrigger):  # type: ignore[misc]
    """Fires at the ticks of a schedule, and at nothing between."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """The tick after the last one and after now: what was missed is the ledger's to say.

        Else a clock that is set right by years would have every tick of them counted.
        """
        return self.schedule.after(max(previous_fire_time or now, now))

    def __str__(self) -> str:
        return f"{self.schedule.expression} {self.schedule.zone}"
