"""Requeue and fail by hand: what is done, what is refused, and the trace it leaves."""

from __future__ import annotations

import getpass
import socket
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.db import OperationalError
from django_tasks_db.management.commands.db_worker import task_finished
from django_tasks_db.models import DBTaskResult, get_date_max

from argus_maint.backends import database
from argus_maint.exceptions import TaskDiscarded
from argus_maint.jobs import levers, rescue
from argus_maint.jobs.levers import Lever, Outcome, Result, Verb
from argus_maint.jobs.rescue import View
from argus_maint.models import LedgerEntry, Process
from argus_maint.workers import identity
from argus_maint.workers.identity import this_host
from tests import rows

pytestmark = pytest.mark.django_db
REQUEUE = Lever(Verb.REQUEUE, "default", "alice@host")
FAIL = replace(REQUEUE, verb=Verb.FAIL)


@pytest.fixture
def finished() -> Iterator[list[Any]]:
    """Every ``task_finished`` that is sent."""
    heard: list[Any] = []

    def hear(sender: Any, task_result: Any, **kwargs: Any) -> None:
        heard.append(task_result)

    task_finished.connect(hear)
    yield heard
    task_finished.disconnect(hear)


def _pull(lever: Lever, *ids: uuid.UUID) -> list[Result]:
    results: list[Result] = []
    assert levers.pull(lever, ids, results.append) == ""
    return results


def _one(lever: Lever, row: DBTaskResult) -> Result:
    (result,) = _pull(lever, row.pk)
    return result


def _again(row: DBTaskResult) -> DBTaskResult:
    return DBTaskResult.objects.get(pk=row.pk)


def test_a_failed_task_is_ready_again_and_the_ledger_says_who_and_why(finished: list[Any]) -> None:
    row = rows.task("FAILED", workers=("w.1", "w.2"))
    result = _one(replace(REQUEUE, why="mail is back"), row)
    assert (result.outcome, result.message) == (Outcome.DONE, "it was FAILED with ValueError")
    now = _again(row)
    assert (now.status, now.run_after, now.finished_at) == ("READY", get_date_max(), None)
    assert (now.exception_class_path, now.worker_ids) == ("", ["w.1", "w.2"])
    entry = LedgerEntry.objects.get()
    assert (entry.verdict, entry.action, entry.noticed_by) == ("manual", "requeued", "alice@host")
    assert (entry.attempt, entry.counted, entry.losses) == (2, False, 0)
    assert entry.evidence == (
        "requeued by hand by alice@host; it was FAILED with ValueError. Why: mail is back"
    )
    assert not finished


def test_a_requeue_forgives_the_losses_and_a_failure_does_not() -> None:
    row = rows.task("FAILED", workers=("w.1",))
    rows.entry(row)
    assert database.losses(row.pk, "default") == 1
    _one(REQUEUE, row)
    assert database.losses(row.pk, "default") == 0
    rows.entry(row)
    _one(FAIL, row)
    assert database.losses(row.pk, "default") == 1


def test_a_scheduled_task_is_made_due_and_a_due_one_left_alone() -> None:
    later = rows.task(run_after=rows.ago(-3600))
    assert _one(REQUEUE, later).outcome is Outcome.DONE
    assert _again(later).run_after == get_date_max()
    result = _one(REQUEUE, later)
    assert (result.outcome, result.message) == (
        Outcome.NOTHING,
        "it is READY and due: nothing to do",
    )
    assert LedgerEntry.objects.count() == 1


def test_a_successful_task_runs_twice_only_when_that_is_said() -> None:
    row = rows.task("SUCCESSFUL", return_value=3)
    result = _one(REQUEUE, row)
    assert result.outcome is Outcome.REFUSED and "--again" in result.message
    assert _one(replace(REQUEUE, again=True), row).outcome is Outcome.DONE
    assert (_again(row).status, _again(row).return_value) == ("READY", None)


def test_a_failed_by_hand_task_tells_of_it(finished: list[Any]) -> None:
    row = rows.task(path="tests.tasks.add")
    assert _one(replace(FAIL, why="not wanted"), row).outcome is Outcome.DONE
    now = _again(row)
    assert (now.status, now.started_at) == ("FAILED", None)
    assert now.exception_class_path == "argus_maint.exceptions.TaskDiscarded"
    assert "by alice@host; it was READY. Why: not wanted" in now.traceback
    assert [each.id for each in finished] == [str(row.pk)]
    assert finished[0].errors[-1].exception_class is TaskDiscarded


@pytest.mark.parametrize(
    ("status", "outcome"), [("FAILED", Outcome.NOTHING), ("SUCCESSFUL", Outcome.REFUSED)]
)
def test_what_has_finished_is_not_failed(
    status: str, outcome: Outcome, finished: list[Any]
) -> None:
    assert _one(FAIL, rows.task(status)).outcome is outcome
    assert not finished and not LedgerEntry.objects.exists()


@pytest.mark.parametrize("lever", [REQUEUE, FAIL, replace(REQUEUE, unregistered_after=1.0)])
def test_a_task_of_a_living_worker_is_never_touched(lever: Lever) -> None:
    owner = rows.process("web")
    row = rows.task("RUNNING", workers=(owner.worker_id,), age=99999)
    result = _one(lever, row)
    assert result.outcome is Outcome.REFUSED
    assert f"web.1 (pid {owner.pid} on {owner.hostname}), which is alive" in result.message
    assert _again(row).status == "RUNNING"
    assert not LedgerEntry.objects.exists()


def test_the_worker_of_a_task_is_asked_to_end_and_nothing_else_is_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(levers, "PATIENCE", 0)
    kill = replace(FAIL, kill=True, why="hangs")
    owner = rows.process("web")
    row = rows.task("RUNNING", workers=(owner.worker_id,))
    dry = _one(replace(kill, dry_run=True), row)
    assert dry.message == "it is RUNNING under web.1, which is alive, and would be ended first"
    owner.refresh_from_db()
    assert "wish" not in owner.info
    assert _one(kill, row).outcome is Outcome.ASKED
    owner.refresh_from_db()
    assert owner.info["queues"] == ["*"]
    assert owner.info["wish"] == {
        "task_id": str(row.pk),
        "attempt": 1,
        "verb": "fail",
        "by": "alice@host",
        "why": "hangs",
    }
    assert _again(row).status == "RUNNING"
    assert not LedgerEntry.objects.exists()


@pytest.mark.parametrize(
    ("verb", "status", "raised"),
    [("fail", "FAILED", "argus_maint.exceptions.TaskDiscarded"), ("requeue", "READY", "")],
)
def test_whoever_finds_the_worker_dead_does_as_wished(verb: str, status: str, raised: str) -> None:
    wished, other = rows.lost(), rows.lost()
    for row in (wished, other):  # of another attempt of the second: that one has moved on
        wish = {"task_id": str(row.pk), "verb": verb, "by": "alice@host", "why": "hangs"}
        attempt = 1 if row is wished else 2
        owner = Process.objects.get(worker_id=row.worker_ids[-1])
        Process.objects.filter(pk=owner.pk).update(
            info={**owner.info, "wish": {**wish, "attempt": attempt}}
        )
    rescue.run(View(using="default", noticed_by="w@host", host=this_host()))
    now = _again(wished)
    assert (now.status, now.exception_class_path) == (status, raised)
    entry = LedgerEntry.objects.get(task_id=wished.pk)
    assert (entry.verdict, entry.action, entry.counted) == ("manual", now_done(verb), False)
    assert (entry.noticed_by, entry.losses, entry.delay) == ("alice@host", 0, 0)
    assert entry.evidence.startswith(f"{now_done(verb)} by hand by alice@host, who had its worker")
    assert entry.evidence.endswith("Why: hangs")
    assert LedgerEntry.objects.get(task_id=other.pk).verdict == "exited"


def now_done(verb: str) -> str:
    return {"fail": "failed", "requeue": "requeued"}[verb]


@pytest.mark.parametrize(("lever", "status"), [(REQUEUE, "READY"), (FAIL, "FAILED")])
def test_a_task_of_a_dead_worker_is_acted_on(lever: Lever, status: str) -> None:
    row = rows.lost()
    assert _one(lever, row).outcome is Outcome.DONE
    assert _again(row).status == status
    entry = LedgerEntry.objects.get()
    assert entry.last_proof_of_life is not None and entry.host == socket.gethostname()
    assert "RUNNING under gone" in entry.evidence and "which is dead" in entry.evidence


def test_a_lease_that_ran_out_is_no_proof() -> None:
    owner = rows.process("far", host=rows.elsewhere(), silent=600)
    row = rows.task("RUNNING", workers=(owner.worker_id,))
    result = _one(REQUEUE, row)
    assert result.outcome is Outcome.REFUSED
    assert "manage.py maint rescue" in result.message
    assert _again(row).status == "RUNNING"


def test_an_unregistered_task_waits_from_our_first_look() -> None:
    row = rows.task("RUNNING", workers=("stock",), age=99999)
    hour = replace(REQUEUE, unregistered_after=3600.0)
    refused = _one(REQUEUE, row)
    assert refused.outcome is Outcome.REFUSED and "--unregistered --older-than" in refused.message
    assert "not seen before" in _one(hour, row).message
    rows.seen(row, 3000)
    young = _one(hour, row)
    assert (young.outcome, "come back in 9m" in young.message) == (Outcome.YOUNG, True)
    assert young.message.endswith("if you know that it is gone: --older-than 1s")
    rows.Sighting.objects.update(first_seen_at=rows.db_now("default") - rows.timedelta(hours=2))
    assert _one(hour, row).outcome is Outcome.DONE
    assert "under stock, which is unregistered" in LedgerEntry.objects.get().evidence


def test_a_sighting_of_an_earlier_attempt_does_not_count() -> None:
    row = rows.task("RUNNING", workers=("stock",))
    rows.seen(row, 7200)
    DBTaskResult.objects.filter(pk=row.pk).update(worker_ids=["stock", "stock"])
    assert _one(replace(FAIL, unregistered_after=3600.0), row).outcome is Outcome.YOUNG


def test_a_dry_run_changes_nothing(finished: list[Any]) -> None:
    for lever, row in [(REQUEUE, rows.task("FAILED")), (FAIL, rows.lost()), (FAIL, rows.task())]:
        assert _one(replace(lever, dry_run=True), row).outcome is Outcome.DONE
        assert _again(row).status == row.status
    assert not LedgerEntry.objects.exists() and not finished


def test_a_task_that_is_gone_or_has_another_status_by_now_is_left_alone() -> None:
    row = rows.task("SUCCESSFUL")
    gone, changed = _pull(replace(REQUEUE, only="FAILED", again=True), uuid.uuid4(), row.pk)
    assert (gone.outcome, changed.outcome) == (Outcome.CHANGED, Outcome.CHANGED)
    assert changed.message == "it is SUCCESSFUL by now"


def test_who_is_quicker_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    row = rows.task("FAILED")
    real = database.requeue

    def second(attempt: Any, using: str, entry: LedgerEntry, **values: Any) -> bool:
        DBTaskResult.objects.filter(pk=row.pk).update(status="READY")
        return real(attempt, using, entry, **values)

    monkeypatch.setattr(database, "requeue", second)
    assert _one(REQUEUE, row).outcome is Outcome.CHANGED
    assert not LedgerEntry.objects.exists()


def test_one_bad_row_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    bad, good = rows.task("FAILED"), rows.task("FAILED")
    real = database.requeue

    def sometimes(attempt: Any, using: str, entry: LedgerEntry, **values: Any) -> bool:
        if attempt.task_id == bad.pk:
            raise ValueError("two\nlines")
        return real(attempt, using, entry, **values)

    monkeypatch.setattr(database, "requeue", sometimes)
    first, second = _pull(REQUEUE, bad.pk, good.pk)
    assert (first.outcome, first.message) == (Outcome.ERROR, "ValueError: two lines")
    assert second.outcome is Outcome.DONE


@pytest.mark.django_db(transaction=True)
def test_a_database_that_stays_away_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [rows.task().pk for _ in range(6)]
    tried = []

    def away(attempt: Any, *args: Any) -> bool:
        tried.append(attempt)
        raise OperationalError("server closed the connection")

    monkeypatch.setattr(database, "fail", away)
    results: list[Result] = []
    assert "server closed" in levers.pull(FAIL, ids, results.append)
    assert len(tried) == len(results) == 3


def test_what_was_failed_is_announced_when_a_person_interrupts(finished: list[Any]) -> None:
    ids = [rows.task().pk for _ in range(3)]
    seen: list[Result] = []

    def interrupt(result: Result) -> None:
        seen.append(result)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        levers.pull(FAIL, ids, interrupt)
    assert {each.id for each in finished} == {str(each) for each in ids[:2]}


def test_many_tasks_go_in_chunks_and_cost_the_same_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(levers, "CHUNK", 4)
    ids = [rows.lost().pk for _ in range(10)]
    assert {result.outcome for result in _pull(REQUEUE, *ids)} == {Outcome.DONE}
    assert LedgerEntry.objects.filter(action="requeued").count() == 10


def test_the_operator_is_a_person_on_a_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "alice")
    assert identity.operator() == f"alice@{socket.gethostname()}"
    monkeypatch.delenv("SUDO_USER")
    monkeypatch.setattr(getpass, "getuser", lambda: "bob")
    assert identity.operator().startswith("bob@")

    def nobody() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert identity.operator().startswith("uid")
