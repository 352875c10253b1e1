"""Rows of django-tasks-local-db in the task table: what of them is ours to see to.

Its web processes run a task again whose heartbeat is old, and again, without limit. Each start
appends to ``worker_ids``, so the row itself says how often it was started without an end. Only
that is looked at: the heartbeats are written by clocks of other hosts.
"""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.db import connections

from argus_maint.backends.database import Attempt
from argus_maint.checks import LOCAL_DB
from argus_maint.models import LedgerEntry


def starts(attempt: Attempt, using: str) -> int:
    """How often it was started, this time included, since a person last put it back."""
    if attempt.number < 2:
        return attempt.number
    pardons = LedgerEntry.objects.using(using).filter(
        task_id=attempt.task_id,
        verdict=LedgerEntry.Verdict.MANUAL,
        action=LedgerEntry.Action.REQUEUED,
    )
    before = pardons.order_by("-pk").values_list("attempt", flat=True).first() or 0
    return attempt.number - before


def poison(attempt: Attempt, max_losses: int, using: str) -> LedgerEntry | None:
    """The entry with which to fail it, unsaved; None while it may still run again."""
    times = starts(attempt, using)
    if times <= max_losses:
        return None
    last = f"the last time by {attempt.owner}"
    return attempt.entry(
        verdict=LedgerEntry.Verdict.UNREGISTERED,
        action=LedgerEntry.Action.QUARANTINED,
        reason="rerun",
        evidence=f"started {times} times by {LOCAL_DB} without an end, {last}",
        counted=True,
        losses=times - 1,
    )


def dependents(using: str) -> tuple[tuple[str, str], ...]:
    """Its table of heartbeats, which keeps a task's row from being deleted, and the column."""
    if not apps.is_installed(LOCAL_DB):
        return ()
    try:
        model = apps.get_app_config(LOCAL_DB).get_model("TaskHeartbeat")
    except LookupError:  # before 0.4 it had a table of tasks of its own
        return ()
    quote = connections[using].ops.quote_name
    pointer: Any = model._meta.get_field("task_result")
    return ((quote(model._meta.db_table), quote(pointer.column)),)
