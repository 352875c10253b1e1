"""The database: who is in the way of others, and do the clocks agree?

- ``DatabaseLocked``: see ``backends.locks``; older than ``held``. A transaction that is only
  idle with rows locked is a warning.
- ``ClockSkew``: this host's clock is ``skew`` from the database's; or a task or a process has
  a time that is so far ahead. On SQLite the database's clock is this host's. Where USE_TZ is
  off the two may differ by a zone, and nothing is compared.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import timedelta

from django.conf import settings
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from argus_maint.backends.database import READY
from argus_maint.backends.locks import holders
from argus_maint.conf_findings import WARNING
from argus_maint.dbtime import db_now
from argus_maint.findings.observation import Observation
from argus_maint.jobs.detect.look import Look
from argus_maint.models import Process
from argus_maint.observe.screen import span

TASK_TABLE = "task table"


def database_locked(look: Look) -> Iterator[Observation]:
    """The worst of those who hold locks, and how many more there are."""
    found = holders(look.using, look.option("DatabaseLocked", "held"), look.patience)
    if not found:
        return
    worst = found[0]
    summary = str(worst)
    if len(found) > 1:
        summary += f"; {len(found) - 1} more"
    evidence = {
        "database": worst.vendor,
        "pid": worst.pid,
        "host": worst.host,
        "who": worst.who,
        "query": worst.query,
        "waiting": worst.waiting,
        "pids": [each.pid for each in found if each.pid],
    }
    urgent = any(each.urgent for each in found)
    yield Observation("DatabaseLocked", "", summary, evidence, severity="" if urgent else WARNING)


def clock_skew(look: Look) -> Iterator[Observation]:
    """Hosts whose clock is wrong, each once."""
    if not settings.USE_TZ:
        return
    seen = set()
    for host, seconds, what, process in (*_of_this_host(look), *_from_the_future(look)):
        if host not in seen:
            seen.add(host)
            summary = f"the clock of {host} is {span(abs(seconds))} "
            summary += f"{'ahead of' if seconds > 0 else 'behind'} the database's: {what}"
            evidence: dict[str, object] = {"host": host, "seconds": round(seconds, 3)}
            if process is not None:
                evidence |= {"worker": process.name, "pid": process.pid}
            yield Observation("ClockSkew", host, summary, evidence)


_Skew = tuple[str, float, str, Process | None]  # host, seconds ahead, how it shows, whose time


def _of_this_host(look: Look) -> Iterator[_Skew]:
    before = timezone.now()
    database = db_now(look.using)
    after = timezone.now()  # the answer took a while, so it is between the two
    ahead, behind = (before - database).total_seconds(), (database - after).total_seconds()
    skew = look.option("ClockSkew", "skew")
    if max(ahead, behind) > skew:
        yield socket.gethostname(), ahead if ahead > behind else -behind, "compared now", None


def _from_the_future(look: Look) -> Iterator[_Skew]:
    """Times of other hosts that the database has not reached yet."""
    now, census = look.now, look.status.census
    limit = now + timedelta(seconds=look.option("ClockSkew", "skew"))
    for process in census.living:
        if process.last_beat_at > limit:
            ahead = (process.last_beat_at - now).total_seconds()
            yield process.hostname, ahead, f"{process.name} beat then", process
    for each in census.running:
        started, owner = each.attempt.started_at, each.owner
        if started is not None and started > limit:
            host = owner.hostname if owner is not None else TASK_TABLE
            ahead = (started - now).total_seconds()
            yield host, ahead, f"{each.worker} claimed a task then", owner
    ready = DBTaskResult.objects.using(look.using).filter(status=READY, enqueued_at__gt=limit)
    for newest in ready.order_by().values_list("enqueued_at", flat=True)[:1]:
        yield TASK_TABLE, (newest - now).total_seconds(), "a task was enqueued then", None


DETECTORS = {"DatabaseLocked": database_locked, "ClockSkew": clock_skew}
