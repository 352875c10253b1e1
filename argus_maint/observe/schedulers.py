"""Schedulers that died, and whether another goes on."""

from __future__ import annotations

from datetime import datetime, timedelta

from argus_maint.models import Process
from argus_maint.workers import registry

LOOK_BACK = timedelta(days=1)
LASTING = ("crontask", "apscheduler")  # the others are commands, which come and go


def gone(using: str, now: datetime) -> list[Process]:
    """Schedulers that died within a day; none where one is alive."""
    rows = Process.objects.using(using).filter(kind=Process.Kind.SCHEDULER)
    living = rows.filter(state__in=registry.LIVING)
    if any(each.info.get("driver") in LASTING for each in living):
        return []
    died = rows.filter(state=Process.State.ENDED, ended_at__gte=now - LOOK_BACK, reason="lost")
    lasting = [each for each in died.order_by("-ended_at") if each.info.get("driver") in LASTING]
    # One that was stopped later was the heir of those, and it is not there on purpose.
    stopped = rows.filter(state=Process.State.ENDED, reason="stopped").order_by("-ended_at").first()
    if stopped is None or stopped.ended_at is None:
        return lasting
    return [each for each in lasting if each.ended_at and each.ended_at > stopped.ended_at]
