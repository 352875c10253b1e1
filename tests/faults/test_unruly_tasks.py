"""Tasks and receivers that do what they should not, and workers that survive them."""

from __future__ import annotations

import pytest

from tests import tasks
from tests.faults import namespace
from tests.faults.evidence import acts, announced, deaths, undisturbed
from tests.lab import Lab


def hold_the_lock(lab: Lab, alone: tuple[str, ...], seconds: int, lease: int) -> None:
    lab.worker(f"--lease={lease}", name="holder").ready()
    result = tasks.hold_gil.enqueue(seconds)
    lab.until_status(result, "RUNNING")
    # One watcher that can look the pid up, and one that has the lease alone.
    lab.worker(f"--lease={lease}", name="near").ready()
    far = lab.worker(f"--lease={lease}", name="far", prefix=alone).ready()

    undisturbed(lab, result, seconds + 30)

    assert deaths() == []
    namespace.stop(far)


def test_a_task_that_holds_the_interpreter_lock_is_left_alone(
    lab: Lab, alone: tuple[str, ...]
) -> None:
    hold_the_lock(lab, alone, seconds=6, lease=2)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_task_that_holds_the_interpreter_lock_for_a_minute_is_left_alone(
    lab: Lab, alone: tuple[str, ...]
) -> None:
    hold_the_lock(lab, alone, seconds=60, lease=5)


@pytest.mark.parametrize(("how", "status"), [("return", 0), ("exit", 3), ("raise", 1)])
def test_only_the_process_that_claimed_completes(lab: Lab, how: str, status: int) -> None:
    lab.worker("--processes=2").ready(2)
    result = tasks.fork_and.enqueue(how)

    undisturbed(lab, result)

    # The parent's own result: what it saw its child exit with.
    assert lab.row(result).return_value == status
    after = tasks.add.enqueue(1, 2)
    undisturbed(lab, after)
    assert deaths() == []


@pytest.mark.parametrize("how", ["raise", "exit"])
def test_a_receiver_that_misbehaves_changes_no_outcome(lab: Lab, how: str) -> None:
    worker = lab.worker(ARGUS_MAINT_TEST_RECEIVER=how).ready()
    good, bad = tasks.add.enqueue(1, 2), tasks.fail.enqueue("no")

    undisturbed(lab, good)
    row = lab.until_status(bad, "FAILED")

    assert lab.row(good).return_value == 3
    assert row.exception_class_path == "builtins.ValueError"
    announced(lab, bad, "FAILED")
    assert worker.stop() == 0
    assert acts() == []
    assert deaths() == []


def test_a_receiver_that_misbehaves_does_not_keep_a_lost_task_from_failing(lab: Lab) -> None:
    lab.setting(RESCUE={"*": {"backoff": [0, 0], "max_losses": 1}})
    lab.worker("--processes=2", ARGUS_MAINT_TEST_RECEIVER="exit").ready(2)
    result = tasks.os_exit.enqueue(0)

    row = lab.until_status(result, "FAILED")

    assert row.exception_class_path == "argus_maint.exceptions.TaskQuarantined"
    undisturbed(lab, tasks.add.enqueue(1, 2))
    announced(lab, result, "FAILED")
    assert [action for _verdict, action in acts()] == ["quarantined"]
