"""A worker dies, and its task comes back by itself."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil

from argus_maint.models import DeclaredPolicy
from tests import tasks
from tests.lab import Lab, until


def test_the_task_of_a_killed_worker_is_run_by_another(lab: Lab) -> None:
    lab.worker("--processes=2").ready(2)
    result = tasks.append.enqueue(lab.path("out"), "a", 2)
    until(lambda: lab.lines("out"))

    os.kill(lab.holder(result).pid, signal.SIGKILL)

    row = lab.until_status(result, "SUCCESSFUL")
    assert len(row.worker_ids) == 2
    assert len(set(row.worker_ids)) == 2
    (entry,) = lab.ledger(result)
    assert (entry.verdict, entry.action, entry.reason) == ("exited", "requeued", "crashed")
    assert (entry.exit_signal, entry.losses, entry.counted) == ("SIGKILL", 1, True)
    assert entry.worker_id == row.worker_ids[0]
    assert entry.last_proof_of_life is not None
    assert entry.last_proof_of_life <= entry.acted_at
    assert [line.split()[0] for line in lab.lines("out")] == ["begin", "begin", "end"]


def test_a_signal_without_a_name_and_a_worker_with_a_foreign_one(lab: Lab) -> None:
    lab.worker(name="wörker-北").ready()
    result = tasks.wait_for.enqueue(lab.path("go"))
    os.kill(lab.holder(result).pid, 40)  # a real-time signal
    until(lambda: lab.ledger(result))
    Path(lab.path("go")).touch()
    row = lab.until_status(result, "SUCCESSFUL")
    assert [each.startswith("wörker-北.") for each in row.worker_ids] == [True, True]
    (entry,) = lab.ledger(result)
    assert (entry.action, entry.exit_signal) == ("requeued", "SIG40")


def test_what_a_task_declared_is_never_taken_back_by_older_code(lab: Lab) -> None:
    """During a rolling deploy one worker knows the decorator and another does not yet."""
    path = tasks.wait_for.module_path
    DeclaredPolicy.objects.create(task_path=path, options={"on_lost": "fail"})
    lab.worker().ready()  # whose code declares nothing
    result = tasks.wait_for.enqueue(lab.path("go"))
    os.kill(lab.holder(result).pid, signal.SIGKILL)
    row = lab.until_status(result, "FAILED")
    assert row.exception_class_path == "argus_maint.exceptions.WorkerLost"
    assert DeclaredPolicy.objects.get(task_path=path).options == {"on_lost": "fail"}


def test_the_task_of_a_killed_supervisor_is_run_by_another_supervisor(lab: Lab) -> None:
    first = lab.worker().ready()
    result = tasks.wait_for.enqueue(lab.path("go"))
    lab.until_status(result, "RUNNING")
    children = first.tree()[1:]
    lab.worker("--lease=3").ready()

    os.kill(first.pid, signal.SIGKILL)
    until(lambda: not any(map(psutil.pid_exists, children)), 10, "its children are gone too")
    Path(lab.path("go")).touch()

    row = lab.until_status(result, "SUCCESSFUL")
    assert len(row.worker_ids) == 2
    (entry,) = lab.ledger(result)
    assert (entry.verdict, entry.action) == ("exited", "requeued")


def test_a_task_that_must_not_repeat_is_failed_when_its_worker_dies(lab: Lab) -> None:
    lab.worker().ready()
    result = tasks.once_only.enqueue(lab.path("out"))
    until(lambda: lab.lines("out"))

    os.kill(lab.holder(result).pid, signal.SIGKILL)

    row = lab.until_status(result, "FAILED")
    assert row.exception_class_path == "argus_maint.exceptions.WorkerLost"
    assert "SIGKILL" in row.traceback
    assert len(lab.lines("out")) == 1


def test_poison_is_quarantined_after_max_losses(lab: Lab) -> None:
    lab.setting(RESCUE={"*": {"backoff": [0, 0], "max_losses": 2}})
    lab.worker("--processes=2").ready(2)
    result = tasks.os_exit.enqueue(0)

    row = lab.until_status(result, "FAILED")

    assert row.exception_class_path == "argus_maint.exceptions.TaskQuarantined"
    assert [entry.action for entry in lab.ledger(result)] == ["requeued", "quarantined"]
    assert len(row.worker_ids) == 2
