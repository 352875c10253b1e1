"""What looking at RQ may not do, a server in trouble, and settings that are wrong."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest
import redis

from argus_maint.backends.adapters.base import PruneOrder, Queue, Unreachable
from argus_maint.backends.adapters.rq.adapter import RQ
from tests import tasks
from tests.backends.adapters.conftest import Broker
from tests.backends.adapters.rq_help import (
    SHORT,
    adapter,
    everything,
    lost_one,
    running,
    scheduled,
    watched,
)
from tests.backends.adapters.world_rq import RQWorld
from tests.lab import until


def test_looking_changes_nothing(rq: RQWorld, tmp_path: Path) -> None:
    """By the server's own list of commands, and by all that it holds."""
    task_id, worker, _ = running(rq, tmp_path / "out", "x", 600)
    rq.kill(worker)
    scheduled(rq, tmp_path / "out", -120)
    rq.redis.zadd("rq:finished:default", {"expired": 1, "gone": time.time() + 60})
    rq.redis.sadd("rq:workers:default", "rq:worker:gone")
    rq.redis.sadd("rq:workers", "rq:worker:gone")
    rq.let_expire(task_id)
    before = everything(rq)
    with watched(rq) as commands:
        made = adapter(rq)
        assert made.queues()
        assert made.workers()
        assert made.lost()
        assert {each.handle.task_id for each in made.tasks("RUNNING", 10)} == {task_id}
        assert not made.tasks("FAILED", 10)
        assert made.task(task_id) is not None
        assert made.prune(PruneOrder(SHORT, dry_run=True)).deleted["orphaned"]
        assert made.warnings() == []
    assert everything(rq) == before
    assert commands >= {"zrange", "hmget", "pttl", "lrange", "sscan", "scan"}
    flags = rq.redis.command()
    writing = {name for name in commands if "write" in flags[name]["flags"]}
    assert not writing
    assert not {each for each in commands if each.startswith(("eval", "script", "config"))}


def test_a_server_that_is_away_is_one_line_and_comes_back(
    rq: RQWorld, broker: Broker, tmp_path: Path
) -> None:
    task_id = rq.append(tmp_path / "out", "x")
    broker.stop()
    made = adapter(rq)
    asks = [made.queues, made.workers, made.lost, lambda: made.tasks("READY", 1)]
    for ask in [*asks, lambda: made.prune(PruneOrder(SHORT))]:
        began_at = time.monotonic()
        with pytest.raises(Unreachable) as raised:
            ask()  # type: ignore[operator]
        assert time.monotonic() - began_at < 5
        assert "\n" not in str(raised.value)
        assert f"127.0.0.1:{broker.port}" in str(raised.value)
    broker.start()
    assert until(lambda: answered(made))[0].counts.ready == 1
    rq.worker()
    until(lambda: rq.status(task_id) == "SUCCESSFUL")


def answered(made: RQ) -> list[Queue]:
    """Its queues; none while the server loads what it had."""
    try:
        return made.queues()
    except Unreachable as error:
        assert "loading" in str(error)
        return []


def test_nothing_is_lost_until_workers_can_have_been_heard_again(
    rq: RQWorld, broker: Broker, tmp_path: Path
) -> None:
    """What expired while the server was away proves nothing yet."""
    lost_one(rq, tmp_path / "out")
    broker.stop()
    broker.start()
    until(lambda: answered(adapter(rq)))
    (lost,) = rq.adapter.lost()
    assert 60 < lost.confirms_in <= 90


def test_two_aliases_on_one_queue_are_counted_apart(rq: RQWorld) -> None:
    from django_tasks_rq import RQBackend

    for _ in range(3):
        rq.enqueue(tasks.add, 1, 2)
    other = RQ("other", "", RQBackend("other", {"QUEUES": ["default"]}), "default")
    assert rq.adapter.queues()[0].counts.ready == 3
    assert other.queues()[0].counts.ready == 0
    rq.redis.rpush("rq:queue:default", *(f"gone{number}" for number in range(1000)))
    assert rq.adapter.queues()[0].counts.ready == round(1003 * 3 / 500)


def test_a_server_that_hangs_does_not_keep_us(rq: RQWorld, broker: Broker) -> None:
    assert broker.process is not None
    broker.process.send_signal(signal.SIGSTOP)
    try:
        began_at = time.monotonic()
        with pytest.raises(Unreachable, match="does not answer"):
            rq.adapter.lost()
        assert time.monotonic() - began_at < 6
    finally:
        broker.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("given", [None, "s3cret-but-wrong"])
def test_a_wrong_password_is_said_without_it(rq: RQWorld, settings: Any, given: str | None) -> None:
    rq.redis.config_set("requirepass", "s3cret-and-right")
    try:
        settings.RQ_QUEUES = {
            name: {**each, "PASSWORD": given} for name, each in settings.RQ_QUEUES.items()
        }
        with pytest.raises(Unreachable) as raised:
            rq.adapter.queues()
        assert "password in RQ_QUEUES is wrong" in str(raised.value)
        assert "s3cret" not in str(raised.value)
    finally:
        with redis.Redis(port=settings.BROKER_PORT, password="s3cret-and-right") as owner:
            owner.config_set("requirepass", "")


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
