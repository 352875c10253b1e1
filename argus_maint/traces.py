"""The trace of what a person did: an ``Act``, written in the transaction of the act itself."""

from __future__ import annotations

from typing import Any

from argus_maint.dbtime import DbNow
from argus_maint.models import Act

LONGEST = 191  # characters of a subject


def leave(verb: str, subject: str, by: str, why: str, using: str, **details: Any) -> None:
    """Write down who did what, and why; ``details`` is JSON."""
    subject = subject[:LONGEST]
    act = Act(verb=verb, subject=subject, by=by, why=why, details=details, acted_at=DbNow())
    act.save(using=using, force_insert=True)
