"""Rescue on task backends that keep their tasks elsewhere than in the task table.

What it is: one pass over every alias of TASKS whose adapter can tell which tasks have lost
their worker. Each is requeued or failed by the same policy and with the same budget as a task
of the table, and has its entry in the ledger.

``make(errand)`` returns a ``Report``. What cannot be told yet is waited for, up to
``LONGEST`` seconds, and looked at again, unless ``wait`` is off: then it is named. One
backend that does not answer, or one bad task, is named too, and keeps nobody from the rest.

A crash between the act and the commit of its entry leaves an act without a trace: the two are
on different servers. ``task_finished`` is sent by nobody for a task that is failed here.

Events: ``task.requeued``, ``task.failed``, ``task.quarantined``, ``rescue.error``,
``rescue.undeclared``, ``tasks.overdue``.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from django.utils.module_loading import import_string

from argus_maint.backends.adapters import elsewhere
from argus_maint.backends.adapters.base import (
    Adapter,
    Lost,
    Unreachable,
    entry_of,
    in_one_line,
    ledger_id,
)
from argus_maint.backends.database import losses
from argus_maint.clock import now
from argus_maint.conf import Policy
from argus_maint.jobs.errand import Errand
from argus_maint.jobs.policies import decide, declared_by
from argus_maint.log import get_logger
from argus_maint.models import LedgerEntry
from argus_maint.policy import declared_options, policy_for

logger = get_logger(__name__)
LONGEST = 120.0  # seconds that a pass waits for what cannot be told yet
TICK = 0.25  # seconds between reports of how long it will still take
AFTER = 0.2  # seconds past the moment at which it can be told


@dataclass(slots=True)
class Report:
    """What came of it. ``unconfirmed`` are those of the last look."""

    acts: list[LedgerEntry] = field(default_factory=list)
    unconfirmed: list[tuple[str, Lost]] = field(default_factory=list)  # with the alias
    enqueued: int = 0  # scheduled tasks that were due, and that nobody put into their queue
    errors: list[str] = field(default_factory=list)
    unreachable: dict[str, str] = field(default_factory=dict)  # by alias, in its own words
    waited: float = 0.0


def make(errand: Errand) -> Report:
    """Make one pass, and wait for what needs confirmation."""
    report, began = Report(), now()
    places = elsewhere(errand.using, capability="rescue")
    _look(places, errand, report)
    while errand.wait and not errand.dry_run:
        soon = [each for each in report.unconfirmed if each[1].confirms_in < LONGEST]
        until = now() + min((lost.confirms_in for _, lost in soon), default=LONGEST) + AFTER
        if until - began > LONGEST:
            break
        _sleep_until(until, errand)
        waiting = {alias for alias, _ in soon}
        _look([each for each in places if each.alias in waiting], errand, report)
        report.waited = now() - began
    if not errand.dry_run:
        for adapter in places:
            _enqueue_overdue(adapter, report)
    return report


def _enqueue_overdue(adapter: Adapter, report: Report) -> None:
    try:
        number = adapter.enqueue_overdue()
    except Unreachable:  # which the look has told
        return
    except Exception as error:
        report.errors.append(f"{adapter.alias}: {in_one_line(error)}")
        logger.exception("rescue.error", backend=adapter.alias)
        return
    if number:
        logger.warning("tasks.overdue", backend=adapter.alias, tasks=number)
        report.enqueued += number


def _sleep_until(moment: float, errand: Errand) -> None:
    total = moment - now()
    while (left := moment - now()) > 0:
        errand.progress(left, total)
        time.sleep(min(left, TICK))


def _look(places: list[Adapter], errand: Errand, report: Report) -> None:
    report.unconfirmed = []
    for adapter in places:
        try:
            found = adapter.lost()
        except Unreachable as error:
            report.unreachable[adapter.alias] = str(error)
            continue
        except Exception as error:
            report.errors.append(f"{adapter.alias}: {in_one_line(error)}")
            logger.exception("rescue.error", backend=adapter.alias)
            continue
        for lost in found:
            if lost.confirms_in > 0:
                report.unconfirmed.append((adapter.alias, lost))
            else:
                _settle(adapter, lost, errand, report)


def _settle(adapter: Adapter, lost: Lost, errand: Errand, report: Report) -> None:
    """Apply the policy to one lost task; whatever is wrong with it stays with it."""
    try:
        entry = _entry(adapter, lost, errand)
        policy, why = _policy(lost.task_path, errand.using)
        entry.evidence += why
        error = decide(entry, policy)
        if not errand.dry_run and not _act(adapter, lost, entry, error):
            return  # it has changed since it was read: another rescuer, or its backend
    except Exception as problem:
        what = str(problem) if isinstance(problem, Unreachable) else repr(problem)
        report.errors.append(f"{adapter.alias}: task {lost.task_id}: {what}")
        if not isinstance(problem, Unreachable):
            logger.exception("rescue.error", task_id=lost.task_id, task=lost.task_path)
        return
    report.acts.append(entry)


def _entry(adapter: Adapter, lost: Lost, errand: Errand) -> LedgerEntry:
    # One that its living worker does not hold has lost no worker.
    counted = lost.verdict != LedgerEntry.Verdict.ORPHANED
    before = losses(ledger_id(lost.task_id), errand.using)
    return entry_of(
        adapter, lost, counted=counted, losses=before + counted, noticed_by=errand.noticed_by
    )


def _act(adapter: Adapter, lost: Lost, entry: LedgerEntry, error: type[Exception] | None) -> bool:
    if error is None:
        done = adapter.requeue(lost, entry, entry.delay)
    else:
        done = adapter.fail(lost, entry, error)
    if done:
        logger.warning(
            f"task.{entry.action}",
            task_id=lost.task_id,
            task=lost.task_path,
            backend=adapter.alias,
            queue=lost.queue_name,
            attempt=lost.attempt,
            losses=entry.losses,
            verdict=str(entry.verdict),
            evidence=entry.evidence,
        )
    return done


def _policy(task_path: str, using: str) -> tuple[Policy, str]:
    """The policy in force. Workers of other backends write nothing down: the task is asked.

    Where it cannot be imported it may be one that must not repeat, so it is failed; and why.
    """
    declared = declared_by(task_path, using)
    if declared is not None:
        return policy_for(task_path, declared), ""
    try:
        return policy_for(task_path, declared_options(import_string(task_path))), ""
    except Exception as error:
        logger.exception("rescue.undeclared", task=task_path)
        why = f"; it is failed, for its policy cannot be asked here ({in_one_line(error)})"
        return replace(policy_for(task_path), on_lost="fail"), why
