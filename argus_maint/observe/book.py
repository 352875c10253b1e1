"""What the book of findings holds now, for the screens: open findings, and when it was kept.

Only reads. Who opens and closes them is ``argus_maint.findings``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from django.conf import settings

from argus_maint.conf_findings import INFO
from argus_maint.findings.book import is_acked
from argus_maint.findings.book import open_findings as in_the_book
from argus_maint.models import Finding, Run
from argus_maint.observe.findings import runbook
from argus_maint.observe.history import iso
from argus_maint.ticks import Schedule

JOB = "findings"  # whose pass keeps the book


@dataclass(frozen=True, slots=True)
class Open:
    """An open finding at one moment, by the database's clock."""

    row: Finding
    now: datetime

    @property
    def age(self) -> float:
        """Seconds since it was first seen."""
        return max(0.0, (self.now - self.row.first_seen_at).total_seconds())

    @property
    def acked(self) -> bool:
        """Whether a person has taken it on, and their time is not over."""
        return is_acked(self.row, self.now)

    @property
    def urgent(self) -> bool:
        """Whether somebody has to do something."""
        return not self.acked and self.row.severity != INFO

    @property
    def title(self) -> str:
        """Code and object."""
        return str(self.row)

    @property
    def command(self) -> str:
        """The page that says what to do."""
        return runbook(self.row.code, self.row.object)

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        row = self.row
        return {
            "code": row.code,
            "object": row.object,
            "severity": row.severity,
            "summary": row.summary,
            "first_seen_at": iso(row.first_seen_at),
            "last_seen_at": iso(row.last_seen_at),
            "opened_at": iso(row.opened_at),
            "age": round(self.age, 3),
            "acked": self.acked,
            "acked_by": row.acked_by if self.acked else None,
            "acked_until": iso(row.acked_until) if self.acked else None,
            "acked_why": row.acked_why if self.acked else None,
            "evidence": row.evidence,
            "command": self.command,
        }


def open_findings(using: str, now: datetime) -> list[Open]:
    """Open ones: those that nobody has taken on first, the most severe and the oldest first."""
    found = [Open(row, now) for row in in_the_book(using)]
    return sorted(found, key=lambda each: each.acked)  # which keeps the order of the book


def last_look(using: str) -> datetime | None:
    """When a pass over all codes last ended; None where none ever did."""
    ended = (Run.State.DONE, Run.State.FAILED)
    rows = Run.objects.using(using).filter(job=JOB, tick__isnull=False, state__in=ended)
    moment: datetime | None = rows.order_by("-tick").values_list("finished_at", flat=True).first()
    return moment


def since_last_look(using: str, now: datetime) -> float | None:
    """Seconds since then."""
    last = last_look(using)
    return None if last is None else max(0.0, (now - last).total_seconds())


def due_after(moment: datetime, schedule: Schedule) -> datetime | None:
    """When the next pass after ``moment`` is due, in the form of the database's times."""
    aware = moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment
    due = schedule.after(aware)
    return (
        due if due is None or settings.USE_TZ else due.astimezone(timezone.utc).replace(tzinfo=None)
    )


def clock_time(moment: datetime) -> str:
    """A time of our tables as a person at this host reads it, with its zone."""
    if moment.tzinfo is None and settings.USE_TZ:
        moment = moment.replace(tzinfo=timezone.utc)
    local = moment.astimezone()
    return f"{local:%Y-%m-%d %H:%M %Z}"
