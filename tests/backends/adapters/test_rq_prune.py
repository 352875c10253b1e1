"""Pruning RQ's keys: in small steps, and never what is not ours."""

from __future__ import annotations

import time
from typing import Any

import pytest
import redis

from argus_maint.backends.adapters.base import PruneOrder
from tests import tasks
from tests.backends.adapters.rq_help import (
    SHORT,
    adapter,
    finished,
)
from tests.backends.adapters.world_rq import RQWorld


def test_jobs_of_others_are_not_ours(rq: RQWorld, settings: Any) -> None:
    """A plain job of rq's in the same queue: not counted, not found, not pruned."""
    from rq import Queue
    from rq.job import JobStatus

    plain = redis.Redis(port=settings.BROKER_PORT)
    queue = Queue("default", connection=plain)
    done, waits = queue.enqueue("time.sleep", 0), queue.enqueue("time.sleep", 0)
    plain.lrem("rq:queue:default", 0, done.id)
    done.set_status(JobStatus.FAILED)
    plain.hset(done.key, "ended_at", "2020-01-01T00:00:00.000000Z")
    plain.zadd("rq:failed:default", {done.id: time.time() + 1e6})
    rq.enqueue(tasks.add, 1, 2)
    (counts,) = [each for each in rq.adapter.queues() if each.counts.queue_name == "default"]
    assert (counts.counts.ready, counts.failed) == (1, 0)
    assert rq.adapter.lost() == []
    assert not rq.adapter.prune(PruneOrder(SHORT)).deleted
    assert plain.exists(done.key, waits.key) == 2
    plain.close()


def test_prune_goes_in_small_steps_and_stops_in_time(rq: RQWorld) -> None:
    finished(rq, 3000)
    steps = []
    order = PruneOrder(SHORT, duty=1.0, go_on=lambda: steps.append(1))
    dry = adapter(rq).prune(PruneOrder(SHORT, dry_run=True))
    assert dry.deleted == {"successful": 3000}
    stopped = adapter(rq).prune(PruneOrder(SHORT, max_seconds=0))
    assert (stopped.stopped, stopped.deleted.total()) == ("max_seconds", 0)
    done = rq.adapter.prune(order)
    assert done.deleted == {"successful": 3000}
    assert done.batches >= 3000 / 400
    assert done.stopped == ""
    assert len(steps) > done.batches
    assert rq.redis.keys("*") == ["rq:queues"]


def test_a_prune_that_is_told_to_stop_stops(rq: RQWorld) -> None:
    finished(rq, 500)
    calls = []

    def go_on() -> None:
        calls.append(1)
        if len(calls) > 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        rq.adapter.prune(PruneOrder(SHORT, go_on=go_on))
    assert 0 < rq.redis.zcard("rq:finished:default") < 500


def test_what_lost_its_counterpart_is_pruned(rq: RQWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("argus_maint.backends.adapters.rq.pruning.ALONE", 0.0)
    first, second, third = finished(rq, 3)
    rq.redis.zrem("rq:finished:default", first)  # a job in no registry
    rq.redis.delete(f"rq:job:{second}")  # an entry and results without their job
    rq.redis.delete(f"rq:job:{third}", f"rq:results:{third}")  # a late heartbeat
    rq.redis.zrem("rq:finished:default", third)
    rq.redis.hset(f"rq:job:{third}", "last_heartbeat", "2020-01-01T00:00:00.000000Z")
    rq.redis.set("rq:job:mine", "of somebody else")
    rq.redis.set("unrelated", "1")
    time.sleep(1.1)
    done = rq.adapter.prune(PruneOrder(SHORT))
    assert done.deleted == {"successful": 1, "orphaned": 3}
    assert set(rq.redis.keys("*")) == {"rq:queues", "rq:job:mine", "unrelated"}


def test_a_task_that_was_requeued_meanwhile_is_not_pruned(rq: RQWorld) -> None:
    (task_id,) = finished(rq, 1)
    raced = []

    def go_on() -> None:
        if rq.redis.hget(f"rq:job:{task_id}", "status") == "finished" and raced:
            rq.redis.hset(f"rq:job:{task_id}", "status", "queued")
        raced.append(1)

    done = rq.adapter.prune(PruneOrder(SHORT, go_on=go_on))
    assert done.deleted.total() == 0
    assert rq.redis.exists(f"rq:job:{task_id}")
