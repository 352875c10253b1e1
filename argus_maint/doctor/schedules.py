"""Is anything firing the ticks of the jobs, and is somebody outside told when all of it stops?"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.core.exceptions import ImproperlyConfigured

from argus_maint.conf import get_settings
from argus_maint.dbtime import db_now
from argus_maint.doctor.line import Line, bad, ok, warn
from argus_maint.models import Run
from argus_maint.observe import schedulers
from argus_maint.observe.census import take
from argus_maint.observe.runs import troubles
from argus_maint.observe.screen import span
from argus_maint.scheduling.ledger import aware, utc_now

TOPIC = "schedules"
LATE = 600.0  # seconds after a tick was due
START = (
    "manage.py crontask under a service manager (maint units), or manage.py maint crontab --install"
)


def look(using: str) -> Iterator[Line]:
    """What the setting wants, what the ledger of runs has seen."""
    try:
        jobs = list(get_settings().jobs.values())
    except ImproperlyConfigured:  # told by the checks
        return
    enabled = [job for job in jobs if job.enabled]
    off = sorted(job.name for job in jobs if not job.enabled)
    yield from _ticks(using)
    for name in ("findings", "prune"):
        if name in off:
            yield warn(
                TOPIC,
                f"the job {name} is switched off",
                {
                    "findings": "Nobody looks for what is wrong: maint check cannot tell.",
                    "prune": "Finished tasks stay for ever, and the table grows without end.",
                }[name],
                f'Take "enabled": False out of ARGUS_MAINT["JOBS"]["{name}"], unless '
                "something else does it.",
            )
    for each in troubles(enabled, using, db_now(using)):
        yield warn(
            TOPIC,
            each.message,
            "Its work was not done, or only a part.",
            f"manage.py maint jobs --job {each.job}; when the cause is gone: "
            f"manage.py maint run {each.job}",
        )
    if not get_settings().ping.url and not any(job.ping for job in enabled):
        yield ok(
            TOPIC,
            "no ping is set: have a monitoring system run maint check",
            "When every process of a site has stopped, only somebody outside can tell.",
        )


def _ticks(using: str) -> Iterator[Line]:
    census = take(using)
    alive = [
        each
        for each in census.living
        if schedulers.is_lasting(each) and census.states[each.pk] not in ("exited", "expired")
    ]
    last = Run.objects.using(using).filter(tick__isnull=False).order_by("-started_at").first()
    names = ", ".join(f"{each.name} on {each.hostname}" for each in alive)
    if last is None:
        yield _never(names)
        return
    age = (utc_now(using) - aware(last.started_at)).total_seconds()
    late = _overdue(using)
    by = f"schedulers: {names}" if names else f"last by {last.driver} on {last.host}"
    if late is not None:
        yield bad(
            TOPIC,
            f"nothing has fired a tick for {span(age)}; {late}",
            "Nothing is pruned, and nobody looks for what is wrong.",
            START,
        )
    else:
        yield ok(TOPIC, f"ticks are fired; {by}, {span(age)} ago")


def _never(names: str) -> Line:
    if names:
        return ok(TOPIC, f"schedulers: {names}; no tick was due yet")
    return bad(
        TOPIC,
        "no job has ever run here, and no scheduler is alive",
        "Nothing is pruned, nobody looks for what is wrong, and tables grow without end.",
        START,
    )


def _overdue(using: str) -> str | None:
    """The job that is due for the longest, if that is long."""
    now = utc_now(using)
    worst: tuple[timedelta, str] | None = None
    for job in get_settings().jobs.values():
        if not job.enabled:
            continue
        rows = Run.objects.using(using).filter(job=job.name, tick__isnull=False)
        last: datetime | None = aware(rows.order_by("-tick").values_list("tick", flat=True).first())
        due = job.schedule.after(last) if last is not None else None
        if due is not None and (worst is None or now - due > worst[0]):
            worst = (now - due, job.name)
    if worst is None or worst[0].total_seconds() <= LATE:
        return None
    return f"{worst[1]} was due {span(worst[0].total_seconds())} ago"
