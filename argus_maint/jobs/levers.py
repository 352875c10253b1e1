"""Levers: what a person does to tasks by hand, one at a time, each with its ledger entry.

Requeue, fail, release (a quarantined one), discard (a FAILED one that has been seen to),
move (a READY one to another queue), priority (of a READY one).

``pull(lever, ids, tell)`` tells one ``Result`` for each task, in order. A task whose worker
is alive is never touched: the worker would go on, and the task would run twice. With
``kill`` its supervisor ends that worker first (``jobs.wishes``). A worker whose lease ran
out is dead only once that is confirmed, which is what ``maint rescue`` does.

A requeue by hand forgives the losses so far (``backends.database.losses``). A failure
is ``TaskDiscarded``; ``task_finished`` is sent for it. A discard is no new failure: nothing
is sent, and the old error stays in the traceback. A move or a priority meets a claim of the
same task in one row: whichever is first wins, and the other finds it changed.

Events: ``task.requeued``, ``task.failed``, ``task.discarded``, ``task.moved``,
``task.prioritized``, with ``verdict=manual``; ``task.unwanted``, ``lever.error``.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django.db import Error
from django.utils import timezone

from argus_maint.backends import database, search
from argus_maint.backends.database import FAILED, READY, RUNNING, Attempt
from argus_maint.backends.search import Row
from argus_maint.database import TRANSIENT, discard
from argus_maint.exceptions import TaskDiscarded
from argus_maint.jobs import objections, wishes
from argus_maint.jobs.lever import COULD_NOT, Lever, Outcome, Result, Verb
from argus_maint.jobs.wishes import Wish
from argus_maint.log import get_logger
from argus_maint.models import LedgerEntry
from argus_maint.observe import census as look
from argus_maint.observe.census import Census, Running
from argus_maint.workers import messenger

__all__ = ["COULD_NOT", "Lever", "Outcome", "Result", "Verb", "pull"]

logger = get_logger(__name__)
CHUNK = 200  # tasks between two looks at who is alive
GIVE_UP = 3  # errors of the database in a row
PATIENCE = 30.0  # seconds for a worker to be ended: a beat, TERM, KILL, and a lease where all died


def pull(lever: Lever, ids: Sequence[uuid.UUID], tell: Callable[[Result], None]) -> str:
    """Act on each task in turn and ``tell`` what became of it.

    Returns why it stopped early: the database stayed away or locked. Else nothing.
    """
    failed: list[str] = []
    asked: list[Row] = []
    broken = 0
    for start in range(0, len(ids), CHUNK):
        chunk = ids[start : start + CHUNK]
        rows = {row.attempt.task_id: row for row in search.by_ids(chunk, lever.using)}
        census = _census(rows.values(), lever.using)
        try:
            for task_id in chunk:
                try:
                    result = _one(lever, rows.get(task_id), census, task_id)
                    broken = 0
                except Exception as error:  # noqa: BLE001 - one bad row does not stop the others
                    result = _trouble(lever, rows[task_id], error)
                    broken = broken + 1 if isinstance(error, TRANSIENT) else 0
                if result.outcome is Outcome.DONE:
                    failed += [str(task_id)]
                if result.outcome is Outcome.ASKED:
                    asked.append(rows[task_id])
                else:
                    tell(result)
                if broken >= GIVE_UP:
                    return result.message
        finally:
            # Also when a person interrupts: what was failed so far is announced.
            if lever.verb is Verb.FAIL and not lever.dry_run and failed:
                _announce(failed, lever.using)
            failed = []
    _wait(lever, asked, tell)
    return ""


def _wait(lever: Lever, asked: Sequence[Row], tell: Callable[[Result], None]) -> None:
    """Tell what became of the tasks whose workers were to be ended."""
    rows = {row.attempt: row for row in asked}

    def told(attempt: Attempt, how: str) -> None:
        outcome, message = _ENDED[how]
        tell(_result(rows[attempt], outcome, message))

    wishes.wait(rows, lever.using, PATIENCE, told)


_ENDED = {
    "done": (Outcome.DONE, "its worker was ended"),
    "else": (Outcome.CHANGED, "it ended by itself meanwhile: look again"),
    "": (
        Outcome.ASKED,
        "its worker has not ended yet; it will be done as soon as it has. "
        "If its supervisor is gone: kill -9 the worker on its host",
    ),
}


def _announce(failed: list[str], using: str) -> None:
    """Send ``task_finished``; an interrupt in mid-statement leaves a useless connection."""
    try:
        messenger.send(failed)
    except Error:
        discard(using)
        messenger.send(failed)


def _census(rows: Iterable[Row], using: str) -> Census | None:
    """A look at who is alive, where that matters."""
    return look.take(using) if any(row.attempt.status == RUNNING for row in rows) else None


def _trouble(lever: Lever, row: Row, error: Exception) -> Result:
    if isinstance(error, TRANSIENT):
        discard(lever.using)
    else:
        logger.exception("lever.error", task_id=str(row.attempt.task_id))
    return _result(row, Outcome.ERROR, f"{type(error).__name__}: {' '.join(str(error).split())}")


def _result(row: Row, outcome: Outcome, message: str) -> Result:
    attempt = row.attempt
    return Result(attempt.task_id, attempt.task_path, attempt.status, outcome, message)


def _one(lever: Lever, row: Row | None, census: Census | None, task_id: uuid.UUID) -> Result:
    """Act on one task, unless there is a reason not to."""
    if row is None:
        return Result(task_id, "", "", Outcome.CHANGED, "it is gone: somebody deleted it")
    if lever.only not in ("", row.attempt.status):
        return _result(row, Outcome.CHANGED, f"it is {row.attempt.status} by now")
    held = _held(row, census)
    objection = objections.of(lever, row, held, census)
    if objection is not None:
        return _result(row, *objection)
    was = _was(lever, row, held)
    live = held is not None and held.state == "running"
    if lever.dry_run:
        first = ", and would be ended first" if live else ""
        return _result(row, Outcome.DONE, f"it is {was}{first}")
    if live:
        return _ask(lever, row, held)
    entry = _entry(lever, row, held, was)
    if _act(lever, row, entry):
        log_act(entry, lever.why)
        return _result(row, Outcome.DONE, f"it was {was}")
    if database.still_there(row.attempt, lever.using):
        return _result(row, Outcome.LOCKED, "another transaction holds its row: try again")
    return _result(row, Outcome.CHANGED, "it changed meanwhile: look again")


def _act(lever: Lever, row: Row, entry: LedgerEntry) -> bool:
    """Change the row and write the entry; False where the row is another by now, or locked."""
    attempt, using, evidence = row.attempt, lever.using, entry.evidence
    if lever.verb is Verb.FAIL:
        return database.fail(attempt, using, entry, TaskDiscarded, evidence)
    if lever.verb is Verb.DISCARD:
        return database.see_to(attempt, using, entry, TaskDiscarded, row.exception, evidence)
    if lever.verb is Verb.MOVE:
        return database.adjust(attempt, using, entry, queue_name=lever.to)
    if lever.verb is Verb.PRIORITY:
        return database.adjust(attempt, using, entry, priority=lever.priority)
    # One that another person has just discarded must not run after all.
    before = row.exception if attempt.status == FAILED else None
    return database.requeue(attempt, using, entry, before=before)


def _ask(lever: Lever, row: Row, held: Running | None) -> Result:
    """Have the worker of a running task ended."""
    attempt = row.attempt
    wish = Wish(str(attempt.task_id), attempt.number, lever.verb.value, lever.noticed_by, lever.why)
    if held is None or held.owner is None or not wishes.record(wish, held.owner, lever.using):
        return _result(row, Outcome.CHANGED, "it changed meanwhile: look again")
    logger.warning(
        "task.unwanted",
        task_id=wish.task_id,
        task=attempt.task_path,
        worker_id=attempt.owner,
        noticed_by=wish.by,
        why=wish.why,
    )
    return _result(row, Outcome.ASKED, "")


def _held(row: Row, census: Census | None) -> Running | None:
    running = census.running if census is not None else []
    return next((each for each in running if each.attempt == row.attempt), None)


ACTIONS = {
    Verb.REQUEUE: LedgerEntry.Action.REQUEUED,
    Verb.RELEASE: LedgerEntry.Action.REQUEUED,
    Verb.FAIL: LedgerEntry.Action.FAILED,
    Verb.DISCARD: LedgerEntry.Action.DISCARDED,
    Verb.MOVE: LedgerEntry.Action.MOVED,
    Verb.PRIORITY: LedgerEntry.Action.PRIORITIZED,
}


def said(lever: Lever) -> str:
    """What is done, in words."""
    words: dict[Any, str] = {
        Verb.RELEASE: "released",
        Verb.MOVE: f"moved to queue {lever.to}",
        Verb.PRIORITY: f"given priority {lever.priority}",
    }
    return words.get(lever.verb, ACTIONS[lever.verb].value)


def _was(lever: Lever, row: Row, held: Running | None) -> str:
    """The state it was found in, in words."""
    attempt = row.attempt
    if lever.verb is Verb.MOVE:
        return f"{attempt.status} in queue {attempt.queue_name}"
    if lever.verb is Verb.PRIORITY:
        return f"{attempt.status} with priority {row.priority}"
    if attempt.status == FAILED and row.exception:
        return f"FAILED with {row.exception.rpartition('.')[2]}"
    if attempt.status == READY and row.is_scheduled(timezone.now()):
        return "READY, but not yet due"
    if held is not None:
        known = {"lost": "dead", "running": "alive"}.get(held.state, held.state)
        return f"RUNNING under {held.worker}, which is {known}"
    return attempt.status


def _entry(lever: Lever, row: Row, held: Running | None, was: str) -> LedgerEntry:
    attempt, owner = row.attempt, held.owner if held is not None else None
    why = f" Why: {lever.why}" if lever.why else ""
    entry = attempt.entry(
        verdict=LedgerEntry.Verdict.MANUAL,
        action=ACTIONS[lever.verb].value,
        evidence=f"{said(lever)} by hand by {lever.noticed_by}; it was {was}.{why}",
        noticed_by=lever.noticed_by,
    )
    if owner is not None:
        entry.host, entry.last_proof_of_life = owner.hostname, owner.last_beat_at
        entry.exit_signal, entry.exit_status = owner.exit_signal, owner.exit_status
    return entry


def log_act(entry: LedgerEntry, why: str, **more: str) -> None:
    """What is in the ledger now, for the log."""
    logger.warning(
        f"task.{entry.action}",
        task_id=entry.task_key or str(entry.task_id),
        task=entry.task_path,
        attempt=entry.attempt,
        verdict=str(entry.verdict),
        noticed_by=entry.noticed_by,
        why=why,
        **more,
    )
