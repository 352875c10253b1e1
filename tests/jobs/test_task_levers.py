"""Release, discard, move and priority: what is done, what is refused, and the trace."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

import pytest
from django.db import connection
from django.test import override_settings
from django_tasks_db.models import DBTaskResult

from argus_maint.backends import database
from argus_maint.exceptions import TaskDiscarded, TaskQuarantined
from argus_maint.jobs import levers, targets
from argus_maint.jobs.levers import Lever, Outcome, Result, Verb
from argus_maint.jobs.objections import path_of
from argus_maint.models import LedgerEntry
from argus_maint.workers import claim
from argus_maint.workers.claim import Queues
from tests import rows

pytestmark = pytest.mark.django_db
MOVE = Lever(Verb.MOVE, "default", "alice@host", why="too slow", to="bulk")
PRIORITY = Lever(Verb.PRIORITY, "default", "alice@host", priority=50)
RELEASE = Lever(Verb.RELEASE, "default", "alice@host")
DISCARD = Lever(Verb.DISCARD, "default", "alice@host", why="seen to")
QUARANTINED = path_of(TaskQuarantined)


def _one(lever: Lever, row: DBTaskResult) -> Result:
    results: list[Result] = []
    assert levers.pull(lever, [row.pk], results.append) == ""
    row.refresh_from_db()
    return results[0]


def _quarantined(**values: Any) -> DBTaskResult:
    return rows.task("FAILED", workers=("a", "b"), exception_class_path=QUARANTINED, **values)


def test_a_ready_task_is_moved_and_keeps_its_place_in_time() -> None:
    due = rows.ago(-3600)
    row = rows.task(queue_name="mail", priority=7, run_after=due)
    assert _one(MOVE, row).message == "it was READY in queue mail"
    assert (row.queue_name, row.priority, row.run_after, row.status) == ("bulk", 7, due, "READY")
    entry = LedgerEntry.objects.get()
    assert (entry.action, entry.verdict, entry.queue_name) == ("moved", "manual", "mail")
    assert entry.evidence == (
        "moved to queue bulk by hand by alice@host; it was READY in queue mail. Why: too slow"
    )
    assert _one(MOVE, row).outcome is Outcome.NOTHING


def test_a_priority_is_set_and_the_ledger_knows_the_one_before() -> None:
    row = rows.task(priority=-3)
    assert _one(PRIORITY, row).outcome is Outcome.DONE
    assert row.priority == 50
    entry = LedgerEntry.objects.get()
    assert entry.action == "prioritized"
    assert "given priority 50 by hand by alice@host; it was READY with priority -3" in (
        entry.evidence
    )
    assert _one(PRIORITY, row).message == "its priority is 50 already: nothing to do"


@pytest.mark.parametrize("lever", [MOVE, PRIORITY])
@pytest.mark.parametrize("status", ["RUNNING", "FAILED", "SUCCESSFUL"])
def test_only_what_waits_is_moved(lever: Lever, status: str) -> None:
    row = rows.task(status, workers=("w.1",))
    result = _one(lever, row)
    assert result.outcome is Outcome.REFUSED and "only a READY task" in result.message
    assert not LedgerEntry.objects.exists()


def test_a_task_goes_to_no_queue_that_its_backend_lacks() -> None:
    backend = {"BACKEND": "django_tasks_db.DatabaseBackend", "QUEUES": ["default", "bulky"]}
    row = rows.task()
    with override_settings(TASKS={"default": backend}):
        result = _one(MOVE, row)
    assert result.outcome is Outcome.REFUSED
    assert result.message == "its backend default has no queue 'bulk'. Did you mean \"bulky\"?"


def test_a_released_task_starts_anew() -> None:
    row = _quarantined()
    rows.entry(row, action="quarantined", losses=3)
    assert _one(RELEASE, row).message == "it was FAILED with TaskQuarantined"
    assert (row.status, row.exception_class_path) == ("READY", "")
    assert database.losses(row.pk, "default") == 0
    entry = LedgerEntry.objects.order_by("pk").last()
    assert entry is not None
    assert entry.action == "requeued" and entry.evidence.startswith("released by hand")
    assert _one(RELEASE, row).outcome is Outcome.NOTHING


@pytest.mark.parametrize("status", ["RUNNING", "FAILED", "SUCCESSFUL"])
def test_only_what_is_quarantined_is_released(status: str) -> None:
    result = _one(RELEASE, rows.task(status, workers=("w.1",)))
    assert result.outcome is Outcome.REFUSED and "not quarantined" in result.message


def test_a_discarded_task_stays_failed_and_keeps_its_error() -> None:
    row = rows.task("FAILED", workers=("w.1",), age=60, traceback="Traceback: deep 100% trouble")
    before = row.finished_at
    row.refresh_from_db()
    assert _one(DISCARD, row).message == "it was FAILED with ValueError"
    assert (row.status, row.exception_class_path) == ("FAILED", path_of(TaskDiscarded))
    assert row.finished_at == before  # its retention counts from the failure
    assert row.traceback == (
        "argus_maint.exceptions.TaskDiscarded: discarded by hand by alice@host; it was FAILED "
        "with ValueError. Why: seen to\n\nBefore that:\n\nTraceback: deep 100% trouble"
    )
    assert LedgerEntry.objects.get().action == "discarded"
    assert _one(DISCARD, row).outcome is Outcome.NOTHING
    assert _one(replace(DISCARD, verb=Verb.REQUEUE), row).outcome is Outcome.DONE


@pytest.mark.parametrize("status", ["READY", "RUNNING", "SUCCESSFUL"])
def test_only_a_failure_is_discarded(status: str) -> None:
    result = _one(DISCARD, rows.task(status))
    assert result.outcome is Outcome.REFUSED and "only a FAILED task" in result.message


@pytest.mark.parametrize("lever", [MOVE, PRIORITY, RELEASE, DISCARD])
def test_a_dry_run_writes_nothing(lever: Lever) -> None:
    row = rows.task() if lever in (MOVE, PRIORITY) else _quarantined()
    state = list(DBTaskResult.objects.values())
    assert _one(replace(lever, dry_run=True), row).outcome is Outcome.DONE
    assert list(DBTaskResult.objects.values()) == state
    assert not LedgerEntry.objects.exists()


def test_descriptions_find_what_nobody_has_seen_to() -> None:
    poison = _quarantined(path="shop.tasks.poison", age=7200)
    plain = rows.task("FAILED", path="shop.tasks.plain", age=60)
    rows.task("FAILED", exception_class_path=path_of(TaskDiscarded), age=60)
    any_, shop = targets.Filter(), targets.Filter(pattern="shop.*poison")
    assert targets.quarantined("default", any_).ids == [poison.pk]
    assert set(targets.unseen("default", any_).ids) == {poison.pk, plain.pk}
    assert targets.unseen("default", any_, 3600).ids == [plain.pk]
    assert targets.unseen("default", shop).ids == [poison.pk]


# -- races --------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("lever", [MOVE, PRIORITY])
def test_a_claim_between_the_look_and_the_act_wins(
    monkeypatch: pytest.MonkeyPatch, lever: Lever
) -> None:
    row, worker = rows.task(queue_name="mail"), rows.process()
    adjust = database.adjust

    def late(*arguments: Any, **values: Any) -> bool:
        assert claim.claim(Queues("default", ("*",)), worker.worker_id, "default")
        return adjust(*arguments, **values)

    monkeypatch.setattr(database, "adjust", late)
    result = _one(lever, row)
    assert (result.outcome, row.status) == (Outcome.CHANGED, "RUNNING")
    assert (row.queue_name, row.priority) == ("mail", 0)
    assert not LedgerEntry.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_move_between_the_look_and_the_claim_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a worker of the old queue would run it, as SQLite's claim is two statements."""
    if connection.vendor != "sqlite":
        pytest.skip("one statement")
    row, worker = rows.task(queue_name="mail"), rows.process()
    take = claim._take

    def late(*arguments: Any) -> Any:
        assert _one(MOVE, row).outcome in (Outcome.DONE, Outcome.NOTHING)
        return take(*arguments)

    monkeypatch.setattr(claim, "_take", late)
    assert claim.claim(Queues("default", ("mail",)), worker.worker_id, "default") is None
    row.refresh_from_db()
    assert (row.status, row.queue_name, row.worker_ids) == ("READY", "bulk", [])


def test_of_two_that_move_a_task_one_finds_it_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    row = rows.task(queue_name="mail")
    adjust = database.adjust

    def late(*arguments: Any, **values: Any) -> bool:
        DBTaskResult.objects.filter(pk=row.pk).update(queue_name="other")
        return adjust(*arguments, **values)

    monkeypatch.setattr(database, "adjust", late)
    assert _one(MOVE, row).outcome is Outcome.CHANGED
    assert row.queue_name == "other"


def test_of_two_that_see_to_a_failure_one_finds_it_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = rows.task("FAILED")
    see_to = database.see_to

    def late(*arguments: Any) -> bool:
        DBTaskResult.objects.filter(pk=row.pk).update(exception_class_path=path_of(TaskDiscarded))
        return see_to(*arguments)

    monkeypatch.setattr(database, "see_to", late)
    result = _one(DISCARD, row)
    assert result.outcome in (Outcome.CHANGED, Outcome.LOCKED)
    assert not LedgerEntry.objects.exists()


@pytest.mark.parametrize("lever", [RELEASE, Lever(Verb.REQUEUE, "default", "alice@host")])
def test_what_another_discards_meanwhile_does_not_run_again(
    lever: Lever, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = _quarantined()
    requeue = database.requeue

    def late(*arguments: Any, **values: Any) -> bool:
        assert _one(DISCARD, row).outcome is Outcome.DONE
        return requeue(*arguments, **values)

    monkeypatch.setattr(database, "requeue", late)
    assert _one(lever, row).outcome in (Outcome.CHANGED, Outcome.LOCKED)
    assert (row.status, row.exception_class_path) == ("FAILED", path_of(TaskDiscarded))
    assert LedgerEntry.objects.get().action == "discarded"


def test_what_is_gone_is_told() -> None:
    results: list[Result] = []
    levers.pull(MOVE, [uuid.uuid4()], results.append)
    assert results[0].outcome is Outcome.CHANGED
