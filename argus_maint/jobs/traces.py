"""The trace of what a person did: an ``Act``, written in the transaction of the act itself."""

from __future__ import annotations

from typing import Any

from argus_maint.dbtime import DbNow
from argus_maint.models import Act


def leave(verb: str, subject: str, by: str, why: str, using: str, **details: Any) -> None:
    """Write down who did what, and why; ``details`` is JSON."""
    act = Act(verb=verb, subject=subject[:191], by=by, why=why, details=details, acted_at=DbNow())
    act.save(using=using, force_insert=True)
