"""Acts of people on queues, workers and findings, newest first; those on tasks: ``history``."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import Q

from argus_maint.models import Act
from argus_maint.observe.history import iso


def last_acts(using: str, most: int, since: datetime | None = None, by: str = "") -> list[Act]:
    """The newest acts; ``by`` is a person on any host, or on one."""
    rows = Act.objects.using(using).order_by("-acted_at", "-pk")
    if since is not None:
        rows = rows.filter(acted_at__gte=since)
    if by:
        rows = rows.filter(Q(by=by) | Q(by__startswith=f"{by}@"))
    return list(rows[:most])


def as_dict(act: Act) -> dict[str, Any]:
    """One act as ``schemas/history.json`` has it."""
    return {
        "verb": act.verb,
        "subject": act.subject,
        "by": act.by,
        "why": act.why,
        "details": act.details,
        "acted_at": iso(act.acted_at),
    }
