"""RQ alone: horses and their workers, races, what looking may not do, and a server in trouble."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from django.db import connections

from argus_maint.backends.adapters.base import Lost, PruneOrder, Unreachable, entry_of
from argus_maint.backends.adapters.rq import fleet, processes
from argus_maint.backends.adapters.rq.adapter import RQ
from argus_maint.exceptions import TaskQuarantined, WorkerLost
from argus_maint.models import LedgerEntry
from argus_maint.retention import Retention
from tests import tasks
from tests.backends.adapters.conftest import Broker
from tests.backends.adapters.rescuing import rescue
from tests.backends.adapters.world import alive, began, ended
from tests.backends.adapters.world_rq import RQWorld
from tests.lab import Lab, Supervised, until

SHORT = Retention({"successful": 60.0, "failed": 60.0, "quarantined": None})
REQUEUED = {"action": LedgerEntry.Action.REQUEUED, "noticed_by": "test"}
FAILED = {"action": LedgerEntry.Action.FAILED, "noticed_by": "test"}


@pytest.fixture
def world(lab: Lab, broker: Broker, settings: Any) -> Iterator[RQWorld]:
    settings.ARGUS_MAINT = {"RESCUE": {"*": {"on_lost": "requeue", "backoff": (0, 0)}}}
    fleet._remembered.clear()  # as a process that has just been started
    made = RQWorld(lab)
    try:
        yield made
    finally:
        made.close()


def adapter(world: RQWorld) -> RQ:
    made = world.adapter
    assert isinstance(made, RQ)
    return made


def entry(world: RQWorld, lost: Lost, evidence: str = "", **values: Any) -> LedgerEntry:
    made = entry_of(world.adapter, lost, **{**REQUEUED, **values})
    made.evidence = evidence or made.evidence
    return made


def running(world: RQWorld, out: Path, text: str, seconds: float) -> tuple[str, Supervised, int]:
    """A task that a worker of its own has begun, with the worker and its horse."""
    task_id = world.append(out, text, seconds)
    worker = world.worker(f"of-{text}")
    until(lambda: began(out, text), what=f"the beginning of {text}")
    return task_id, worker, began(out, text)[0]


def lost_one(world: RQWorld, out: Path, text: str = "lost", seconds: float = 600) -> Lost:
    """A task whose worker was killed with all that came from it, as 90 s later."""
    task_id, worker, _ = running(world, out, text, seconds)
    world.kill(worker)
    world.let_expire(task_id)
    (lost,) = [each for each in world.adapter.lost() if each.task_id == task_id]
    return lost


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_what_a_kill_leaves_and_what_it_does_not(world: RQWorld, tmp_path: Path) -> None:
    """Both killed: found within 100 s. The worker alone: its horse ends the task, once."""
    out = tmp_path / "out"
    both, worker, _ = running(world, out, "both", 30)
    alone, parent, horse = running(world, out, "alone", 170)
    idle_from = time.monotonic()
    world.kill(worker)
    world.kill_alone(parent)
    assert alive(horse)
    seen: dict[str, float] = {}

    def found() -> bool:
        for lost in world.adapter.lost():
            assert lost.task_id == both, "the one whose horse goes on is not lost"
            seen.setdefault("first", time.monotonic() - idle_from)
            if not lost.confirms_in:
                assert lost.verdict == "exited"
                assert "gone from this host" in lost.evidence
                seen.setdefault("certain", time.monotonic() - idle_from)
            else:
                assert 0 < lost.confirms_in <= 60
        time.sleep(0.5)
        return "certain" in seen

    until(found, 100, "the abandoned task")
    print(f"first seen after {seen['first']:.0f} s, certain after {seen['certain']:.0f} s")
    assert [act.action for act in rescue(world.adapter)] == ["requeued"]
    # A worker that starts does rq's maintenance: it fails the task that its horse still runs.
    world.worker("next")
    until(lambda: world.status(both) == "SUCCESSFUL", 60)
    assert (len(began(out, "both")), ended(out, "both")) == (2, 1)
    until(lambda: world.status(alone) == "FAILED", what="rq to take it for abandoned")
    assert alive(horse)
    assert world.adapter.lost() == []
    until(lambda: ended(out, "alone") == 1, 150)
    until(lambda: world.status(alone) == "SUCCESSFUL")
    assert world.adapter.lost() == []
    assert len(began(out, "alone")) == 1


def test_a_horse_that_is_killed_is_a_loss_with_its_signal(world: RQWorld, tmp_path: Path) -> None:
    out = tmp_path / "out"
    task_id, worker, horse = running(world, out, "x", 600)
    os.kill(horse, signal.SIGKILL)
    until(lambda: world.status(task_id) == "FAILED")
    (lost,) = world.adapter.lost()
    assert (lost.verdict, lost.exit_signal, lost.attempt) == ("exited", "SIGKILL", 1)
    assert lost.task_path == "tests.tasks.append"
    assert lost.confirms_in == 0
    rescue(world.adapter)
    until(lambda: len(began(out, "x")) == 2, what="the second attempt")
    os.kill(began(out, "x")[1], signal.SIGKILL)
    until(lambda: world.status(task_id) == "FAILED")
    (lost,) = world.adapter.lost()
    assert lost.attempt == 2
    assert world.adapter.fail(lost, entry(world, lost, **FAILED, evidence="twice"), WorkerLost)
    assert world.errors(task_id) == ["argus_maint.exceptions.WorkerLost"]
    assert world.adapter.lost() == []
    assert worker.process.poll() is None


def test_what_the_ledger_has_settled_is_not_found_again(world: RQWorld, tmp_path: Path) -> None:
    _, _, horse = running(world, tmp_path / "out", "x", 600)
    os.kill(horse, signal.SIGKILL)
    (lost,) = until(world.adapter.lost)
    act = entry(world, lost, action=LedgerEntry.Action.DISCARDED, acted_at=lost.seen_at)
    act.save()
    assert world.adapter.lost() == []


def test_a_task_that_rq_found_first_is_a_loss(world: RQWorld, tmp_path: Path) -> None:
    lost = lost_one(world, tmp_path / "out", seconds=3)
    now = time.time()
    for member in world.redis.zrange("rq:wip:default", 0, -1):
        world.redis.zadd("rq:wip:default", {member: now - 1})
    worker = world.worker("maintains")
    until(lambda: world.status(lost.task_id) == "FAILED")
    assert world.errors(lost.task_id) == ["rq.exceptions.AbandonedJobError"]
    (found,) = world.adapter.lost()
    assert found.attempt == lost.attempt == 1
    assert "rq found it abandoned" in found.evidence
    assert not world.adapter.requeue(lost, entry(world, lost)), "it is not as it was read"
    assert world.adapter.requeue(found, entry(world, found))
    until(lambda: world.status(found.task_id) == "SUCCESSFUL")
    assert world.errors(found.task_id) == []
    assert LedgerEntry.objects.count() == 1
    assert worker.process.poll() is None


def test_a_horse_that_goes_on_is_not_lost(world: RQWorld, tmp_path: Path) -> None:
    task_id, worker, horse = running(world, tmp_path / "out", "x", 600)
    world.kill_alone(worker)
    world.let_expire(task_id)
    try:
        assert world.adapter.lost() == []
        fleet._remembered.clear()
        world.redis.delete("rq:worker:of-x")  # where it ran is not known any more
        assert world.adapter.lost() == []
        assert [each.pid for each in processes.table().orphans()] == [horse]
    finally:
        os.kill(horse, signal.SIGKILL)
    until(lambda: not alive(horse) or psutil.Process(horse).status() == "zombie")
    assert [each.task_id for each in world.adapter.lost()] == [task_id]


def test_a_worker_that_is_stopped_is_not_lost(world: RQWorld, tmp_path: Path) -> None:
    task_id, worker, _ = running(world, tmp_path / "out", "x", 5)
    worker.signal_tree(signal.SIGSTOP)
    world.let_expire(task_id)
    assert world.adapter.lost() == []
    worker.signal_tree(signal.SIGCONT)
    until(lambda: world.status(task_id) == "SUCCESSFUL")


def test_a_task_of_another_host_says_that_only_its_entry_can_tell(
    world: RQWorld, tmp_path: Path
) -> None:
    task_id, worker, _ = running(world, tmp_path / "out", "x", 600)
    world.redis.hset("rq:worker:of-x", "hostname", "elsewhere")
    world.kill(worker)
    world.let_expire(task_id)
    (lost,) = world.adapter.lost()
    assert (lost.verdict, lost.host) == ("expired", "elsewhere")
    assert "only its entry can tell" in lost.evidence


def test_workers_are_told_alive_from_dead(world: RQWorld, tmp_path: Path) -> None:
    task_id, worker, horse = running(world, tmp_path / "out", "x", 600)
    idle = world.worker("idle")
    known = {each.name: each for each in world.adapter.workers()}
    assert (known["of-x"].task, known["of-x"].pid) == (task_id, worker.pid)
    assert {each.alive for each in known.values()} == {True}
    world.kill_alone(worker)
    idle.stop()
    (dead,) = world.adapter.workers()
    assert dead.alive is False
    assert f"its work horse {horse} goes on" in dead.evidence
    world.redis.delete("rq:worker:of-x")
    (dead,) = world.adapter.workers()
    assert dead.alive is False
    assert "expired" in dead.evidence
    os.kill(horse, signal.SIGKILL)


@pytest.mark.parametrize("kind", ["requeue", "fail", "both"])
def test_of_two_who_act_at_once_one_does(world: RQWorld, tmp_path: Path, kind: str) -> None:
    lost = lost_one(world, tmp_path / "out", seconds=0.1)
    barrier = threading.Barrier(4)

    def act(number: int) -> bool:
        try:
            made = world.adapter
            barrier.wait(20)
            if kind == "requeue" or (kind == "both" and number % 2):
                return made.requeue(lost, entry(world, lost))
            return made.fail(lost, entry(world, lost, **FAILED, evidence="gone"), WorkerLost)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(act, range(4)))
    assert sum(done) == 1
    assert LedgerEntry.objects.count() == 1
    assert world.redis.llen("rq:queue:default") + world.redis.zcard("rq:failed:default") == 1


def test_a_task_that_is_failed_says_why(world: RQWorld, tmp_path: Path) -> None:
    lost = lost_one(world, tmp_path / "out")
    act = entry(world, lost, **FAILED, evidence="it has lost its worker 3 times")
    assert world.adapter.fail(lost, act, TaskQuarantined)
    result = world.adapter.backend.get_result(lost.task_id)
    assert str(result.status) == "FAILED"
    assert [each.exception_class for each in result.errors] == [TaskQuarantined]
    assert "it has lost its worker 3 times" in result.errors[0].traceback
    assert result.worker_ids == ["of-lost"]
    assert result.finished_at is not None


def test_a_person_requeues_a_failed_task(world: RQWorld) -> None:
    task_id = world.enqueue(tasks.add, 1, "2")
    world.worker()
    until(lambda: world.status(task_id) == "FAILED")
    assert world.adapter.lost() == [], "an exception is no loss"
    lost = adapter(world).failed_task(task_id)
    assert lost is not None
    assert lost.verdict == "manual"
    assert world.adapter.requeue(lost, entry(world, lost))
    until(lambda: world.status(task_id) == "FAILED")
    again = adapter(world).failed_task(task_id)
    assert again is not None
    assert again.attempt == 2
    assert len(world.errors(task_id)) == 1
    assert adapter(world).failed_task("nobody") is None


def test_the_return_value_is_that_of_the_attempt_that_ended(world: RQWorld, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    task_id = world.enqueue(tasks.wait_for, str(gate))
    worker = world.worker()
    horse = world.horse(worker)
    until(lambda: world.status(task_id) == "RUNNING")
    os.kill(horse, signal.SIGKILL)
    until(lambda: rescue(world.adapter))
    gate.touch()
    until(lambda: world.status(task_id) == "SUCCESSFUL")
    assert world.adapter.backend.get_result(task_id).return_value == "found"


def test_a_task_that_was_taken_and_not_begun(
    world: RQWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = world.append(tmp_path / "out", "x")
    world.redis.lmove("rq:queue:default", "rq:queue:default:intermediate")
    (lost,) = world.adapter.lost()
    assert 50 < lost.confirms_in <= 60
    monkeypatch.setattr("argus_maint.backends.adapters.rq.losses.STUCK", 0.0)
    assert [act.action for act in rescue(world.adapter)] == ["requeued"]
    world.worker()
    until(lambda: world.status(task_id) == "SUCCESSFUL")


def test_a_delay_without_a_scheduler_is_none(world: RQWorld, tmp_path: Path) -> None:
    lost = lost_one(world, tmp_path / "out")
    act = entry(world, lost, delay=30.0)
    assert world.adapter.requeue(lost, act, 30.0)
    act.refresh_from_db()
    assert act.delay == 0
    assert world.redis.llen("rq:queue:default") == 1


def test_a_delay_with_a_scheduler_is_kept(world: RQWorld, tmp_path: Path) -> None:
    lost = lost_one(world, tmp_path / "out", seconds=0.1)
    world.worker("schedules", "--with-scheduler")
    until(lambda: world.redis.exists("rq:scheduler-lock:default"))
    assert world.adapter.requeue(lost, entry(world, lost), 3.0)
    assert world.redis.zcard("rq:scheduled:default") == 1
    assert adapter(world).overdue_scheduled() == []
    until(lambda: world.status(lost.task_id) == "SUCCESSFUL")
    assert len(began(tmp_path / "out", "lost")) == 2


def test_scheduled_tasks_that_nobody_enqueues(world: RQWorld, tmp_path: Path) -> None:
    ids = [scheduled(world, tmp_path / "out", seconds=-120) for _ in range(20)]
    later = scheduled(world, tmp_path / "out", seconds=600)
    assert {each.task_id for each in adapter(world).overdue_scheduled()} == set(ids)

    def enqueue(_: int) -> int:
        try:
            return adapter(world).enqueue_overdue()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        done = sum(pool.map(enqueue, range(4)))
    assert done == len(ids) == world.redis.llen("rq:queue:default")
    assert world.redis.zrange("rq:scheduled:default", 0, -1) == [later]
    assert not world.redis.exists("rq:scheduler-lock:default")
    world.worker()
    until(lambda: ended(tmp_path / "out", "scheduled") == len(ids))


def test_where_a_scheduler_runs_nothing_is_enqueued(world: RQWorld, tmp_path: Path) -> None:
    scheduled(world, tmp_path / "out", seconds=-120)
    world.redis.set("rq:scheduler-lock:default", "of another", ex=60)
    assert adapter(world).enqueue_overdue() == 0
    (overdue,) = adapter(world).overdue_scheduled()
    assert overdue.scheduler


def scheduled(world: RQWorld, out: Path, seconds: float) -> str:
    task_id = world.append(out, "scheduled")
    world.redis.lrem("rq:queue:default", 1, task_id)
    world.redis.hset(f"rq:job:{task_id}", "status", "scheduled")
    world.redis.zadd("rq:scheduled:default", {task_id: int(time.time() + seconds)})
    return task_id


def test_looking_changes_nothing(world: RQWorld, tmp_path: Path) -> None:
    """By the server's own list of commands, and by all that it holds."""
    task_id, worker, _ = running(world, tmp_path / "out", "x", 600)
    world.kill(worker)
    scheduled(world, tmp_path / "out", -120)
    world.redis.zadd("rq:finished:default", {"expired": 1, "gone": time.time() + 60})
    world.redis.sadd("rq:workers:default", "rq:worker:gone")
    world.redis.sadd("rq:workers", "rq:worker:gone")
    world.let_expire(task_id)
    before = everything(world)
    with watched(world) as commands:
        made = adapter(world)
        assert made.queues()
        assert made.workers()
        assert made.lost()
        assert made.overdue_scheduled()
        assert made.failed_task(task_id) is None
        assert made.prune(PruneOrder(SHORT, dry_run=True)).deleted["orphaned"]
        assert made.warnings() == []
    assert everything(world) == before
    assert len(commands) > 20
    flags = world.redis.command()
    writing = {name for name in commands if "write" in flags[name]["flags"]}
    assert not writing
    assert not {each for each in commands if each.startswith(("eval", "script", "config"))}


def everything(world: RQWorld) -> dict[str, Any]:
    """All keys with their values and the times at which they expire. Not by DUMP: the order
    of a hash may change by itself."""
    raw = redis.Redis(port=world.redis.connection_pool.connection_kwargs["port"])
    read = {
        b"hash": raw.hgetall,
        b"zset": lambda key: raw.zrange(key, 0, -1, withscores=True),
        b"list": lambda key: raw.lrange(key, 0, -1),
        b"set": raw.smembers,
        b"stream": raw.xrange,
        b"string": raw.get,
    }
    with raw:
        keys = list(raw.scan_iter())
        return {key.decode(): (read[raw.type(key)](key), raw.expiretime(key)) for key in keys}


@contextmanager
def watched(world: RQWorld) -> Iterator[set[str]]:
    """Names of the commands that the server is given meanwhile."""
    commands: set[str] = set()
    ready, done = threading.Event(), threading.Event()

    def listen() -> None:
        with world.redis.monitor() as monitor:
            ready.set()
            for each in monitor.listen():
                words = each["command"].split()
                if words[:2] == ["PING", "over"]:
                    break
                commands.add(words[0].lower() + f"#{len(commands)}")
        done.set()

    thread = threading.Thread(target=listen)
    thread.start()
    assert ready.wait(10)
    names: set[str] = set()
    try:
        yield names
    finally:
        world.redis.execute_command("PING", "over")
        thread.join(10)
        names.update(each.partition("#")[0] for each in commands)


def test_a_server_that_is_away_is_one_line_and_comes_back(
    world: RQWorld, broker: Broker, tmp_path: Path
) -> None:
    task_id = world.append(tmp_path / "out", "x")
    broker.stop()
    made = adapter(world)
    asks = [made.queues, made.workers, made.lost, made.overdue_scheduled]
    for ask in [*asks, lambda: made.prune(PruneOrder(SHORT))]:
        began_at = time.monotonic()
        with pytest.raises(Unreachable) as raised:
            ask()  # type: ignore[operator]
        assert time.monotonic() - began_at < 5
        assert "\n" not in str(raised.value)
        assert f"127.0.0.1:{broker.port}" in str(raised.value)
    broker.start()
    assert made.queues()[0].counts.ready == 1
    world.worker()
    until(lambda: world.status(task_id) == "SUCCESSFUL")


def test_a_server_that_hangs_does_not_keep_us(world: RQWorld, broker: Broker) -> None:
    assert broker.process is not None
    broker.process.send_signal(signal.SIGSTOP)
    try:
        began_at = time.monotonic()
        with pytest.raises(Unreachable, match="does not answer"):
            world.adapter.lost()
        assert time.monotonic() - began_at < 6
    finally:
        broker.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("given", [None, "s3cret-but-wrong"])
def test_a_wrong_password_is_said_without_it(
    world: RQWorld, settings: Any, given: str | None
) -> None:
    world.redis.config_set("requirepass", "s3cret-and-right")
    try:
        settings.RQ_QUEUES = {
            name: {**each, "PASSWORD": given} for name, each in settings.RQ_QUEUES.items()
        }
        with pytest.raises(Unreachable) as raised:
            world.adapter.queues()
        assert "password in RQ_QUEUES is wrong" in str(raised.value)
        assert "s3cret" not in str(raised.value)
    finally:
        with redis.Redis(port=settings.BROKER_PORT, password="s3cret-and-right") as owner:
            owner.config_set("requirepass", "")


def test_jobs_of_others_are_not_ours(world: RQWorld, settings: Any) -> None:
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
    world.enqueue(tasks.add, 1, 2)
    (counts,) = [each for each in world.adapter.queues() if each.counts.queue_name == "default"]
    assert (counts.counts.ready, counts.failed) == (1, 0)
    assert world.adapter.lost() == []
    assert not world.adapter.prune(PruneOrder(SHORT)).deleted
    assert plain.exists(done.key, waits.key) == 2
    plain.close()


def finished(world: RQWorld, number: int) -> list[str]:
    """Tasks of the alias that finished two hours ago, without a worker."""
    first = world.enqueue(tasks.add, 1, 2)
    world.redis.delete("rq:queue:default")
    raw = redis.Redis(port=world.redis.connection_pool.connection_kwargs["port"])
    stored = raw.hgetall(f"rq:job:{first}")
    raw.delete(f"rq:job:{first}")
    stored[b"status"], stored[b"ended_at"] = b"finished", b"2020-01-01T00:00:00.000000Z"
    ids = [f"{number:032d}" for number in range(number)]
    pipeline = raw.pipeline(transaction=False)
    for task_id in ids:
        pipeline.hset(f"rq:job:{task_id}", mapping=stored)
        pipeline.xadd(f"rq:results:{task_id}", {"type": 1})
        pipeline.zadd("rq:finished:default", {task_id: time.time() + 500})
    pipeline.execute()
    raw.close()
    return ids


def test_prune_goes_in_small_steps_and_stops_in_time(world: RQWorld) -> None:
    finished(world, 3000)
    steps = []
    order = PruneOrder(SHORT, duty=1.0, go_on=lambda: steps.append(1))
    dry = adapter(world).prune(PruneOrder(SHORT, dry_run=True))
    assert dry.deleted == {"successful": 3000}
    stopped = adapter(world).prune(PruneOrder(SHORT, max_seconds=0))
    assert (stopped.stopped, stopped.deleted.total()) == ("max_seconds", 0)
    done = world.adapter.prune(order)
    assert done.deleted == {"successful": 3000}
    assert done.batches >= 3000 / 400
    assert done.stopped == ""
    assert len(steps) > done.batches
    assert world.redis.keys("*") == ["rq:queues"]


def test_a_prune_that_is_told_to_stop_stops(world: RQWorld) -> None:
    finished(world, 500)
    calls = []

    def go_on() -> None:
        calls.append(1)
        if len(calls) > 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        world.adapter.prune(PruneOrder(SHORT, go_on=go_on))
    assert 0 < world.redis.zcard("rq:finished:default") < 500


def test_what_lost_its_counterpart_is_pruned(
    world: RQWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("argus_maint.backends.adapters.rq.pruning.ALONE", 0.0)
    first, second, third = finished(world, 3)
    world.redis.zrem("rq:finished:default", first)  # a job in no registry
    world.redis.delete(f"rq:job:{second}")  # an entry and results without their job
    world.redis.delete(f"rq:job:{third}", f"rq:results:{third}")  # a late heartbeat
    world.redis.zrem("rq:finished:default", third)
    world.redis.hset(f"rq:job:{third}", "last_heartbeat", "2020-01-01T00:00:00.000000Z")
    world.redis.set("rq:job:mine", "of somebody else")
    world.redis.set("unrelated", "1")
    time.sleep(1.1)
    done = world.adapter.prune(PruneOrder(SHORT))
    assert done.deleted == {"successful": 1, "orphaned": 3}
    assert set(world.redis.keys("*")) == {"rq:queues", "rq:job:mine", "unrelated"}


def test_a_task_that_was_requeued_meanwhile_is_not_pruned(world: RQWorld) -> None:
    (task_id,) = finished(world, 1)
    raced = []

    def go_on() -> None:
        if world.redis.hget(f"rq:job:{task_id}", "status") == "finished" and raced:
            world.redis.hset(f"rq:job:{task_id}", "status", "queued")
        raced.append(1)

    done = world.adapter.prune(PruneOrder(SHORT, go_on=go_on))
    assert done.deleted.total() == 0
    assert world.redis.exists(f"rq:job:{task_id}")


@pytest.mark.parametrize(
    ("queues", "names", "says"),
    [
        ({"default": {}}, ["default", "mail"], "the queue 'mail', which is not in RQ_QUEUES"),
        ({"bulk": {}}, ["bulk"], "RQ_QUEUES has no 'default'"),
        ({"default": {}, "b": {"PORT": 1}}, ["default", "b"], "on another server"),
        ({"default": {"ASYNC": False}}, ["default"], "ASYNC off"),
    ],
)
def test_settings_that_are_worth_a_line(
    settings: Any, queues: dict[str, Any], names: list[str], says: str
) -> None:
    settings.RQ_QUEUES = {
        name: {"HOST": "127.0.0.1", "PORT": 6379, **each} for name, each in queues.items()
    }
    settings.TASKS = {"rq": {"BACKEND": "django_tasks_rq.RQBackend", "QUEUES": names}}
    from django_tasks_rq import RQBackend

    backend = RQBackend("rq", {"QUEUES": names})
    (warning,) = RQ("rq", "", backend, "default").warnings()
    assert says in warning


@pytest.mark.parametrize(
    ("line", "is_rq"),
    [
        ("python manage.py rqworker default", True),
        ("/venv/bin/rq worker", True),
        ("rq:worker:w1: Processing x.y from default", True),
        ("sh -c exec-manage.py rqworker", True),
        ("python manage.py db_worker", False),
        ("vi rqworker.py", False),
    ],
)
def test_command_lines(line: str, is_rq: bool) -> None:
    words = [line] if line.startswith("rq:") else line.split(" ")
    assert processes.is_rq(words) is is_rq
