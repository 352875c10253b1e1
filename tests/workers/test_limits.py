"""Tasks that take too long: reported with their stack, and ended where policy says so."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from argus_maint.models import LedgerEntry
from argus_maint.workers import limits as module
from argus_maint.workers.board import Board, Phase
from argus_maint.workers.children import Child, scratch_file
from argus_maint.workers.limits import KILL_AFTER, STACK_AFTER, Limits
from argus_maint.workers.orders import Outbox
from tests import tasks
from tests.lab import Lab, until
from tests.workers import chores


def report(lab: Lab, result: Any) -> LedgerEntry:
    """The one report that a task is overdue."""
    return until(
        lambda: LedgerEntry.objects.filter(task_id=result.id, verdict="overdue").first(),
        what="a report",
    )


def test_an_overdue_task_is_reported_once_with_its_stack_and_goes_on(lab: Lab) -> None:
    worker = lab.worker("--lease=1").ready()
    result = tasks.too_long_reported.enqueue(lab.path("go"))

    entry = report(lab, result)
    assert (entry.action, entry.counted, entry.attempt) == ("reported", False, 1)
    assert "limit 1 s" in entry.evidence
    assert "in too_long_reported" in entry.evidence
    assert "in wait_for" in entry.evidence
    for ours in ("in execute", "in _work", "supervisor.py", "manage.py"):
        assert ours not in entry.evidence
    (row,) = worker.rows("supervisor")
    until(lambda: worker.rows("supervisor")[0].beats > row.beats + 2)
    Path(lab.path("go")).touch()

    lab.until_status(result, "SUCCESSFUL")
    assert len(lab.ledger(result)) == 1
    assert worker.log.count("task.overdue") == 1


def test_the_stack_is_there_though_the_task_holds_the_interpreter_lock(lab: Lab) -> None:
    os.mkfifo(lab.path("fifo"))
    lab.worker("--time-limit=0.5").ready()
    result = chores.read_with_the_lock.enqueue(lab.path("fifo"))
    assert "in read_with_the_lock" in report(lab, result).evidence
    Path(lab.path("fifo")).write_text("x")
    assert lab.until_status(result, "SUCCESSFUL").return_value == 1


def test_a_worker_that_is_stopped_has_no_stack_and_the_report_says_why(lab: Lab) -> None:
    lab.worker("--time-limit=3").ready()  # long enough to be stopped within
    result = tasks.wait_for.enqueue(lab.path("go"))
    pid = lab.holder(result).pid
    os.kill(pid, signal.SIGSTOP)
    evidence = report(lab, result).evidence
    assert "no stack" in evidence
    assert "State:\tT (stopped)" in evidence
    os.kill(pid, signal.SIGCONT)
    Path(lab.path("go")).touch()
    assert len(lab.until_status(result, "SUCCESSFUL").worker_ids) == 1


def test_killed_for_being_overdue_a_task_cleans_up_and_counts_as_lost(lab: Lab) -> None:
    lab.worker("--processes=2").ready(2)
    result = tasks.too_long.enqueue(lab.path("out"))

    row = lab.until_status(result, "FAILED")

    assert row.exception_class_path == "argus_maint.exceptions.TaskQuarantined"
    assert lab.lines("out") == ["begin", "cleaned up"] * 2
    lost = [entry for entry in lab.ledger(result) if entry.verdict == "exited"]
    assert [entry.action for entry in lost] == ["requeued", "quarantined"]
    assert {(entry.reason, entry.counted, entry.exit_signal) for entry in lost} == {
        ("overdue", True, "")
    }
    reports = LedgerEntry.objects.filter(task_id=result.id, verdict="overdue")
    assert [entry.attempt for entry in reports.order_by("pk")] == [1, 2]
    assert all("in too_long" in entry.evidence for entry in reports)


def test_what_a_task_prints_when_it_is_ended_is_not_lost(life: Lab) -> None:
    worker = life.worker("-v", "0", PYTHONUNBUFFERED="").ready()
    life.until_status(chores.tidy.enqueue(), "FAILED")
    until(lambda: "put away" in worker.log)


def test_a_task_that_ignores_its_end_is_killed(life: Lab) -> None:
    patch = json.dumps({"argus_maint.workers.limits.KILL_AFTER": 0.5})
    life.worker(LIFE_PATCH=patch).ready()
    result = chores.deaf.enqueue(life.path("out"))
    life.until_status(result, "FAILED")
    (lost,) = [entry for entry in life.ledger(result) if entry.verdict == "exited"]
    assert (lost.reason, lost.exit_signal) == ("overdue", "SIGKILL")
    assert life.lines("out") == ["begin", "caught"]


def test_time_limit_is_for_tasks_without_one_of_their_own(life: Lab) -> None:
    life.setting(RESCUE={"*": {"backoff": [0, 0], "max_losses": 1, "on_overdue": "kill"}})
    life.worker("--time-limit=0.5", "--processes=2").ready(2)
    patient = chores.patient.enqueue(life.path("go"))
    short, plain = tasks.add.enqueue(1, 2), tasks.sleep.enqueue(600)

    row = life.until_status(plain, "FAILED")
    assert row.exception_class_path == "argus_maint.exceptions.TaskQuarantined"
    assert "limit 0.5 s" in report(life, plain).evidence
    assert life.until_status(short, "SUCCESSFUL").return_value == 3
    Path(life.path("go")).touch()

    life.until_status(patient, "SUCCESSFUL")
    assert life.ledger(patient) == []
    assert life.ledger(short) == []


def test_receivers_that_hang_are_on_record_and_hold_their_worker_no_longer(life: Lab) -> None:
    life.setting(RESCUE={"*": {"time_limit": 0.5, "on_overdue": "kill"}})
    patch = json.dumps({"argus_maint.workers.limits.KILL_AFTER": 0.5})
    worker = life.worker(LIFE_SIGNALS=life.path("signals"), LIFE_HANG="1", LIFE_PATCH=patch)
    worker.ready()
    first, second = tasks.add.enqueue(1, 2), tasks.add.enqueue(3, 4)

    for result in (first, second):  # the second by the worker that replaces the first
        assert life.until_status(result, "SUCCESSFUL").return_value in (3, 7)
        entry = report(life, result)
        assert (entry.action, entry.reason, entry.counted) == ("reported", "receivers", False)
        assert "task_finished receivers run on" in entry.evidence
        assert "tests/workers/apps.py" in entry.evidence
        assert len(life.ledger(result)) == 1
    until(lambda: worker.log.count("reason=overdue") == 2, what="both workers ended")
    assert worker.log.count("held_task=false") == 2
    assert worker.stop() == 0


def test_a_stack_ends_with_the_frames_of_the_task() -> None:
    dump = """\
Thread 0x1 (most recent call first):
  File "/site/threads.py", line 3 in run

Current thread 0x2 (most recent call first):
  File "/site/tasks.py", line 9 in call
  File "/site/shop/tasks.py", line 5 in send
  File "/lib/django/tasks/base.py", line 120 in call
  File "/lib/argus_maint/workers/execution.py", line 45 in execute
  File "/site/manage.py", line 22 in <module>
Extension modules: psycopg_c"""
    kept = module._of_the_task(dump).splitlines()
    assert kept == [*dump.splitlines()[:6], "Extension modules: psycopg_c"]


# -- step by step ----------------------------------------------------------------------


class Bench:
    """Limits over one child that is no process; the clock and the signals are ours."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.clock = 1000.0
        self.sent: list[int] = []
        patch.setattr(module, "now", lambda: self.clock)
        patch.setattr(module.os, "kill", lambda pid, number: self.sent.append(number))
        board = Board(1)
        self.header, slot = board.header, board.slots[0]
        self.outbox = Outbox()
        slot.reset(1)
        self.limits = Limits(board, self.outbox, lease=6, beat=2)
        self.child = Child(1, 0, 2**22 + 1, -1, slot, scratch_file())

    def holds(self, limit: float, kill: bool = True) -> None:
        self.child.slot.hold(uuid4(), 1, self.clock, limit, kill)
        self.child.slot.raw.phase = Phase.RUNNING

    def doom(self, held: Any = None) -> None:
        """A person wants this attempt ended, or the one in hand."""
        held = held or self.child.slot.held()
        self.child.slot.doom(self.child.number, held.task_id, held.attempt)

    def after(self, seconds: float) -> list[int]:
        """Signals sent when the supervisor looks that much later."""
        self.clock += seconds
        before = len(self.sent)
        self.limits.enforce(self.child)
        return self.sent[before:]

    @property
    def orders(self) -> list[str]:
        return [order.kind for order in self.outbox.pending]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    bench = Bench(monkeypatch)
    yield bench
    os.close(bench.child.stack)


def test_stack_report_term_and_kill_come_in_this_order(bench: Bench) -> None:
    bench.holds(limit=10)
    assert bench.after(9.9) == []
    assert bench.after(0.2) == [module.STACK_SIGNAL]
    assert (bench.after(STACK_AFTER / 2), bench.orders) == ([], [])
    assert (bench.after(STACK_AFTER), bench.orders) == ([], ["overdue"])
    assert bench.after(0.1) == [signal.SIGTERM]
    assert bench.child.reason == "overdue"
    assert bench.after(KILL_AFTER / 2) == []
    assert bench.after(KILL_AFTER) == [signal.SIGKILL]
    assert bench.orders == ["overdue"]


def test_what_a_person_wants_ended_gets_term_and_then_kill(bench: Bench) -> None:
    bench.holds(limit=0)
    assert bench.after(9999) == []
    bench.doom()
    assert bench.after(0.1) == [signal.SIGTERM]
    assert bench.child.reason == "manual"
    assert bench.child.slot.raw.ending == bench.child.slot.raw.sequence
    assert bench.after(KILL_AFTER / 2) == []
    bench.doom()  # the keeper says so at every beat
    assert bench.after(KILL_AFTER) == [signal.SIGKILL]


def test_the_next_task_of_the_worker_is_not_ended_for_one_that_was_unwanted(bench: Bench) -> None:
    bench.holds(limit=0)
    bench.doom()
    unwanted = bench.child.slot.held()
    bench.child.slot.release()
    bench.holds(limit=0)
    assert bench.after(1) == []
    bench.doom(unwanted)  # said again, too late
    assert bench.after(KILL_AFTER + 1) == []
    assert bench.child.reason == ""


def test_nor_a_task_of_the_child_that_has_the_slot_next(bench: Bench) -> None:
    bench.holds(limit=0)
    bench.doom()
    mark = bench.child.slot.raw.doomed
    bench.child.slot.reset(2)
    bench.child.number = 2
    bench.holds(limit=0)
    bench.child.slot.raw.doomed = mark  # a keeper that was held up in the middle of it
    assert bench.after(KILL_AFTER + 1) == []


def test_an_outcome_in_hand_is_written_though_its_task_is_unwanted(bench: Bench) -> None:
    bench.holds(limit=0)
    bench.doom()
    bench.child.slot.raw.phase = Phase.FINISHING
    assert bench.after(1) == []
    bench.child.slot.raw.phase = Phase.RUNNING
    assert bench.after(1) == [signal.SIGTERM]
    bench.child.slot.raw.phase = Phase.FINISHING  # it ended at the same moment
    assert bench.after(KILL_AFTER + 1) == []
    bench.child.slot.release()
    assert bench.after(1) == []
    assert bench.child.reason == ""


def test_the_next_task_of_the_worker_is_not_ended_for_the_last(bench: Bench) -> None:
    bench.holds(limit=1)
    for _ in range(3):
        bench.after(1.1)
    assert bench.sent == [module.STACK_SIGNAL, signal.SIGTERM]
    bench.child.slot.release()  # it ended by itself after all
    bench.holds(limit=100)
    assert bench.after(KILL_AFTER + 1) == []
    assert bench.child.reason == ""
    assert bench.child.slot.raw.ending == 0


def test_an_outcome_that_is_being_written_is_not_overdue(bench: Bench) -> None:
    bench.holds(limit=1)
    bench.child.slot.raw.phase = Phase.FINISHING
    assert bench.after(60) == []


@pytest.mark.parametrize("limit", [0, 20])
def test_receivers_have_the_limit_of_their_task_anew_or_a_minute(
    bench: Bench, limit: float
) -> None:
    most = limit or module.RECEIVERS
    bench.holds(limit=limit, kill=False)
    bench.after(most - 1)
    bench.child.slot.announce(bench.clock)
    bench.child.slot.raw.phase = Phase.FINISHING
    assert bench.limits.next_due([bench.child]) == most
    assert bench.after(most - 1) == []
    assert bench.after(2) == [module.STACK_SIGNAL]
    bench.after(STACK_AFTER + 0.01)
    (order,) = bench.outbox.pending
    assert order.data["announcing"]
    assert order.data["limit"] == most


def test_only_reported_where_policy_says_so(bench: Bench) -> None:
    bench.holds(limit=1, kill=False)
    for _ in range(4):
        bench.after(10)
    assert bench.sent == [module.STACK_SIGNAL]
    assert bench.orders == ["overdue"]


@pytest.mark.parametrize("phase", [Phase.CLAIMING, Phase.FINISHING])
def test_a_worker_stuck_in_the_database_for_a_lease_is_ended(bench: Bench, phase: Phase) -> None:
    bench.child.slot.raw.phase = phase
    bench.child.slot.raw.call_since = bench.clock
    bench.header.last_commit = bench.clock + 6
    assert bench.after(5.9) == []
    assert bench.after(0.2) == [signal.SIGKILL]
    assert bench.child.reason == "stuck"


def test_a_worker_waits_with_its_keeper_for_a_database_that_is_away(bench: Bench) -> None:
    bench.child.slot.raw.phase = Phase.FINISHING
    bench.child.slot.raw.call_since = bench.header.last_commit = bench.clock
    assert bench.after(60) == []


def test_a_task_may_query_for_as_long_as_it_likes(bench: Bench) -> None:
    bench.holds(limit=0)
    bench.child.slot.raw.call_since = 0.0  # it is no call of the worker's own
    bench.header.last_commit = bench.clock + 60
    assert bench.after(60) == []


def test_the_supervisor_wakes_when_a_limit_is_due(bench: Bench) -> None:
    bench.holds(limit=10)
    assert bench.limits.next_due([bench.child]) == 10
    bench.clock += 9
    assert bench.limits.next_due([bench.child]) == 1
    bench.child.slot.release()
    assert bench.limits.next_due([bench.child]) == float("inf")
