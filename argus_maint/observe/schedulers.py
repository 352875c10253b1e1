"""Schedulers that died, and whether another goes on."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from argus_maint.models import Process

LOOK_BACK = timedelta(days=1)
LASTING = ("crontask", "apscheduler")  # the others are commands, which come and go


def gone(
    living: Iterable[Process], using: str, now: datetime, dead: Iterable[Process] = ()
) -> list[Process]:
    """Schedulers that died within a day, the last first; none where one is living.

    One that was stopped after them was their heir, and is not there on purpose; one that was
    buried is meant to be gone. ``dead`` are processes whose death nobody has noted yet: with
    the last scheduler who notes it may go too.
    """
    if any(is_lasting(each) for each in living):
        return []
    ended = Process.objects.using(using).filter(
        ended_at__gte=now - LOOK_BACK, kind=Process.Kind.SCHEDULER, state=Process.State.ENDED
    )
    found = sorted(filter(is_lasting, dead), key=lambda each: each.last_beat_at, reverse=True)
    for each in filter(is_lasting, ended.order_by("-ended_at")):
        if each.reason in ("stopped", "buried"):
            break
        found.append(each)
    return found


def died_at(process: Process) -> datetime:
    """When it was last heard of: its end may have been noted hours later."""
    return min(process.last_beat_at, process.ended_at or process.last_beat_at)


def is_lasting(process: Process) -> bool:
    """Whether it is a scheduler, and no command of a crontab that beats while it runs jobs."""
    return process.info.get("driver") in LASTING
