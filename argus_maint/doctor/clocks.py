"""This host's clock against the database's, and the zones that times are written in."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.utils import timezone as django_timezone

from argus_maint.conf import get_settings
from argus_maint.conf_findings import CODES
from argus_maint.dbtime import db_now
from argus_maint.doctor.line import Line, bad, ok, warn
from argus_maint.models import Process
from argus_maint.observe.screen import span

TOPIC = "clock"
LOOKS = 3  # the quickest of them counts: its answer is the least old


def look(using: str) -> Iterator[Line]:
    """The host's clock and the database's are read together."""
    yield from _zone()
    yield from _skew(using)


def _bound() -> float:
    try:
        return float(get_settings().findings["ClockSkew"].options["skew"])
    except ImproperlyConfigured:  # told by the checks
        return float(CODES["ClockSkew"].options["skew"])


def _skew(using: str) -> Iterator[Line]:
    if connections[using].vendor == "sqlite":
        yield from _future(using)
        return
    apart, answer = _apart(using)
    if abs(apart) <= 1.0 + answer:
        yield ok(TOPIC, f"this host and the database agree within {max(answer, 0.1):.1f} s")
        return
    which = "ahead of" if apart > 0 else "behind"
    make = bad if abs(apart) > _bound() else warn
    yield make(
        TOPIC,
        f"this host is {span(abs(apart))} {which} the database",
        "Leases go by the database's clock and are safe; but run_after is this host's time: "
        "what is scheduled runs that much too early or too late, and so do its cron lines.",
        "timedatectl, or chronyc tracking, on both hosts: set up NTP where it is missing.",
    )


def _apart(using: str) -> tuple[float, float]:
    """Seconds this host is ahead, and how long the answer took."""
    best = (0.0, float("inf"))
    for _ in range(LOOKS):
        before = django_timezone.now()
        theirs = db_now(using)
        after = django_timezone.now()
        if theirs.tzinfo is None:  # USE_TZ is off: the database says UTC all the same
            zone = timezone.utc
            before, after = (each.astimezone(zone).replace(tzinfo=None) for each in (before, after))
        took = (after - before).total_seconds()
        middle = before + (after - before) / 2
        if took < best[1]:
            best = ((middle - theirs).total_seconds(), took)
    return best


def _future(using: str) -> Iterator[Line]:
    """On SQLite each process is its own clock: one that was ahead has left times to come."""
    now = db_now(using)
    rows = Process.objects.using(using).filter(last_beat_at__gt=now + timedelta(seconds=_bound()))
    row = rows.exclude(state=Process.State.ENDED).order_by("-last_beat_at").first()
    if row is None:
        yield ok(TOPIC, "the database is a file: its clock is this host's")
        return
    ahead = (row.last_beat_at - now).total_seconds()
    yield bad(
        TOPIC,
        f"{row.name} on {row.hostname} has last beaten {span(ahead)} from now",
        "The clock of this host was set back, or a process runs with another one: until then "
        "nobody sees that it is dead.",
        "timedatectl, or chronyc tracking; if the time is right now, restart db_worker.",
    )


def _zone() -> Iterator[Line]:
    if not settings.USE_TZ:
        yield warn(
            TOPIC,
            "USE_TZ is off",
            "Times in the task table are local: in the hour that the clocks go back a wait "
            "looks negative, and what is scheduled may run an hour early or late.",
            "USE_TZ = True, which is Django's default.",
        )
    zone = settings.TIME_ZONE or "UTC"
    jobs = _zones_of_jobs() - {zone}
    beside = f"; jobs also in {', '.join(sorted(jobs))}" if jobs else ""
    here = datetime.now().astimezone()
    yield ok(TOPIC, f"schedules are read in {zone}{beside}; this host shows {here:%H:%M %Z}")


def _zones_of_jobs() -> set[str]:
    try:
        jobs: Any = get_settings().jobs.values()
    except ImproperlyConfigured:
        return set()
    return {job.schedule.zone for job in jobs if job.enabled}
