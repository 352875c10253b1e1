"""What is special about django-tasks-redis: its reclaim, its messages, and what they miss."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from django.tasks import task_backends
from django.test import override_settings

from argus_maint.backends.adapters import adapters
from argus_maint.exceptions import TaskDiscarded, WorkerLost
from argus_maint.jobs import foreign
from argus_maint.jobs.errand import Errand
from argus_maint.models import LedgerEntry
from argus_maint.retention import Retention
from tests import tasks
from tests.backends.adapters.conftest import Broker
from tests.backends.adapters.world import began, ended
from tests.backends.adapters.world_redis import RedisWorld, dump, entry, handle, killed, requeue
from tests.lab import Lab, until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def world(broker: Broker, lab: Lab) -> RedisWorld:
    return RedisWorld(lab)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "truth"


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
        report = foreign.make(Errand("default", "test"))
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
    assert world.adapter.overlong() == []
    (due,) = until(lambda: world.adapter.overlong(), what="it is named")
    assert (due.task_id, due.twice, due.worker) == (task_id, False, world.worker_id(first))
    assert due.seconds > 2 and world.adapter.lost() == []

    second = world.worker()
    until(lambda: len(began(file, "t")) == 2, what="the package runs it twice")
    found = until(lambda: [each for each in world.adapter.overlong() if each.twice])
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
    assert failed is not None and failed.handle.verdict == "manual"
    assert requeue(world, failed.handle) and not requeue(world, failed.handle)
    world.worker()
    until(lambda: world.status(task_id) == "SUCCESSFUL")
    assert world.backend.get_result(task_id).errors == []


def test_a_task_that_is_put_back_waits_as_long_as_it_takes(world: RedisWorld, file: Path) -> None:
    """With REDIS_RESULT_TTL 0 nothing that is READY may expire."""
    task_id, _ = killed(world, file, seconds=1)
    world.backend.result_ttl = 0
    (lost,) = world.adapter.lost()
    assert world.adapter.fail(lost, entry(world.adapter, lost, "failed"), WorkerLost)
    key = f"django_tasks:redis:result:{task_id}"
    assert world.server.ttl(key) > 0
    assert requeue(world, handle(world, task_id))
    assert world.server.ttl(key) == -1


def test_a_ready_task_is_failed_by_a_person_and_never_runs(world: RedisWorld, file: Path) -> None:
    first, second = world.append(file, "first"), world.append(file, "second")
    ready = handle(world, first)
    assert not requeue(world, ready)
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
    running = handle(world, task_id)
    assert world.adapter.fail(running, entry(world.adapter, running, "failed"), TaskDiscarded)
    assert world.status(task_id) == "FAILED"
    file.touch()
    until(lambda: world.status(task_id) == "SUCCESSFUL", what="it is overwritten")


# -- records that somebody has broken ---------------------------------------------


def test_one_broken_record_keeps_nobody_from_the_rest(world: RedisWorld, file: Path) -> None:
    good, _ = killed(world, file)
    bad, _ = killed(world, file, "bad")
    key = f"django_tasks:redis:result:{bad}"
    world.server.hset(key, "worker_ids_json", "{broken")
    assert [each.task_id for each in world.adapter.lost()] == [good]
    assert world.adapter.task(bad) is None
    world.server.hset(key, "errors_json", "{broken")
    assert world.adapter.tasks("RUNNING", 10)
    assert not world.prune(Retention({"failed": 1.0, "successful": 1.0, "quarantined": 1.0}))


def test_a_task_with_broken_errors_is_failed_in_one_piece(world: RedisWorld, file: Path) -> None:
    """The script reads what it needs before it changes anything."""
    task_id, _ = killed(world, file)
    broken = '[{"traceback": "\\ud800"}]'
    world.server.hset(f"django_tasks:redis:result:{task_id}", "errors_json", broken)
    (lost,) = world.adapter.lost()
    assert world.adapter.fail(lost, entry(world.adapter, lost, "failed"), WorkerLost)
    assert world.status(task_id) == "FAILED"
    assert world.errors(task_id) == ["argus_maint.exceptions.WorkerLost"]
    assert world.adapter.lost() == []
