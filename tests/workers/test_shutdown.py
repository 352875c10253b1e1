"""Stopping: what is in hand is finished or given back, whoever sends which signal."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.db import transaction
from django.db.models import F

from argus_maint.models import Process
from tests import tasks
from tests.lab import Lab, Supervised, gone, until
from tests.workers import chores

ALL = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)


def busy(lab: Lab, *arguments: str, **env: str) -> tuple[Supervised, Any]:
    """A worker in the middle of a task that ends when the file ``go`` appears."""
    worker = lab.worker(*arguments, **env).ready()
    result = tasks.wait_for.enqueue(lab.path("go"))
    lab.until_status(result, "RUNNING")
    until(lambda: lab.holder(result))
    return worker, result


def stopping(worker: Supervised) -> None:
    until(lambda: "supervisor.stopping" in worker.log, what="the signal has arrived")


def go(lab: Lab) -> None:
    Path(lab.path("go")).touch()


def given_back(lab: Lab, result: Any) -> None:
    """READY again, as if it had not been begun; the ledger says why, and counts nothing."""
    row = lab.row(result)
    assert (row.status, row.exception_class_path, row.finished_at) == ("READY", "", None)
    (entry,) = lab.ledger(result)
    assert (entry.verdict, entry.action) == ("exited", "requeued")
    assert (entry.reason, entry.counted, entry.losses) == ("shutdown", False, 0)
    assert (entry.exit_signal, entry.delay) == ("SIGKILL", 0)


def test_an_idle_worker_leaves_at_once_on_each_of_the_signals(lab: Lab) -> None:
    workers = [lab.worker("--processes=2", "--interval=600") for _ in ALL]
    for worker, number in zip(workers, ALL, strict=True):
        worker.ready(2).signal(number)
    assert [worker.wait(10) for worker in workers] == [0] * len(ALL)
    rows = Process.objects.all()
    assert {(row.state, row.verdict, row.reason) for row in rows} == {
        ("ended", "exited", "stopped")
    }
    assert rows.count() == 3 * len(ALL)


def test_the_task_in_hand_is_finished_and_no_other_is_begun(lab: Lab) -> None:
    worker, result = busy(lab)
    after = tasks.add.enqueue(1, 2)

    worker.signal(signal.SIGTERM)
    stopping(worker)
    go(lab)

    assert worker.wait() == 0
    assert lab.row(result).status == "SUCCESSFUL"
    assert lab.row(after).status == "READY"
    assert lab.ledger(result) == []


def test_what_outlasts_the_grace_is_given_back_and_run_by_the_next(lab: Lab) -> None:
    lab.setting(RESCUE={"*": {"max_losses": 1, "backoff": [60, 60]}})
    worker, result = busy(lab, "--grace=0.3")

    worker.signal(signal.SIGTERM)

    assert worker.wait() == 3
    given_back(lab, result)
    lab.worker()
    go(lab)
    assert len(lab.until_status(result, "SUCCESSFUL").worker_ids) == 2


def test_a_task_that_must_not_repeat_has_failed_by_a_shutdown_and_is_announced(life: Lab) -> None:
    worker = life.worker("--grace=0", LIFE_SIGNALS=life.path("signals")).ready()
    result = tasks.once_only.enqueue(life.path("out"))
    until(lambda: life.lines("out"))
    until(lambda: life.holder(result))
    assert worker.stop() == 3
    assert life.row(result).exception_class_path == "argus_maint.exceptions.WorkerLost"
    assert life.lines("signals").count(f"finished {result.id} FAILED") == 1


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_second_signal_ends_it_at_once(lab: Lab, second: int) -> None:
    worker, result = busy(lab, "--grace=600")

    worker.signal(signal.SIGTERM)
    stopping(worker)
    assert worker.process.poll() is None
    worker.signal(second)

    assert worker.wait(10) == 3
    given_back(lab, result)


def test_no_grace_at_all_is_allowed(lab: Lab) -> None:
    worker, result = busy(lab, "--grace=0")
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 3
    given_back(lab, result)


def test_the_task_of_a_supervisor_killed_while_it_stops_does_not_count_as_lost(lab: Lab) -> None:
    worker, result = busy(lab, "--grace=600")
    worker.signal(signal.SIGTERM)
    until(lambda: Process.objects.filter(state="draining").count() == 2)

    holder = lab.holder(result).pid
    worker.signal(signal.SIGKILL)
    until(lambda: gone(holder))
    lab.worker("--lease=3")
    go(lab)

    lab.until_status(result, "SUCCESSFUL")
    (entry,) = lab.ledger(result)
    assert (entry.reason, entry.counted) == ("shutdown", False)


def test_a_task_that_kills_its_worker_during_the_shutdown_counts_all_the_same(lab: Lab) -> None:
    worker, result = busy(lab, "--grace=600")
    holder = lab.holder(result)
    worker.signal(signal.SIGTERM)
    stopping(worker)

    os.kill(holder.pid, signal.SIGSEGV)

    assert worker.wait() == 0  # nothing was interrupted by us
    (entry,) = lab.ledger(result)
    assert (entry.reason, entry.counted) == ("crashed", True)
    assert entry.exit_signal == "SIGSEGV"


# -- signals to the whole group ------------------------------------------------------


def test_signals_meant_for_the_group_end_neither_worker_nor_keeper(lab: Lab) -> None:
    worker, result = busy(lab, "--grace=600")
    members = [lab.holder(result).pid, worker.keeper_pid()]
    for pid in members:
        for number in ALL:
            os.kill(pid, number)
    assert os.getpgid(members[0]) == worker.pid
    os.killpg(worker.pid, signal.SIGTERM)
    stopping(worker)
    assert all(psutil.Process(pid).is_running() for pid in members)
    go(lab)

    assert worker.wait() == 0
    assert len(lab.until_status(result, "SUCCESSFUL").worker_ids) == 1
    assert lab.ledger(result) == []


def test_a_query_in_progress_is_not_interrupted_by_a_signal_to_the_group(life: Lab) -> None:
    worker = life.worker().ready()
    result = chores.query.enqueue(life.path("out"))
    until(lambda: life.lines("out"))

    os.killpg(worker.pid, signal.SIGTERM)

    assert worker.wait() == 0
    row = life.row(result)
    assert (row.status, row.return_value, row.traceback) == ("SUCCESSFUL", 0, "")


def test_hup_stops_it_but_not_under_nohup(lab: Lab) -> None:
    worker = lab.worker(prefix=("nohup",)).ready()
    worker.signal(signal.SIGHUP)
    lab.until_status(tasks.add.enqueue(1, 2), "SUCCESSFUL")
    assert "supervisor.stopping" not in worker.log
    assert worker.stop() == 0


# -- what a task starts -----------------------------------------------------------------


def test_what_a_task_starts_obeys_signals_as_usual(life: Lab) -> None:
    life.worker().ready()
    ended, interrupted = chores.end_children.enqueue(), chores.interrupt_children.enqueue()
    assert life.until_status(ended, "SUCCESSFUL").return_value == [-15]
    assert life.until_status(interrupted, "SUCCESSFUL").return_value == [-2, -3, -1]


# -- how a task may end its worker ------------------------------------------------------


def test_a_task_that_calls_sys_exit_has_failed_and_its_worker_lives(lab: Lab) -> None:
    worker = lab.worker().ready()
    pids = worker.worker_pids()
    row = lab.until_status(tasks.system_exit.enqueue(0), "FAILED")
    assert row.exception_class_path == "builtins.SystemExit"
    assert lab.until_status(tasks.whoami.enqueue(), "SUCCESSFUL").return_value == pids[0]
    assert lab.ledger(row) == []


def test_a_worker_that_exits_while_it_holds_a_task_has_lost_it(lab: Lab) -> None:
    lab.setting(RESCUE={"*": {"backoff": [0, 0], "on_lost": "fail"}})
    lab.worker().ready()
    result = tasks.os_exit.enqueue(0)
    row = lab.until_status(result, "FAILED")
    assert row.exception_class_path == "argus_maint.exceptions.WorkerLost"
    (entry,) = lab.ledger(result)
    assert (entry.reason, entry.exit_status, entry.counted) == ("crashed", 0, True)


# -- among others -------------------------------------------------------------------------


def test_others_on_the_host_leave_it_to_a_supervisor_to_say_how_its_worker_ended(
    lab: Lab,
) -> None:
    """Its keeper is stopped; the others see the worker gone long before it can tell."""
    lab.setting(RESCUE={"*": {"backoff": [0, 0], "max_losses": 1}}, PROCESSES={"lease": 6})
    worker, result = busy(lab, "--grace=0")
    lab.worker("--queue-name=nothing", name="other").ready()
    (other,) = Process.objects.filter(name="other", kind="supervisor")
    keeper = worker.keeper_pid()
    os.kill(keeper, signal.SIGSTOP)

    worker.signal(signal.SIGTERM)
    until(lambda: "worker.ended" in worker.log)
    beats = Process.objects.get(pk=other.pk).beats
    until(lambda: Process.objects.get(pk=other.pk).beats > beats, what="the other has looked")
    os.kill(keeper, signal.SIGCONT)

    assert worker.wait() == 3
    given_back(lab, result)


def test_a_worker_whose_supervisor_stands_still_is_not_left_to_it_for_long(lab: Lab) -> None:
    lab.setting(RESCUE={"*": {"backoff": [0, 0]}})
    worker, result = busy(lab, "--lease=60")
    os.kill(worker.pid, signal.SIGSTOP)
    holder = lab.holder(result).pid
    os.kill(holder, signal.SIGKILL)
    until(lambda: gone(holder))

    lab.worker("--lease=1.5", name="other").ready()
    go(lab)

    assert len(lab.until_status(result, "SUCCESSFUL").worker_ids) == 2
    (entry,) = lab.ledger(result)
    assert (entry.verdict, entry.reason, entry.counted) == ("exited", "lost", True)
    os.kill(worker.pid, signal.SIGCONT)
    assert worker.stop() == 0


def test_a_worker_that_died_while_its_supervisor_stood_still_is_not_registered_again(
    lab: Lab,
) -> None:
    worker, result = busy(lab, "--lease=1.5")
    os.kill(worker.pid, signal.SIGSTOP)
    holder = lab.holder(result).pid
    os.kill(holder, signal.SIGKILL)
    until(lambda: gone(holder))

    other = lab.worker("--lease=1.5", name="other").ready()
    until(lambda: len(lab.row(result).worker_ids) == 2, what="the other has taken it")
    (head,) = worker.rows("supervisor")
    until(lambda: worker.rows("supervisor")[0].beats > head.beats + 3)

    assert "process.replaced" not in worker.log
    assert other.log.count("process.dead") == 1
    os.kill(worker.pid, signal.SIGCONT)
    go(lab)
    lab.until_status(result, "SUCCESSFUL")
    assert worker.stop() == 0


@contextlib.contextmanager
def nobody_can_write() -> Iterator[None]:
    """The rows of all processes are locked, and on SQLite the whole database."""
    with transaction.atomic():
        Process.objects.update(name=F("name"))
        yield


def test_a_give_back_is_written_once_the_database_is_back(lab: Lab) -> None:
    worker, result = busy(lab, "--grace=0")
    with nobody_can_write():
        worker.signal(signal.SIGTERM)
        until(lambda: "worker.ended" in worker.log)
        until(lambda: "keeper.waiting" in worker.log)
    assert worker.wait() == 3
    given_back(lab, result)
    assert "supervisor.unwritten" not in worker.log


def test_a_give_back_that_cannot_be_written_is_said_and_left_to_the_next(life: Lab) -> None:
    patch = json.dumps({"argus_maint.workers.supervisor.PATIENCE": 2})
    worker, result = busy(life, "--grace=0", LIFE_PATCH=patch)
    with nobody_can_write():
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 3
    (line,) = [each for each in worker.log.splitlines() if "supervisor.unwritten" in each]
    assert f"task_ids={result.id}" in line
    assert worker.log.splitlines()[-1].endswith("event=supervisor.stopped status=3")
    life.worker(name="next")
    go(life)
    life.until_status(result, "SUCCESSFUL")
    (entry,) = life.ledger(result)
    assert (entry.reason, entry.counted) == ("lost", True)  # nobody can know


def test_a_keeper_that_dies_before_it_has_signed_off_is_replaced_once_more(lab: Lab) -> None:
    worker, result = busy(lab, "--grace=0")
    keeper = worker.keeper_pid()
    os.kill(keeper, signal.SIGSTOP)

    worker.signal(signal.SIGTERM)
    until(lambda: "worker.ended" in worker.log)
    os.kill(keeper, signal.SIGKILL)

    assert worker.wait() == 3
    given_back(lab, result)
    assert not Process.objects.exclude(state="ended").exists()
