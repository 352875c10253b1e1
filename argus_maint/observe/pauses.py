"""Pauses and drains as people and machines see them: what holds, who said so, why, how long."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from argus_maint.models import Pause
from argus_maint.observe.history import iso
from argus_maint.observe.screen import span


def as_dict(pause: Pause) -> dict[str, Any]:
    """The JSON form."""
    return {
        "backend": pause.backend_name or None,
        "queue": pause.queue_name or None,
        "worker": pause.worker or None,
        "by": pause.by,
        "why": pause.why,
        "since": iso(pause.since),
        "until": iso(pause.until),
    }


def told(pause: Pause, now: datetime) -> str:
    """Who holds it, for how long, and why, on one line; ``now`` is the database's time."""
    since = span(max(0.0, (now - pause.since).total_seconds()))
    end = f", {left(pause, now)}" if pause.until is not None else ""
    return f"by {pause.by} for {since}{end}: {pause.why}"


def left(pause: Pause, now: datetime) -> str:
    """How long it still holds."""
    if pause.until is None:
        return "until it is taken back"
    return f"ends in {span(max(0.0, (pause.until - now).total_seconds()))}"
