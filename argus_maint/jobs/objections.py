"""Why a lever leaves a task alone: what it is already, what is refused, and in which words.

``of(lever, row, held, census)`` returns an outcome and its words, or None where nothing
speaks against it. ``held`` is who runs the task, by the ``census``.
"""

from __future__ import annotations

from django.utils import timezone

from argus_maint.backends.database import FAILED, READY, RUNNING, SUCCESSFUL
from argus_maint.backends.search import Row, configured_queues
from argus_maint.exceptions import TaskDiscarded, TaskQuarantined
from argus_maint.jobs.lever import Lever, Outcome, Verb
from argus_maint.observe.census import Census, Running
from argus_maint.observe.screen import span
from argus_maint.options import did_you_mean

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


def _release(lever: Lever, row: Row) -> Objection:
    if row.attempt.status == READY:
        return Outcome.NOTHING, "it is READY: nothing to do"
    if row.attempt.status != FAILED or row.exception != path_of(TaskQuarantined):
        return Outcome.REFUSED, f"{_state(row)}, and not quarantined; maint requeue is for those"
    return None


def _discard(lever: Lever, row: Row) -> Objection:
    if row.attempt.status != FAILED:
        hint = "; to give it up: maint fail" if row.attempt.status == READY else ""
        return Outcome.REFUSED, f"{_state(row)}: only a FAILED task is discarded{hint}"
    if row.exception == path_of(TaskDiscarded):
        return Outcome.NOTHING, "it was given up by a person already: nothing to do"
    return None


def _move(lever: Lever, row: Row) -> Objection:
    if row.attempt.status != READY:
        return Outcome.REFUSED, f"{_state(row)}: only a READY task is moved"
    if row.attempt.queue_name == lever.to:
        return Outcome.NOTHING, f"it is in queue {lever.to} already: nothing to do"
    known = configured_queues(row.attempt.backend_name)
    if known and lever.to not in known:
        line = f"its backend {row.attempt.backend_name} has no queue {lever.to!r}."
        return Outcome.REFUSED, line + did_you_mean(lever.to, known)
    return None


def _prioritize(lever: Lever, row: Row) -> Objection:
    if row.attempt.status != READY:
        return Outcome.REFUSED, f"{_state(row)}: only a READY task has use for a priority"
    if row.priority == lever.priority:
        return Outcome.NOTHING, f"its priority is {lever.priority} already: nothing to do"
    return None


def _state(row: Row) -> str:
    error = row.exception.rpartition(".")[2] if row.attempt.status == FAILED else ""
    return f"it is {row.attempt.status}" + (f" with {error}" if error else "")


def path_of(error: type) -> str:
    """The dotted path of an exception class, as a FAILED row holds it."""
    return f"{error.__module__}.{error.__qualname__}"


_OF_STATUS = {READY: _ready, RUNNING: _running, FAILED: _failed, SUCCESSFUL: _successful}
_OF_VERB = {
    Verb.RELEASE: _release,
    Verb.DISCARD: _discard,
    Verb.MOVE: _move,
    Verb.PRIORITY: _prioritize,
}


def of(lever: Lever, row: Row, held: Running | None, census: Census | None) -> Objection:
    """What speaks against it."""
    if lever.verb in _OF_VERB:
        return _OF_VERB[lever.verb](lever, row)
    return _OF_STATUS[row.attempt.status](lever, row, held, census)
