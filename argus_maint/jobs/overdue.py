"""Overdue: put a task that runs longer than its limit on record, with its stack.

So too the receivers of ``task_finished`` that run on after their task (reason ``receivers``).

The supervisor finds it (``workers/limits.py``) and takes the stack; this writes the
ledger entry. Whether the worker is then ended is the policy's ``on_overdue``.

Events: ``task.overdue``, ``receivers.overdue``.
"""

from __future__ import annotations

from typing import Any

from django_tasks_db.models import DBTaskResult

from argus_maint.backends.database import RUNNING, Attempt, attempts
from argus_maint.database import short_transaction
from argus_maint.dbtime import DbNow
from argus_maint.log import get_logger
from argus_maint.models import LedgerEntry

logger = get_logger(__name__)


def _reported(attempt: Attempt, reason: str, using: str) -> bool:
    """A keeper that died between the entry and its acknowledgement has left one already."""
    entries = LedgerEntry.objects.using(using).filter(task_id=attempt.task_id)
    return entries.filter(
        attempt=attempt.number, verdict=LedgerEntry.Verdict.OVERDUE, reason=reason
    ).exists()


def report_overdue(data: dict[str, Any], noticed_by: str, hostname: str, using: str) -> None:
    """Record one overdue attempt. Nothing happens when it has ended meanwhile.

    ``data``: ``task_id``, ``attempt``, ``running_for`` and ``limit`` in seconds, ``kill``,
    ``announcing`` where the task is over and its receivers run, and ``stack``, the text to
    show a person.
    """
    rows = DBTaskResult.objects.using(using).filter(pk=data["task_id"])
    rows = rows.exclude(status=RUNNING) if data["announcing"] else rows.filter(status=RUNNING)
    reason = "receivers" if data["announcing"] else ""
    for attempt in attempts(rows):
        if attempt.number != data["attempt"] or _reported(attempt, reason, using):
            continue
        what = "task_finished receivers run on" if data["announcing"] else "running"
        then = "its worker is ended now" if data["kill"] else "nothing was done"
        evidence = (
            f"{what} for {data['running_for']:g} s, limit {data['limit']:g} s; {then}\n"
            f"{data['stack']}"
        )
        with short_transaction(using, 1.0):
            attempt.entry(
                host=hostname,
                verdict=LedgerEntry.Verdict.OVERDUE,
                action=LedgerEntry.Action.REPORTED,
                reason=reason,
                evidence=evidence,
                noticed_by=noticed_by,
                acted_at=DbNow(),
            ).save(using=using, force_insert=True)
        logger.warning(
            "receivers.overdue" if data["announcing"] else "task.overdue",
            task_id=str(attempt.task_id),
            task=attempt.task_path,
            worker_id=attempt.owner,
            running_for=data["running_for"],
            limit=data["limit"],
            stack=data["stack"],
        )
