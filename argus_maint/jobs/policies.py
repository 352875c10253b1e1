"""What the rescue policy says of one lost task."""

from __future__ import annotations

from typing import Any

from argus_maint.conf import Policy
from argus_maint.exceptions import TaskQuarantined, WorkerLost
from argus_maint.models import DeclaredPolicy, LedgerEntry
from argus_maint.policy import policy_for


def policy_of(task_path: str, using: str) -> Policy:
    """What is in force for a task, with what it declares beside its code.

    That is read from where its worker has written it: who rescues imports no task.
    """
    return policy_for(task_path, declared_by(task_path, using))


def declared_by(task_path: str, using: str) -> dict[str, Any] | None:
    """What a worker has written down that the task declares; None: no worker has."""
    return (
        DeclaredPolicy.objects.using(using)
        .filter(task_path=task_path[:255])
        .values_list("options", flat=True)
        .first()
    )


def decide(entry: LedgerEntry, policy: Policy) -> type | None:
    """Put what the policy says into the entry; returns the exception class of a failure."""
    if policy.on_lost == "fail":
        entry.action = LedgerEntry.Action.FAILED
        return WorkerLost
    if entry.counted and entry.losses >= policy.max_losses:
        entry.action = LedgerEntry.Action.QUARANTINED
        return TaskQuarantined
    entry.action = LedgerEntry.Action.REQUEUED
    entry.delay = policy.delay(entry.losses) if entry.counted else 0.0
    return None
