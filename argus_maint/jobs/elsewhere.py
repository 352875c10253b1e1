"""Levers on task backends that keep their tasks elsewhere than in the task table.

What ``jobs.levers`` does with rows of the table, as far as a backend can: requeue and release
what has FAILED, discard it, fail what is READY, and any of these with a RUNNING task whose
worker is certainly dead. ``pull(lever, targets, tell)`` tells one ``Result`` for each task.

Each act has its ledger entry, with ``verdict=manual``. ``task_finished`` is sent by nobody.

Events: ``task.requeued``, ``task.failed``, ``task.discarded``; ``lever.error``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from argus_maint.backends.adapters.base import (
    Adapter,
    Lost,
    Task,
    Unreachable,
    entry_of,
    in_one_line,
)
from argus_maint.backends.database import FAILED, READY, RUNNING
from argus_maint.exceptions import TaskDiscarded, TaskQuarantined
from argus_maint.jobs.lever import Lever, Outcome, Result, Verb
from argus_maint.jobs.levers import ACTIONS, GIVE_UP, log_act, said
from argus_maint.jobs.objections import Objection, path_of
from argus_maint.jobs.targets import Elsewhere
from argus_maint.log import get_logger
from argus_maint.models import LedgerEntry
from argus_maint.observe.screen import span

logger = get_logger(__name__)


def pull(lever: Lever, targets: Sequence[Elsewhere], tell: Callable[[Result], None]) -> str:
    """Act on each in turn and ``tell`` what became of it; why it stopped early, else nothing."""
    broken = 0
    for target in targets:
        try:
            result, broken = _one(lever, target), 0
        except Exception as error:  # one bad task does not stop the others
            broken += 1
            result = Result(target.task_id, "", "", Outcome.ERROR, in_one_line(error))
            if not isinstance(error, Unreachable):
                logger.exception("lever.error", task_id=target.task_id)
        tell(result)
        if broken >= GIVE_UP:
            return result.message
    return ""


def _one(lever: Lever, target: Elsewhere) -> Result:
    adapter, task_id = target.adapter, target.task_id
    task = adapter.task(task_id)
    if task is None:
        return Result(task_id, "", "", Outcome.CHANGED, "it is gone: somebody deleted it")
    handle, objection = _judged(lever, adapter, task)
    if objection is None and lever.only not in ("", task.status):
        objection = Outcome.CHANGED, f"it is {task.status} by now"
    if objection is not None:
        return _result(task, *objection)
    was = task.status + (f" with {_error(task)}" if task.error else "")
    if lever.dry_run:
        return _result(task, Outcome.DONE, f"it is {was}")
    if not _act(lever, adapter, handle, was):
        return _result(task, Outcome.CHANGED, "it changed meanwhile: look again")
    return _result(task, Outcome.DONE, f"it was {was}")


def _result(task: Task, outcome: Outcome, message: str) -> Result:
    return Result(task.handle.task_id, task.handle.task_path, task.status, outcome, message)


def _error(task: Task) -> str:
    return task.error.rpartition(".")[2]


def _judged(lever: Lever, adapter: Adapter, task: Task) -> tuple[Lost, Objection]:
    """What to act on, and what speaks against it."""
    able = "fail" if lever.verb in (Verb.FAIL, Verb.DISCARD) else "requeue"
    if lever.verb not in _OF_VERB:
        return task.handle, (Outcome.REFUSED, f"backend {adapter.alias} has no such lever")
    if not adapter.supports(able):
        why = adapter.why_not.get(able, "it cannot")
        return task.handle, (Outcome.REFUSED, f"not on backend {adapter.alias}: {why}")
    if task.status == RUNNING and lever.verb in (Verb.REQUEUE, Verb.FAIL):
        return _running(adapter, task)
    return task.handle, _OF_VERB[lever.verb](task)


def _running(adapter: Adapter, task: Task) -> tuple[Lost, Objection]:
    """No live task is touched, and what nobody can tell is not guessed."""
    handle = task.handle
    lost = next((each for each in adapter.lost() if each.task_id == handle.task_id), None)
    who = f"worker {handle.worker or '(none)'}"
    if lost is None:
        line = f"it runs under {who}, which is alive, or may be: end that worker first"
        return handle, (Outcome.REFUSED, line)
    if lost.confirms_in <= 0:
        return lost, None
    if math.isinf(lost.confirms_in):
        return lost, (Outcome.REFUSED, lost.evidence)
    line = f"{lost.evidence}; certain in {span(lost.confirms_in)}, to wait: manage.py maint rescue"
    return lost, (Outcome.REFUSED, line)


def _requeue(task: Task) -> Objection:
    if task.status == READY:
        return Outcome.NOTHING, "it is READY: nothing to do"
    if task.status != FAILED:
        return Outcome.REFUSED, "it was SUCCESSFUL: enqueue it anew"
    return None


def _release(task: Task) -> Objection:
    if task.status == FAILED and task.error == path_of(TaskQuarantined):
        return None
    return Outcome.REFUSED, f"it is {task.status}, and not quarantined; maint requeue is for those"


def _fail(task: Task) -> Objection:
    if task.status == FAILED:
        return Outcome.NOTHING, "it is FAILED already: nothing to do"
    if task.status != READY:
        return Outcome.REFUSED, "it was SUCCESSFUL: there is nothing to give up"
    return None


def _discard(task: Task) -> Objection:
    if task.status != FAILED:
        return Outcome.REFUSED, f"it is {task.status}: only a FAILED task is discarded"
    if task.error == path_of(TaskDiscarded):
        return Outcome.NOTHING, "it was given up by a person already: nothing to do"
    return None


_OF_VERB = {
    Verb.REQUEUE: _requeue,
    Verb.RELEASE: _release,
    Verb.FAIL: _fail,
    Verb.DISCARD: _discard,
}


def _act(lever: Lever, adapter: Adapter, handle: Lost, was: str) -> bool:
    why = f" Why: {lever.why}" if lever.why else ""
    found = f" {handle.evidence}." if handle.verdict != LedgerEntry.Verdict.MANUAL else ""
    evidence = f"{said(lever)} by hand by {lever.noticed_by}; it was {was}.{found}{why}"
    entry = entry_of(
        adapter,
        replace(handle, verdict=LedgerEntry.Verdict.MANUAL.value, evidence=evidence),
        action=ACTIONS[lever.verb].value,
        noticed_by=lever.noticed_by,
    )
    if lever.verb in (Verb.FAIL, Verb.DISCARD):
        done = adapter.fail(handle, entry, TaskDiscarded)
    else:
        done = adapter.requeue(handle, entry)
    if done:
        log_act(entry, lever.why, backend=adapter.alias)
    return done
