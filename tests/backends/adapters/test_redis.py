"""What is special about django-tasks-redis: its reclaim, its messages, and what they miss."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import settings
from django.tasks import task_backends
from django.test import override_settings

from argus_maint.backends.adapters import adapters
from argus_maint.backends.adapters.base import Lost, PruneOrder, Unreachable, entry_of
from argus_maint.backends.adapters.redis import Redis
from argus_maint.exceptions import TaskDiscarded, TaskQuarantined, WorkerLost
from argus_maint.models import LedgerEntry
from argus_maint.retention import DAY, Retention
from tests import tasks
from tests.backends.adapters.conftest import Broker
from tests.backends.adapters.world import began, ended
from tests.backends.adapters.world_redis import RedisWorld
from tests.lab import Lab, until

pytestmark = pytest.mark.django_db(transaction=True)
KEPT = Retention(ages={"successful": DAY, "failed": 9 * DAY, "quarantined": None})


@pytest.fixture
def world(broker: Broker, lab: Lab) -> RedisWorld:
    return RedisWorld(lab)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "truth"


def entry(adapter: Any, lost: Lost, action: str = "requeued") -> LedgerEntry:
    return entry_of(adapter, lost, action=action, noticed_by="test", counted=True, losses=1)


def requeue(world: RedisWorld, lost: Lost, delay: float = 0) -> bool:
    return world.adapter.requeue(lost, entry(world.adapter, lost), delay)


def killed(world: RedisWorld, file: Path, text: str = "t", seconds: float = 60) -> tuple[str, str]:
    """A task whose worker was killed in its middle; its id, and the worker's."""
    worker = world.worker()
    task_id = world.append(file, text, seconds)
    until(lambda: began(file, text), what="the task begins")
    world.kill(worker)
    return task_id, world.worker_id(worker)


def dump(server: redis.Redis) -> dict[str, Any]:
    """All that a server holds, consumers and what they have not acknowledged included."""
    found: dict[str, Any] = {"expires": {}, "groups": {}}
    for key in sorted(server.scan_iter()):
        found["expires"][key] = server.expiretime(key)
        if server.type(key) != "stream":
            found[key] = server.dump(key) if server.type(key) == "string" else content(server, key)
            continue
        found[key] = server.xrange(key)
        for group in server.xinfo_groups(key):
            pending = server.xpending_range(key, group["name"], "-", "+", 1000)
            consumers = server.xinfo_consumers(key, group["name"])
            held = [(p["message_id"], p["consumer"], p["times_delivered"]) for p in pending]
            found["groups"][key] = (group, held, [(c["name"], c["pending"]) for c in consumers])
    return found


def content(server: redis.Redis, key: str) -> Any:
    kind = server.type(key)
    if kind == "hash":
        return server.hgetall(key)
    return server.smembers(key) if kind == "set" else server.zrange(key, 0, -1, withscores=True)


# -- a worker that dies -----------------------------------------------------------


def test_a_killed_worker_is_known_dead_and_its_task_runs_again(
    world: RedisWorld, file: Path
) -> None:
    task_id, worker = killed(world, file, seconds=2)
    began_at = time.monotonic()
    (lost,) = world.adapter.lost()
    assert time.monotonic() - began_at < 2
    assert (lost.task_id, lost.worker, lost.attempt) == (task_id, worker, 1)
    assert (lost.verdict, lost.confirms_in, lost.queue_name) == ("exited", 0, "default")
    assert "no longer exists" in lost.evidence and lost.seen_at is not None
    (dead,) = world.adapter.workers()
    assert (dead.name, dead.alive, dead.task, dead.queues) == (worker, False, task_id, ())

    assert requeue(world, lost)
    assert world.status(task_id) == "READY"
    assert world.adapter.lost() == []
    world.worker()
    until(lambda: world.status(task_id) == "SUCCESSFUL", what="it runs again")
    assert len(began(file, "t")) == 2 and ended(file, "t") == 1
    (queue,) = [each for each in world.adapter.queues() if each.counts.queue_name == "default"]
    assert (queue.finished, queue.failed, queue.counts.running, queue.counts.ready) == (1, 0, 0, 0)
    (written,) = LedgerEntry.objects.all()
    assert (str(written.task_id), written.action, written.worker_id) == (
        task_id,
        "requeued",
        worker,
    )
    # Nothing is left for the package to reclaim.
    assert not any(held for _, held, _ in dump(world.server)["groups"].values())


def test_it_is_failed_with_our_error_and_its_message_is_gone(world: RedisWorld, file: Path) -> None:
    task_id, _ = killed(world, file)
    (lost,) = world.adapter.lost()
    told = entry(world.adapter, lost, "failed")
    assert world.adapter.fail(lost, told, WorkerLost)
    result = world.backend.get_result(task_id)
    assert str(result.status) == "FAILED" and result.finished_at is not None
    assert result.errors[-1].exception_class is WorkerLost
    assert lost.evidence in result.errors[-1].traceback
    assert not any(held for _, held, _ in dump(world.server)["groups"].values())
    (queue,) = [each for each in world.adapter.queues() if each.counts.queue_name == "default"]
    assert (queue.failed, queue.counts.running) == (1, 0)
    assert world.server.ttl(f"django_tasks:redis:result:{task_id}") > 0


def test_a_delay_is_kept(world: RedisWorld, file: Path) -> None:
    task_id, _ = killed(world, file, seconds=1)
    (lost,) = world.adapter.lost()
    assert requeue(world, lost, 3)
    (queue,) = [each for each in world.adapter.queues() if each.counts.queue_name == "default"]
    assert (queue.counts.ready, queue.counts.scheduled) == (0, 1)
    at = time.monotonic()
    world.worker()
    until(lambda: len(began(file, "t")) == 2, what="it begins again")
    assert time.monotonic() - at > 1.5
    until(lambda: world.status(task_id) == "SUCCESSFUL")


def test_two_rescuers_and_the_package_at_once_act_once(world: RedisWorld, file: Path) -> None:
    task_id, _ = killed(world, file)
    (lost,) = world.adapter.lost()
    start = threading.Barrier(4)
    came_to: list[bool] = []
    claimed: list[int] = []

    def rescue() -> None:
        with contextlib.ExitStack() as stack:
            from django.db import connection

            stack.callback(connection.close)
            start.wait()
            came_to.append(requeue(world, lost))

    def reclaim() -> None:
        start.wait()
        claimed.append(task_backends["redis"].broker.claim_stale_messages("other", 0))

    threads = [threading.Thread(target=rescue) for _ in range(3)]
    threads.append(threading.Thread(target=reclaim))
    for each in threads:
        each.start()
    for each in threads:
        each.join(30)
    assert sum(came_to) + sum(claimed) == 1, (came_to, claimed)
    assert LedgerEntry.objects.count() == sum(came_to)
    groups = dump(world.server)["groups"].values()
    messages = world.server.xlen("django_tasks:redis:default:stream:normal")
    assert messages == 1 and sum(len(held) for _, held, _ in groups) == sum(claimed)
    assert world.status(task_id) == "READY"


def test_what_the_package_has_reclaimed_is_left_alone(world: RedisWorld, file: Path) -> None:
    _, _ = killed(world, file)
    (lost,) = world.adapter.lost()
    # Its reclaim is two commands: this is the moment between them.
    held = lost.token.message
    group = world.backend.consumer_group
    world.server.xclaim(held.stream, group, "other", 0, [held.id])
    before = dump(world.server)
    assert world.adapter.lost() == []
    assert not requeue(world, lost)
    assert not world.adapter.fail(lost, entry(world.adapter, lost), WorkerLost)
    assert dump(world.server) == before and not LedgerEntry.objects.exists()


def test_a_ledger_that_cannot_be_written_stops_the_act(world: RedisWorld, file: Path) -> None:
    killed(world, file)
    (lost,) = world.adapter.lost()
    bad = entry(world.adapter, lost)
    bad.noticed_by = None  # type: ignore[assignment]
    before = dump(world.server)
    with pytest.raises(Exception, match="(?i)null"):
        world.adapter.requeue(lost, bad)
    assert dump(world.server) == before


def test_a_worker_of_which_nobody_can_tell_is_left_to_the_package(
    world: RedisWorld, file: Path
) -> None:
    _, worker = killed(world, file)
    world.server.delete(f"django_tasks:redis:argus_maint:worker:{worker}")
    assert world.adapter.lost() == []
    (seen,) = world.adapter.workers()
    assert seen.alive is None
    adapter = world.adapter
    adapter.backend.claim_timeout, before = 0.0, adapter.backend.claim_timeout
    try:
        (lost,) = adapter.lost()
    finally:
        adapter.backend.claim_timeout = before
    assert lost.confirms_in > 0 and lost.verdict == "unregistered"


def test_a_task_can_be_without_a_message_only_when_its_worker_has_moved_on(
    world: RedisWorld, file: Path
) -> None:
    worker = world.worker()
    task_id = world.append(file, "t", 3)
    until(lambda: began(file, "t"))
    (held,) = world.adapter.task(task_id).token.message, None  # type: ignore[union-attr]
