"""django-tasks-redis: looking, pruning, and a server that is away."""

from __future__ import annotations

import os
import signal
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
from argus_maint.backends.adapters.base import PruneOrder, Unreachable
from argus_maint.backends.adapters.redis import Redis
from argus_maint.exceptions import TaskQuarantined
from argus_maint.models import LedgerEntry
from argus_maint.retention import DAY, Retention
from tests import tasks
from tests.backends.adapters.conftest import Broker
from tests.backends.adapters.world import began
from tests.backends.adapters.world_redis import RedisWorld, dump, entry, handle, killed
from tests.lab import Lab, until

pytestmark = pytest.mark.django_db(transaction=True)
KEPT = Retention(ages={"successful": DAY, "failed": 9 * DAY, "quarantined": None})


@pytest.fixture
def world(broker: Broker, lab: Lab) -> RedisWorld:
    return RedisWorld(lab)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "truth"


# -- looking ----------------------------------------------------------------------

READS = {"zrange", "zcount", "zrangebyscore", "hmget", "mget", "exists", "time", "sscan"}
READS |= {"xpending", "xrange", "xinfo", "hgetall"}
OWN = {"client", "hello", "select", "info", "config", "command", "ping"}  # of any connection


def test_looking_changes_nothing(world: RedisWorld, file: Path) -> None:
    killed(world, file)
    world.append(file, "later")
    world.backend.claim_task(world.enqueue(tasks.add, 1, 2), "external")
    server, prefix = world.server, "django_tasks:redis"
    # What the package's own statistics would tidy away.
    for key in (f"{prefix}:status_index:FAILED", f"{prefix}:default:status_index:FAILED"):
        server.zadd(key, {"expired": 1.0})
    server.sadd(f"{prefix}:results_index", "expired")
    for built in (True, False):
        if not built:
            server.delete(f"{prefix}:status_index_built")
        before = dump(server)
        server.config_resetstat()
        adapter = world.adapter
        (queue,) = [q for q in adapter.queues() if q.counts.queue_name == "default"]
        assert (queue.counts.ready, queue.counts.running, queue.failed) == (1, 2, 0)
        assert adapter.workers() and adapter.lost() and adapter.overlong() == []
        adapter.prune(PruneOrder(KEPT, dry_run=True, duty=1))
        used = {name.removeprefix("cmdstat_").split("|")[0] for name in server.info("commandstats")}
        assert used - OWN <= READS
        assert dump(server) == before


def test_counts_are_the_truth(world: RedisWorld, file: Path) -> None:
    from datetime import timedelta

    from django.utils import timezone

    for _ in range(3):
        world.append(file, "t")
    later = timezone.now() + timedelta(hours=1)
    tasks.add.using(backend="redis", queue_name="bulk", run_after=later).enqueue(1, 2)
    for built in (True, False):
        if not built:
            world.server.delete("django_tasks:redis:status_index_built")
        bulk, default = world.adapter.queues()
        assert (default.counts.ready, default.counts.scheduled) == (3, 0)
        assert (bulk.counts.ready, bulk.counts.scheduled) == (0, 1)
        assert bulk.counts.oldest_ready_at is None
        assert default.counts.oldest_ready_at is not None
        waited = timezone.now() - default.counts.oldest_ready_at
        assert 0 <= waited.total_seconds() < 20


def test_workers_are_seen_as_they_are(world: RedisWorld, file: Path) -> None:
    busy = world.worker()
    task_id = world.append(file, "t", 60)
    until(lambda: began(file, "t"))
    idle = world.worker()
    found = {each.name: each for each in world.adapter.workers()}
    at_work, waiting = found[world.worker_id(busy)], found[world.worker_id(idle)]
    assert (at_work.alive, at_work.task, at_work.pid) == (True, task_id, busy.pid)
    assert (waiting.alive, waiting.task, waiting.pid) == (True, "", None)
    assert world.adapter.lost() == []
    busy.signal(signal.SIGSTOP)  # it is stopped, and not dead
    assert world.adapter.lost() == []


# -- prune ------------------------------------------------------------------------


def finished(world: RedisWorld, number: int) -> None:
    from django_tasks_redis import executor

    for each in range(number):
        world.enqueue(tasks.add, each, 1)
    world.enqueue(tasks.fail, "x")
    while executor.get_pending_task_count(backend_name="redis"):
        executor.process_tasks(backend_name="redis")
    poison = handle(world, world.enqueue(tasks.add, 0, 0))
    assert world.adapter.fail(poison, entry(world.adapter, poison, "quarantined"), TaskQuarantined)


@pytest.mark.parametrize("indexed", [True, False])
def test_prune_deletes_what_is_due_and_nothing_else(world: RedisWorld, indexed: bool) -> None:
    server, prefix = world.server, "django_tasks:redis"
    finished(world, 120)
    world.age(2 * DAY)
    finished(world, 3)
    ready = world.enqueue(tasks.add, 1, 1)
    running = world.enqueue(tasks.add, 2, 2)
    world.backend.claim_task(running, "external")
    gone = world.enqueue(tasks.add, 3, 3)
    server.delete(f"{prefix}:result:{gone}")
    if not indexed:
        server.delete(f"{prefix}:status_index_built")

    before = dump(server)
    order = PruneOrder(KEPT, duty=1)
    planned = world.adapter.prune(replace(order, dry_run=True))
    assert dump(server) == before
    done = world.adapter.prune(order)
    assert done.deleted == planned.deleted == {"successful": 120, "expired": 1}
    assert done.stopped == "" and done.batches >= 2 and done.worst > 0
    assert {world.status(ready), world.status(running)} == {"READY", "RUNNING"}
    left = server.smembers(f"{prefix}:results_index")
    assert len(left) == 3 + 2 + 2 + 2
    assert {key.rpartition(":")[2] for key in server.scan_iter(f"{prefix}:result:*")} == left
    assert server.zcard(f"{prefix}:status_index:SUCCESSFUL") == 3
    assert world.adapter.prune(order).deleted == {}

    world.age(30 * DAY)
    assert world.adapter.prune(order).deleted == {"successful": 3, "failed": 2}


def test_prune_keeps_to_its_bounds(world: RedisWorld) -> None:
    finished(world, 120)
    world.age(2 * DAY)
    done = world.adapter.prune(PruneOrder(KEPT, max_seconds=0))
    assert (done.stopped, done.deleted) == ("max_seconds", {})
    assert world.adapter.prune(PruneOrder(KEPT, queues=("bulk",), duty=1)).deleted == {}
    calls: list[int] = []

    def stop_at_the_second() -> None:
        calls.append(1)
        if len(calls) > 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        world.adapter.prune(PruneOrder(KEPT, duty=1, go_on=stop_at_the_second))
    left = world.server.zcard("django_tasks:redis:status_index:SUCCESSFUL")
    assert 0 < left < 120
    at = time.monotonic()
    done = world.adapter.prune(PruneOrder(KEPT, duty=0.25))
    assert done.deleted == {"successful": left} and done.seconds <= time.monotonic() - at


# -- the server is away -----------------------------------------------------------


def calls_of(adapter: Redis) -> Iterator[Any]:
    yield from (adapter.queues, adapter.workers, adapter.lost, adapter.overlong)
    yield lambda: adapter.prune(PruneOrder(KEPT))
    yield lambda: adapter.task("x")
    yield lambda: adapter.tasks("FAILED", 1)


def refused(adapter: Any, says: str) -> None:
    for call in calls_of(adapter):
        at = time.monotonic()
        with pytest.raises(Unreachable) as caught:
            call()
        assert time.monotonic() - at < 3
        assert says in str(caught.value) and "\n" not in str(caught.value)
        assert "hunter2" not in str(caught.value) and caught.value.__cause__ is None
    assert isinstance(adapter.warnings(), list)


def test_the_server_goes_away_and_comes_back(world: RedisWorld, broker: Broker, file: Path) -> None:
    killed(world, file)
    adapter = world.adapter
    (lost,) = adapter.lost()
    broker.stop()
    refused(adapter, "does not answer: Connection refused")
    with pytest.raises(Unreachable):
        adapter.requeue(lost, entry(adapter, lost))
    assert not LedgerEntry.objects.exists()
    broker.start()
    until(world.loaded, what="it has read its data again")
    assert [each.task_id for each in adapter.lost()] == [lost.task_id]
    assert adapter.requeue(lost, entry(adapter, lost))


def test_a_server_that_hangs_is_not_waited_for(world: RedisWorld, broker: Broker) -> None:
    adapter = world.adapter
    adapter.queues()
    assert broker.process is not None
    broker.process.send_signal(signal.SIGSTOP)
    try:
        at = time.monotonic()
        with pytest.raises(Unreachable, match="does not answer within 2 s"):
            adapter.queues()
        assert time.monotonic() - at < 3
    finally:
        broker.process.send_signal(signal.SIGCONT)
    assert adapter.queues() is not None


@pytest.mark.parametrize("given", ["", ":hunter2@"])
def test_a_server_that_wants_another_password(broker: Broker, given: str) -> None:
    url = f"redis://{given}127.0.0.1:{settings.BROKER_PORT}/1"
    configured = {"redis": {**settings.TASKS["redis"], "OPTIONS": {"REDIS_URL": url}}}
    broker.stop()
    broker.start("--requirepass", "swordfish")
    try:
        with override_settings(TASKS={**settings.TASKS, **configured}):
            every = {each.alias: each for each in adapters("default")}
            refused(every["redis"], "does not let us in")
            assert every["default"].name == "database"
    finally:
        broker.stop()
        broker.start()


def test_an_address_that_is_none_is_told_without_its_password() -> None:
    bad = {"redis": {**settings.TASKS["redis"], "OPTIONS": {"REDIS_URL": "redis://h:hunter2/1"}}}
    with override_settings(TASKS=bad):
        (adapter,) = adapters("default")
        refused(adapter, "no address of a server")


def test_the_pid_of_another_time_is_no_proof_of_life() -> None:
    from argus_maint.backends.adapters.redis_identity import of_this_process, read
    from argus_maint.workers.identity import Presence, this_host

    mine = of_this_process()
    assert mine.presence(this_host()) is Presence.HERE and mine.pid == os.getpid()
    assert replace(mine, start_time="1").presence(this_host()) is Presence.GONE
    assert replace(mine, boot_id="another").presence(this_host()) is Presence.UNKNOWN
    assert read('{"of": "another version"}') is None and read("no JSON") is None


def test_a_worker_that_cannot_say_who_it_is_works_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from argus_maint.backends.adapters import redis_identity

    def away() -> None:
        raise redis.ConnectionError("away")

    backend = task_backends["redis"]
    monkeypatch.setattr(backend, "get_client", away)
    for sender, worker_ids in ((type(backend), ["w"]), (type(backend), []), (object, ["w"])):
        result = SimpleNamespace(worker_ids=worker_ids, backend="redis")
        redis_identity._tell(sender, task_result=result)


def test_a_worker_says_who_it_is_once_and_not_at_each_task(world: RedisWorld) -> None:
    worker = world.worker()
    first = world.enqueue(tasks.add, 1, 1)
    until(lambda: world.status(first) == "SUCCESSFUL")
    key = f"django_tasks:redis:argus_maint:worker:{world.worker_id(worker)}"
    assert 80_000 < world.server.ttl(key) <= 86_400
    world.server.expire(key, 1000)
    second = world.enqueue(tasks.add, 1, 1)
    until(lambda: world.status(second) == "SUCCESSFUL")
    assert world.server.ttl(key) <= 1000
