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
from argus_maint.jobs import foreign
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


@pytest.mark.parametrize(
    ("policy", "action", "status"),
    [({}, "requeued", "READY"), ({"on_lost": "fail"}, "failed", "FAILED")],
)
def test_the_job_rescue_acts_by_policy(
    world: RedisWorld, file: Path, policy: dict[str, Any], action: str, status: str
) -> None:
    task_id, _ = killed(world, file)
    with override_settings(ARGUS_MAINT={"RESCUE": {"*": policy}}):
        report = foreign.make(foreign.Errand("default", "test"))
    assert [(each.action, each.losses) for each in report.acts] == [(action, 1)]
    assert report.errors == [] and world.status(task_id) == status


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


@pytest.mark.slow
def test_a_result_that_could_not_be_written_is_found_when_the_server_is_back(
    world: RedisWorld, broker: Broker, file: Path
) -> None:
    """The package throws the message away then, and the task is RUNNING for ever."""
    worker = world.worker()
    task_id = world.append(file, "t", 1)
    until(lambda: began(file, "t"))
    broker.stop()
    until(lambda: "Failed to process a task" in worker.log, 60, "it could not write its result")
    assert ended(file, "t") == 1
    broker.start()
    until(world.loaded, what="it has read its data again")
    key = "django_tasks:redis:default:stream:normal"
    until(lambda: not world.server.xlen(key), 30, "it throws the message away")
    assert world.status(task_id) == "RUNNING"
    assert world.adapter.lost()[0].confirms_in > 0, "one look is not enough"
    (lost,) = until(lambda: [each for each in world.adapter.lost() if not each.confirms_in], 20)
    assert (lost.verdict, lost.task_id) == ("orphaned", task_id)
    assert requeue(world, lost)
    until(lambda: world.status(task_id) == "SUCCESSFUL")
    assert worker.process.poll() is None and ended(file, "t") == 2


# -- a task that runs longer than the claim timeout -------------------------------


@pytest.mark.slow
def test_a_live_task_longer_than_the_claim_timeout_is_named(
    world: RedisWorld, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.backend, "claim_timeout", 2.0)
    world.environment = {"ARGUS_MAINT_TEST_CLAIM_TIMEOUT": "2"}
    world.options.append("--claim-interval=0.5")
    first = world.worker()
    task_id = world.append(file, "t", 15)
    until(lambda: began(file, "t"))
    assert world.adapter.twice() == []
    (due,) = until(lambda: world.adapter.twice(), what="it is named")
    assert (due.task_id, due.twice, due.worker) == (task_id, False, world.worker_id(first))
    assert due.seconds > 2 and world.adapter.lost() == []

    second = world.worker()
    until(lambda: len(began(file, "t")) == 2, what="the package runs it twice")
    found = until(lambda: [each for each in world.adapter.twice() if each.twice])
    assert [(each.task_id, each.worker) for each in found] == [(task_id, world.worker_id(first))]
    assert world.worker_id(second) in found[0].evidence
    assert world.adapter.lost() == [], "both are alive"


@pytest.mark.parametrize(
    ("rescue", "says"),
    [
        ({}, "no time_limit holds for all tasks: one that runs longer than 300 s"),
        ({"*": {"time_limit": "10m"}}, "tasks * may run for 600 s, and after 300 s"),
        ({"shop.*": {"on_lost": "fail"}}, "tasks shop.* are to fail when their worker is lost"),
    ],
)
def test_settings_that_do_not_go_together_are_told(rescue: dict[str, Any], says: str) -> None:
    with override_settings(ARGUS_MAINT={"RESCUE": rescue}):
        (adapter,) = [each for each in adapters("default") if each.alias == "redis"]
        lines = adapter.warnings()
    assert any(says in line for line in lines), lines
    assert not any("\n" in line for line in lines)


def test_settings_that_go_together_need_no_word() -> None:
    ages = {"failed": "30d", "quarantined": "30d"}
    rescue = {"*": {"time_limit": "2m"}}
    with override_settings(ARGUS_MAINT={"RESCUE": rescue, "RETENTION": ages}):
        (adapter,) = [each for each in adapters("default") if each.alias == "redis"]
        assert adapter.warnings() == []


# -- what a person asks for -------------------------------------------------------


def test_a_failed_task_is_put_back_by_a_person(world: RedisWorld, file: Path) -> None:
    task_id, _ = killed(world, file, seconds=1)
    (lost,) = world.adapter.lost()
    assert world.adapter.fail(lost, entry(world.adapter, lost, "failed"), WorkerLost)
    failed = world.adapter.task(task_id)
    assert failed is not None and failed.verdict == "manual"
    assert requeue(world, failed) and not requeue(world, failed)
    world.worker()
    until(lambda: world.status(task_id) == "SUCCESSFUL")
    assert world.backend.get_result(task_id).errors == []


def test_a_ready_task_is_failed_by_a_person_and_never_runs(world: RedisWorld, file: Path) -> None:
    first, second = world.append(file, "first"), world.append(file, "second")
    ready = world.adapter.task(first)
    assert ready is not None and not requeue(world, ready)
    assert world.adapter.fail(ready, entry(world.adapter, ready, "failed"), TaskDiscarded)
    world.worker()
    until(lambda: world.status(second) == "SUCCESSFUL")
    assert world.status(first) == "FAILED" and not began(file, "first")
    assert world.adapter.task("nobody") is None


def test_there_is_no_fence_a_live_worker_overwrites_what_was_decided(
    world: RedisWorld, file: Path
) -> None:
    assert not world.adapter.supports_fence
    world.worker()
    task_id = world.enqueue(tasks.wait_for, str(file))
    until(lambda: world.status(task_id) == "RUNNING")
    running = world.adapter.task(task_id)
    assert running is not None
    assert world.adapter.fail(running, entry(world.adapter, running, "failed"), TaskDiscarded)
    assert world.status(task_id) == "FAILED"
    file.touch()
    until(lambda: world.status(task_id) == "SUCCESSFUL", what="it is overwritten")


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
        assert adapter.workers() and adapter.lost() and adapter.twice() == []
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
    poison = world.adapter.task(world.enqueue(tasks.add, 0, 0))
    assert poison is not None
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
    yield from (adapter.queues, adapter.workers, adapter.lost, adapter.twice)
    yield lambda: adapter.prune(PruneOrder(KEPT))
    yield lambda: adapter.task("x")


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
