"""Changing one task of RQ's: once, whoever else tries, and as django-tasks-rq reads it."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import settings
from django.db import connections
from django.utils.module_loading import import_string

from argus_maint.backends.adapters.base import Unreachable
from argus_maint.backends.adapters.rq.server import Server
from argus_maint.backends.adapters.rq.tasks import in_order
from argus_maint.exceptions import TaskDiscarded, TaskQuarantined, WorkerLost
from argus_maint.jobs import foreign
from argus_maint.jobs.errand import Errand
from argus_maint.models import LedgerEntry
from tests import tasks
from tests.backends.adapters.conftest import Broker
from tests.backends.adapters.rq_help import (
    FAILED,
    adapter,
    entry,
    failed_one,
    lost_one,
    running,
    scheduled,
)
from tests.backends.adapters.world import began, ended
from tests.backends.adapters.world_rq import RQWorld
from tests.lab import until


@pytest.mark.parametrize("kind", ["requeue", "fail", "both"])
def test_of_two_who_act_at_once_one_does(rq: RQWorld, tmp_path: Path, kind: str) -> None:
    lost = lost_one(rq, tmp_path / "out")
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
    lost = lost_one(rq, tmp_path / "out", seconds=2)  # killed well before its end
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


def test_a_failed_task_whose_execution_lives_is_not_requeued(rq: RQWorld, tmp_path: Path) -> None:
    """A worker with a clock that is ahead has its maintenance fail what runs elsewhere."""
    from rq.registry import StartedJobRegistry

    task_id, _, _ = running(rq, tmp_path / "out", "x", 600)
    plain = redis.Redis(port=settings.BROKER_PORT)
    job_class = import_string("django_tasks_rq.Job")
    registry = StartedJobRegistry("default", connection=plain, job_class=job_class)
    registry.cleanup(time.time() + 200)
    plain.close()
    until(lambda: rq.status(task_id) == "FAILED")
    failed = rq.adapter.task(task_id)
    assert failed is not None
    assert not rq.adapter.requeue(failed.handle, entry(rq, failed.handle))
    assert rq.redis.llen("rq:queue:default") == 0
    assert not LedgerEntry.objects.exists()


def test_a_failed_task_that_is_queued_already_is_not_queued_twice(rq: RQWorld) -> None:
    failed = failed_one(rq)
    task_id = failed.handle.task_id
    rq.redis.rpush("rq:queue:default", task_id)
    assert not rq.adapter.requeue(failed.handle, entry(rq, failed.handle))
    assert rq.redis.llen("rq:queue:default") == 1


def test_an_act_without_an_answer_keeps_its_entry(
    rq: RQWorld, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server does it, and says so too late."""
    lost = lost_one(rq, tmp_path / "out")
    made, process = rq.adapter, broker.process
    assert process is not None and made.queues()  # it has a connection
    save = LedgerEntry.save

    def stop(self: LedgerEntry, **values: Any) -> None:
        save(self, **values)
        if values.get("force_insert"):
            process.send_signal(signal.SIGSTOP)

    monkeypatch.setattr(LedgerEntry, "save", stop)
    monkeypatch.setattr("argus_maint.backends.adapters.rq.acts.stamp_of", lambda now: "")
    monkeypatch.setattr(Server, "now", lambda self: time.time())
    try:
        with pytest.raises(Unreachable, match="does not answer"):
            made.requeue(lost, entry(rq, lost, counted=True))
    finally:
        process.send_signal(signal.SIGCONT)
    assert until(lambda: rq.redis.llen("rq:queue:default") == 1)
    kept = LedgerEntry.objects.get()
    assert "it may not have been done" in kept.evidence
    assert not kept.counted, "a healthy task is no poison for it"


@pytest.mark.parametrize("value", ["x", 1.5, None, "when", ["a"]])
def test_what_a_task_keeps_in_its_meta_hides_nothing(
    rq: RQWorld, tmp_path: Path, value: Any
) -> None:
    task_id = rq.append(tmp_path / "out", "x")
    plain = redis.Redis(port=settings.BROKER_PORT)
    meta = pickle.loads(plain.hget(f"rq:job:{task_id}", "meta"))
    meta["mine"] = datetime.now(timezone.utc) if value == "when" else value
    plain.hset(f"rq:job:{task_id}", "meta", pickle.dumps(meta))
    plain.hset(f"rq:job:{task_id}", "failure_ttl", "1.5")
    plain.close()
    assert rq.adapter.task(task_id) is not None


def test_a_due_task_behind_many_of_others_is_enqueued(rq: RQWorld, tmp_path: Path) -> None:
    task_id = scheduled(rq, tmp_path / "out", seconds=-5)
    rq.redis.zadd("rq:scheduled:default", {f"other{n}": time.time() - 900 for n in range(700)})
    assert foreign.make(Errand("default", "test", wait=False)).enqueued == 1
    assert rq.redis.lrange("rq:queue:default", 0, -1) == [task_id]


def test_what_is_discarded_stays_where_it_was(rq: RQWorld) -> None:
    """Else it would stand before what is new, at each look."""
    failed = failed_one(rq)
    task_id = failed.handle.task_id
    rq.redis.zadd("rq:failed:default", {task_id: 1e10})
    ttl = rq.redis.expiretime(f"rq:job:{task_id}")
    act = entry(rq, failed.handle, action=LedgerEntry.Action.DISCARDED)
    assert rq.adapter.fail(failed.handle, act, TaskDiscarded)
    assert rq.redis.zscore("rq:failed:default", task_id) == 1e10
    assert rq.redis.expiretime(f"rq:job:{task_id}") == ttl
    (after,) = rq.adapter.tasks("FAILED", 10)
    assert (after.since, after.error) == (failed.since, "argus_maint.exceptions.TaskDiscarded")


def test_a_canceled_task_is_listed_once_and_can_be_put_back(rq: RQWorld, tmp_path: Path) -> None:
    task_id = rq.append(tmp_path / "out", "x")
    rq.redis.lrem("rq:queue:default", 0, task_id)
    rq.redis.hset(f"rq:job:{task_id}", "status", "canceled")
    rq.redis.zadd("rq:canceled:default", {task_id: 0})
    (canceled,) = rq.adapter.tasks("FAILED", 10)
    assert rq.adapter.fail(canceled.handle, entry(rq, canceled.handle, **FAILED), TaskDiscarded)
    (given_up,) = rq.adapter.tasks("FAILED", 10)
    assert rq.adapter.requeue(given_up.handle, entry(rq, given_up.handle))
    assert not rq.redis.exists("rq:canceled:default", "rq:failed:default")
    rq.worker()
    until(lambda: ended(tmp_path / "out", "x") == 1)


def test_the_newest_of_all_queues_come_first(rq: RQWorld, tmp_path: Path) -> None:
    first, second = rq.append(tmp_path / "out", "a"), rq.append(tmp_path / "out", "b")
    found = rq.adapter.tasks("READY", 10)
    assert [each.handle.task_id for each in in_order(reversed(found), "READY")] == [first, second]
    assert [each.handle.task_id for each in in_order(found, "FAILED")] == [second, first]
