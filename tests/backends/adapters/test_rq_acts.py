"""Changing one task of RQ's: once, whoever else tries, and as django-tasks-rq reads it."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.db import connections

from argus_maint.exceptions import TaskDiscarded, TaskQuarantined, WorkerLost
from argus_maint.models import LedgerEntry
from tests import tasks
from tests.backends.adapters.rq_help import (
    FAILED,
    adapter,
    entry,
    lost_one,
    scheduled,
)
from tests.backends.adapters.world import began, ended
from tests.backends.adapters.world_rq import RQWorld
from tests.lab import until


@pytest.mark.parametrize("kind", ["requeue", "fail", "both"])
def test_of_two_who_act_at_once_one_does(rq: RQWorld, tmp_path: Path, kind: str) -> None:
    lost = lost_one(rq, tmp_path / "out", seconds=0.1)
    barrier = threading.Barrier(4)

    def act(number: int) -> bool:
        try:
            made = rq.adapter
            barrier.wait(20)
            if kind == "requeue" or (kind == "both" and number % 2):
                return made.requeue(lost, entry(rq, lost))
            return made.fail(lost, entry(rq, lost, **FAILED, evidence="gone"), WorkerLost)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(act, range(4)))
    assert sum(done) == 1
    assert LedgerEntry.objects.count() == 1
    assert rq.redis.llen("rq:queue:default") + rq.redis.zcard("rq:failed:default") == 1


def test_a_task_that_is_failed_says_why(rq: RQWorld, tmp_path: Path) -> None:
    lost = lost_one(rq, tmp_path / "out")
    act = entry(rq, lost, **FAILED, evidence="it has lost its worker 3 times")
    assert rq.adapter.fail(lost, act, TaskQuarantined)
    result = rq.adapter.backend.get_result(lost.task_id)
    assert str(result.status) == "FAILED"
    assert [each.exception_class for each in result.errors] == [TaskQuarantined]
    assert "it has lost its worker 3 times" in result.errors[0].traceback
    assert result.worker_ids == ["of-lost"]
    assert result.finished_at is not None


def test_a_person_requeues_a_failed_task(rq: RQWorld) -> None:
    task_id = rq.enqueue(tasks.add, 1, "2")
    rq.worker()
    until(lambda: rq.status(task_id) == "FAILED")
    assert rq.adapter.lost() == [], "an exception is no loss"
    failed = rq.adapter.task(task_id)
    assert failed is not None
    assert (failed.status, failed.error) == ("FAILED", "builtins.TypeError")
    assert failed.handle.verdict == "manual"
    assert rq.adapter.requeue(failed.handle, entry(rq, failed.handle))
    until(lambda: rq.status(task_id) == "FAILED")
    again = rq.adapter.task(task_id)
    assert again is not None
    assert again.handle.attempt == 2
    assert len(rq.errors(task_id)) == 1
    assert rq.adapter.task("nobody") is None


def test_the_return_value_is_that_of_the_attempt_that_ended(rq: RQWorld, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    task_id = rq.enqueue(tasks.wait_for, str(gate))
    worker = rq.worker()
    horse = rq.horse(worker)
    until(lambda: rq.status(task_id) == "RUNNING")
    os.kill(horse, signal.SIGKILL)
    until(lambda: rq.rescue())
    gate.touch()
    until(lambda: rq.status(task_id) == "SUCCESSFUL")
    assert rq.adapter.backend.get_result(task_id).return_value == "found"


def test_a_delay_without_a_scheduler_is_none(rq: RQWorld, tmp_path: Path) -> None:
    lost = lost_one(rq, tmp_path / "out")
    act = entry(rq, lost, delay=30.0)
    assert rq.adapter.requeue(lost, act, 30.0)
    act.refresh_from_db()
    assert act.delay == 0
    assert rq.redis.llen("rq:queue:default") == 1


def test_a_delay_with_a_scheduler_is_kept(rq: RQWorld, tmp_path: Path) -> None:
    lost = lost_one(rq, tmp_path / "out", seconds=0.1)
    rq.worker("schedules", "--with-scheduler")
    until(lambda: rq.redis.exists("rq:scheduler-lock:default"))
    assert rq.adapter.requeue(lost, entry(rq, lost), 3.0)
    assert rq.redis.zcard("rq:scheduled:default") == 1
    assert adapter(rq).enqueue_overdue() == 0
    until(lambda: rq.status(lost.task_id) == "SUCCESSFUL")
    assert len(began(tmp_path / "out", "lost")) == 2


def test_scheduled_tasks_that_nobody_enqueues(rq: RQWorld, tmp_path: Path) -> None:
    ids = [scheduled(rq, tmp_path / "out", seconds=-120) for _ in range(20)]
    later = scheduled(rq, tmp_path / "out", seconds=600)

    def enqueue(_: int) -> int:
        try:
            return adapter(rq).enqueue_overdue()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        done = sum(pool.map(enqueue, range(4)))
    assert done == len(ids) == rq.redis.llen("rq:queue:default")
    assert rq.redis.zrange("rq:scheduled:default", 0, -1) == [later]
    assert not rq.redis.exists("rq:scheduler-lock:default")
    rq.worker()
    until(lambda: ended(tmp_path / "out", "scheduled") == len(ids))


def test_where_a_scheduler_runs_nothing_is_enqueued(rq: RQWorld, tmp_path: Path) -> None:
    scheduled(rq, tmp_path / "out", seconds=-120)
    rq.redis.set("rq:scheduler-lock:default", "of another", ex=60)
    assert adapter(rq).enqueue_overdue() == 0
    assert rq.redis.zcard("rq:scheduled:default") == 1


def test_scheduled_tasks_are_listed_and_can_be_given_up(rq: RQWorld, tmp_path: Path) -> None:
    late = scheduled(rq, tmp_path / "out", seconds=-120)
    later = scheduled(rq, tmp_path / "out", seconds=600)
    found = rq.adapter.tasks("READY", 10)
    assert [each.handle.task_id for each in found] == [late, later]
    for each in found:
        assert rq.adapter.fail(each.handle, entry(rq, each.handle, **FAILED), TaskDiscarded)
        assert not rq.adapter.fail(each.handle, entry(rq, each.handle, **FAILED), TaskDiscarded)
    assert not rq.redis.exists("rq:scheduled:default")
    assert {rq.status(late), rq.status(later)} == {"FAILED"}


def test_a_task_that_a_worker_has_just_taken_is_not_failed(rq: RQWorld, tmp_path: Path) -> None:
    task_id = rq.append(tmp_path / "out", "x")
    ready = rq.adapter.task(task_id)
    assert ready is not None
    rq.redis.lmove("rq:queue:default", "rq:queue:default:intermediate")
    act = entry(rq, ready.handle, **FAILED)
    assert not rq.adapter.fail(ready.handle, act, TaskDiscarded)
    assert not LedgerEntry.objects.exists()
