"""The job ``findings``: what is the matter with the queue?

Using it::

    seen = observe(using)            # look only
    report = make(using, "w1@web1")  # look, and write down what was seen: one pass

One module a theme has a detector for each code: a function of the ``Look`` that all share,
which yields what it sees. A detector that raises stops no other; what is on record of its
code stays as it is. On PostgreSQL and MariaDB none waits for a lock longer than ``WAIT``.

A pass costs the same however many tasks have finished.

Raises JobError where a detector failed, with the report of the others.

Events: ``findings.error`` (with the traceback, and the code that was not looked for), and
those of ``findings.book``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import Error, connections

from argus_maint.conf import get_settings
from argus_maint.conf_jobs import Job
from argus_maint.database import TRANSIENT, bounded_reads, discard
from argus_maint.dbtime import db_now
from argus_maint.exceptions import JobError
from argus_maint.findings import book
from argus_maint.findings.observation import Observation
from argus_maint.jobs.detect import (
    backends,
    database,
    processes,
    queues,
    schedule,
    site,
    storage,
    tasks,
)
from argus_maint.jobs.detect.look import Look
from argus_maint.log import get_logger

logger = get_logger(__name__)

WAIT = 3.0  # seconds for any lock
Detector = Callable[[Look], Iterable[Observation]]
# Who holds locks comes first: the others may have to wait for them.
DETECTORS: dict[str, Detector] = {
    code: detector
    for each in (database, site, backends, processes, queues, tasks, schedule, storage)
    for code, detector in each.DETECTORS.items()
}


@dataclass(slots=True)
class Seen:
    """What one look came to."""

    observations: list[Observation] = field(default_factory=list)
    looked_for: set[str] = field(default_factory=set)
    errors: dict[str, str] = field(default_factory=dict)  # by code
    blind: set[str] = field(default_factory=set)  # backends that did not tell all
    began: datetime | None = None  # by the database's clock, where it told


def observe(
    using: str,
    jobs: Mapping[str, Job] | None = None,
    patience: float | None = None,
    codes: Iterable[str] = tuple(DETECTORS),
) -> Seen:
    """Look, and write nothing. A code that is off sees nothing. ``patience``: see ``Look``."""
    look, seen, settings = Look(using, jobs, patience), Seen(began=_began(using)), get_settings()
    for code in codes:
        try:
            if settings.findings[code].enabled:
                with bounded_reads(using, WAIT):
                    seen.observations += list(DETECTORS[code](look))
        except Exception as error:
            seen.errors[code] = " ".join(f"{type(error).__name__}: {error}".split())
            logger.exception("findings.error", code=code)
            if isinstance(error, TRANSIENT) and not connections[using].in_atomic_block:
                discard(using)
        else:
            seen.looked_for.add(code)
    seen.blind = look.blind
    return seen


def _began(using: str) -> datetime | None:
    try:
        return db_now(using)
    except Error as error:  # whoever looks will meet it too, and tell
        if isinstance(error, TRANSIENT) and not connections[using].in_atomic_block:
            discard(using)
        return None


def make(using: str, noticed_by: str, jobs: Mapping[str, Job] | None = None) -> dict[str, Any]:
    """One pass: look, record, report. ``problems`` are open findings that nobody has acked."""
    seen = observe(using, jobs)
    outcome = book.record(
        seen.observations, seen.looked_for, noticed_by, using, seen.began, seen.blind
    )
    now = db_now(using)
    report = {
        "opened": [str(each) for each in outcome.opened],
        "closed": [str(each) for each in outcome.closed],
        "problems": [
            {"code": each.code, "object": each.object, "message": f"{each}: {each.summary}"}
            for each in book.open_findings(using)
            if not book.is_acked(each, now)
        ],
    }
    if seen.errors:
        first = next(iter(seen.errors.values()))
        message = f"could not look for {', '.join(seen.errors)}: {first}"
        raise JobError(message, {**report, "errors": seen.errors})
    return report
