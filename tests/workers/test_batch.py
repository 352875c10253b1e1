"""``--batch``: all workers go on until none of them can find anything."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from django.utils import timezone

from tests import tasks
from tests.lab import Lab, until
from tests.workers import chores


def test_an_empty_queue_ends_it(lab: Lab) -> None:
    assert lab.worker("--batch", "--processes=2").wait() == 0


def test_what_a_task_enqueues_at_its_very_end_is_done_too(life: Lab) -> None:
    chores.then_enqueue.enqueue(life.path("out"), 2)
    assert life.worker("--batch", "--processes=2").wait() == 0
    assert life.lines("out") == ["link 2", "link 1", "link 0"]


def test_a_worker_that_has_done_its_share_leaves_what_it_enqueued_to_the_other(life: Lab) -> None:
    chores.then_enqueue.enqueue(life.path("out"), 1)
    assert life.worker("--batch", "--processes=2", "--max-tasks=1").wait() == 0
    assert life.lines("out") == ["link 1", "link 0"]


def test_all_workers_take_part(lab: Lab) -> None:
    for number in range(6):
        tasks.append.enqueue(lab.path("out"), str(number), 0.3)
    assert lab.worker("--batch", "--processes=2").wait() == 0
    ended = [line.split() for line in lab.lines("out") if line.startswith("end")]
    assert sorted(number for _, number, _ in ended) == list("012345")
    assert len({pid for _, _, pid in ended}) == 2


def test_without_tables_it_ends_and_says_what_helps(life: Lab) -> None:
    empty = {
        "ARGUS_MAINT_TEST_DB": "sqlite",
        "ARGUS_MAINT_TEST_DB_NAME": life.path("empty.sqlite3"),
    }
    worker = life.worker("--batch", "--processes=2", **empty)
    assert worker.wait() == 1
    assert 'hint="run manage.py migrate"' in worker.log
    assert "worker.ended" in worker.log
    assert "Traceback" not in worker.log


def test_a_task_that_fails_is_no_failure_of_the_batch(lab: Lab) -> None:
    result = tasks.fail.enqueue("no")
    assert lab.worker("--batch").wait() == 0
    assert lab.row(result).status == "FAILED"


def test_a_task_that_is_not_due_is_not_waited_for(lab: Lab) -> None:
    later = tasks.add.using(run_after=timezone.now() + timedelta(hours=1)).enqueue(1, 2)
    assert lab.worker("--batch").wait() == 0
    assert lab.row(later).status == "READY"


def test_a_worker_that_dies_on_the_way_is_replaced_and_tells_in_the_exit_status(lab: Lab) -> None:
    lab.setting(RESCUE={"*": {"backoff": [0, 0], "max_losses": 2}})
    deadly = tasks.os_exit.enqueue(0)
    others = [tasks.add.enqueue(1, number) for number in range(3)]
    assert lab.worker("--batch").wait() == 4
    assert lab.row(deadly).exception_class_path == "argus_maint.exceptions.TaskQuarantined"
    assert {lab.row(result).status for result in others} == {"SUCCESSFUL"}


def test_a_stopped_batch_leaves_the_rest_for_later(lab: Lab) -> None:
    first, second = tasks.wait_for.enqueue(lab.path("go")), tasks.add.enqueue(1, 2)
    worker = lab.worker("--batch").ready()
    lab.until_status(first, "RUNNING")
    worker.signal(15)
    until(lambda: "supervisor.stopping" in worker.log)
    Path(lab.path("go")).touch()
    assert worker.wait() == 0
    assert lab.row(first).status == "SUCCESSFUL"
    assert lab.row(second).status == "READY"
