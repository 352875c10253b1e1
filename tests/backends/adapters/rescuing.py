"""One pass of rescue over any adapter: what it finds, and what policy makes of it."""

from __future__ import annotations

from argus_maint.backends.adapters.base import Adapter, entry_of, ledger_id
from argus_maint.backends.database import losses
from argus_maint.exceptions import TaskQuarantined, WorkerLost
from argus_maint.models import LedgerEntry
from argus_maint.policy import policy_for


def rescue(adapter: Adapter) -> list[LedgerEntry]:
    """The acts; what is not certain yet is left for the next pass."""
    acts = []
    for lost in adapter.lost():
        if lost.confirms_in:
            continue
        policy = policy_for(lost.task_path, None)
        number = losses(ledger_id(lost.task_id), adapter.using) + 1
        entry = entry_of(adapter, lost, counted=True, losses=number, noticed_by="test")
        if policy.on_lost == "requeue" and number < policy.max_losses:
            entry.action, entry.delay = LedgerEntry.Action.REQUEUED, policy.delay(number)
            done = adapter.requeue(lost, entry, entry.delay)
        elif policy.on_lost == "requeue":
            entry.action = LedgerEntry.Action.QUARANTINED
            done = adapter.fail(lost, entry, TaskQuarantined)
        else:
            entry.action = LedgerEntry.Action.FAILED
            done = adapter.fail(lost, entry, WorkerLost)
        acts += [entry] if done else []
    return acts
