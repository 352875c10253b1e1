"""What the tests of RQ share: tasks in all the states that they ask about."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

from argus_maint.backends.adapters.base import Lost, Task, entry_of
from argus_maint.backends.adapters.rq.adapter import RQ
from argus_maint.models import LedgerEntry
from argus_maint.retention import Retention
from tests import tasks
from tests.backends.adapters.world import began
from tests.backends.adapters.world_rq import RQWorld
from tests.lab import Supervised, until

SHORT = Retention({"successful": 60.0, "failed": 60.0, "quarantined": None})
REQUEUED = {"action": LedgerEntry.Action.REQUEUED, "noticed_by": "test"}
FAILED = {"action": LedgerEntry.Action.FAILED, "noticed_by": "test"}


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


def failed_one(world: RQWorld) -> Task:
    """A task that failed by itself, and no worker."""
    task_id = world.enqueue(tasks.add, 1, "2")
    worker = world.worker()
    until(lambda: world.status(task_id) == "FAILED")
    world.kill(worker)
    failed = world.adapter.task(task_id)
    assert failed is not None
    return failed


def scheduled(world: RQWorld, out: Path, seconds: float) -> str:
    task_id = world.append(out, "scheduled")
    world.redis.lrem("rq:queue:default", 1, task_id)
    world.redis.hset(f"rq:job:{task_id}", "status", "scheduled")
    world.redis.zadd("rq:scheduled:default", {task_id: int(time.time() + seconds)})
    return task_id


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
