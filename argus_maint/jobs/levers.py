"""Levers: requeue or fail tasks by hand, one at a time, each with its ledger entry.

``pull(lever, ids, tell)`` tells one ``Result`` for each task, in order. A task whose worker
is alive is never touched: the worker would go on, and the task would run twice. With
``kill`` its supervisor ends that worker first (``jobs.wishes``). A worker whose lease ran
out is dead only once that is confirmed, which is what ``maint rescue`` does.

A requeue by hand forgives the losses so far (``backends.database.losses``). A failure
is ``TaskDiscarded``; ``task_finished`` is sent for it.

Events: ``task.requeued``, ``task.failed``, with ``verdict=manual``; ``task.unwanted``,
``lever.error``.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from django.db import Error
from django.utils import timezone

from argus_maint.backends import database, search
from argus_maint.backends.database import FAILED, READY, RUNNING, SUCCESSFUL, Attempt
from argus_maint.backends.search import Row
from argus_maint.database import TRANSIENT, discard
from argus_maint.exceptions import TaskDiscarded
from argus_maint.jobs import wishes
from argus_maint.jobs.wishes import Wish
from argus_maint.log import get_logger
from argus_maint.models import LedgerEntry
from argus_maint.observe import census as look
from argus_maint.observe.census import Census, Running
from argus_maint.observe.screen import span
from argus_maint.workers import messenger

logger = get_logger(__name__)
CHUNK = 200  # tasks between two looks at who is alive
GIVE_UP = 3  # errors of the database in a row
PATIENCE = 30.0  # seconds for a worker to be ended: a beat, TERM, KILL, and a lease where all died


class Verb(str, Enum):
    """What to do with a task."""

    REQUEUE = "requeue"
    FAIL = "fail"


class Outcome(str, Enum):
    """What became of one task."""

    DONE = "done"
    NOTHING = "nothing"  # it is as it was asked to be
    REFUSED = "refused"
    CHANGED = "changed"  # another was quicker
    YOUNG = "young"  # unregistered, and not seen for long enough
    LOCKED = "locked"
    ERROR = "error"
    ASKED = "asked"  # its worker is to be ended; that has not happened yet


COULD_NOT = {Outcome.REFUSED, Outcome.LOCKED, Outcome.ERROR, Outcome.ASKED}


@dataclass(frozen=True, slots=True)
class Lever:
    """What is asked for, by whom and why.

    ``unregistered_after`` allows tasks under an unknown worker that we have seen RUNNING
    for that many seconds; ``again`` allows SUCCESSFUL tasks. ``only`` names the status in
    which the tasks were found: one that has another by now is left alone. ``kill`` has the
    worker of a running task ended first.
    """

    verb: Verb
    using: str
    noticed_by: str
    why: str = ""
    only: str = ""
    again: bool = False
    unregistered_after: float | None = None
    dry_run: bool = False
    kill: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one task, and why."""

    task_id: uuid.UUID
    task_path: str
    status: str  # before
    outcome: Outcome
    message: str


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
    objection = _OBJECTIONS[row.attempt.status](lever, row, held, census)
    if objection is not None:
        return _result(row, *objection)
    was = _was(row, held)
    live = held is not None and held.state == "running"
    if lever.dry_run:
        first = ", and would be ended first" if live else ""
        return _result(row, Outcome.DONE, f"it is {was}{first}")
    if live:
        return _ask(lever, row, held)
    entry = _entry(lever, row, held, was)
    if lever.verb is Verb.REQUEUE:
        done = database.requeue(row.attempt, lever.using, entry)
    else:
        done = database.fail(row.attempt, lever.using, entry, TaskDiscarded, entry.evidence)
    if done:
        _log(entry, lever.why)
        return _result(row, Outcome.DONE, f"it was {was}")
    if database.still_there(row.attempt, lever.using):
        return _result(row, Outcome.LOCKED, "another transaction holds its row: try again")
    return _result(row, Outcome.CHANGED, "it changed meanwhile: look again")


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


Objection = tuple[Outcome, str] | None


def _ready(lever: Lever, row: Row, held: Running | None, census: Census | None) -> Objection:
    if lever.verb is Verb.REQUEUE and not row.is_scheduled(timezone.now()):
        return Outcome.NOTHING, "it is READY and due: nothing to do"
    return None


def _failed(lever: Lever, row: Row, held: Running | None, census: Census | None) -> Objection:
    if lever.verb is Verb.FAIL:
        return Outcome.NOTHING, "it is FAILED already: nothing to do"
    return None


def _successful(lever: Lever, row: Row, held: Running | None, census: Census | None) -> Objection:
    if lever.verb is Verb.FAIL:
        return Outcome.REFUSED, "it was SUCCESSFUL: there is nothing to give up"
    if not lever.again:
        return Outcome.REFUSED, "it was SUCCESSFUL and would run twice; if you mean it: --again"
    return None


def _running(lever: Lever, row: Row, held: Running | None, census: Census | None) -> Objection:
    """No live task is touched, and what nobody can tell is not guessed."""
    if held is None or census is None:
        return Outcome.CHANGED, "it changed meanwhile: look again"
    if held.state == "unregistered":
        return _unregistered(lever, held, census)
    owner = held.owner
    assert owner is not None
    who = f"{held.worker} (pid {owner.pid} on {owner.hostname})"
    if held.state == "running":
        if lever.kill:
            return None
        line = f"it runs now under {who}, which is alive; to end that worker first: --kill"
        return Outcome.REFUSED, line
    if not held.confirmed:
        return (
            Outcome.REFUSED,
            f"the lease of {who} ran out, which does not prove its death; "
            "to make sure: manage.py maint rescue",
        )
    return None


def _unregistered(lever: Lever, held: Running, census: Census) -> Objection:
    who = f"worker {held.attempt.owner or '(none)'}"
    if lever.unregistered_after is None:
        return (
            Outcome.REFUSED,
            f"{who} never registered, so nobody can tell whether it is alive; "
            "if you know that it is gone: --unregistered --older-than 1s",
        )
    age = 0.0
    if held.first_seen_at is not None:
        age = (census.taken_at - held.first_seen_at).total_seconds()
    left = lever.unregistered_after - age
    if left <= 0:
        return None
    seen = f"first seen {span(age)} ago" if held.first_seen_at is not None else "not seen before"
    line = f"{who}: {seen}, so come back in {span(left)}"
    return Outcome.YOUNG, f"{line}; if you know that it is gone: --older-than 1s"


_OBJECTIONS = {READY: _ready, RUNNING: _running, FAILED: _failed, SUCCESSFUL: _successful}


def _was(row: Row, held: Running | None) -> str:
    """The state it was found in, in words."""
    attempt = row.attempt
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
    done = "requeued" if lever.verb is Verb.REQUEUE else "failed"
    why = f" Why: {lever.why}" if lever.why else ""
    entry = attempt.entry(
        verdict=LedgerEntry.Verdict.MANUAL,
        action=done,
        evidence=f"{done} by hand by {lever.noticed_by}; it was {was}.{why}",
        noticed_by=lever.noticed_by,
    )
    if owner is not None:
        entry.host, entry.last_proof_of_life = owner.hostname, owner.last_beat_at
        entry.exit_signal, entry.exit_status = owner.exit_signal, owner.exit_status
    return entry


def _log(entry: LedgerEntry, why: str) -> None:
    logger.warning(
        f"task.{entry.action}",
        task_id=str(entry.task_id),
        task=entry.task_path,
        attempt=entry.attempt,
        verdict=str(entry.verdict),
        noticed_by=entry.noticed_by,
        why=why,
    )
