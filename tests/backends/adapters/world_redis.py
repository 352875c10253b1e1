"""django-tasks-redis: its own worker command, on the Redis of this run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import redis
from django.conf import settings
from django.tasks import task_backends
from django_tasks_redis.utils import deserialize_datetime

from argus_maint.backends.adapters.base import Lost, entry_of
from argus_maint.models import LedgerEntry
from tests.backends.adapters.world import World, began
from tests.lab import Supervised, until

_STARTED = re.compile(r"Starting Redis task worker: (\S+)")


class RedisWorld(World):
    """``run_redis_tasks``. ``environment`` and ``options`` are those of workers to come."""

    alias = "redis"

    def __init__(self, lab: Any) -> None:
        super().__init__(lab)
        assert task_backends[self.alias]
        del task_backends[self.alias]  # it remembers a server that has been emptied since
        self.options = ["--continuous", "--interval=0.1"]
        self.environment: dict[str, str] = {}

    @property
    def backend(self) -> Any:
        """The site's own."""
        return task_backends[self.alias]

    @property
    def server(self) -> redis.Redis:
        """A client of the test's own."""
        return redis.Redis(port=settings.BROKER_PORT, db=1, decode_responses=True)

    def loaded(self) -> bool:
        """Whether a server that was started has read its data."""
        try:
            return bool(self.server.ping())
        except redis.ConnectionError:
            return False

    def worker(self, name: str = "") -> Supervised:
        """One that reads from all queues."""
        number = len(self.lab.started)
        worker = self.lab.start(
            name or f"redis{number}",
            "run_redis_tasks",
            f"--backend={self.alias}",
            *self.options,
            **self.environment,
        )
        until(lambda: self._reads(worker), what=f"{worker.name} reads")
        return worker

    def _reads(self, worker: Supervised) -> bool:
        assert worker.process.poll() is None, f"{worker.name} has ended:\n{worker.log}"
        broker = self.backend.broker
        return any(
            each["name"] == self.worker_id(worker)
            for key in broker.stream_keys()
            if self.server.exists(key)
            for each in self.server.xinfo_consumers(key, broker.consumer_group)
        )

    def worker_id(self, worker: Supervised) -> str:
        """What the package calls it."""
        found = _STARTED.search(worker.log)
        return found[1] if found else ""

    def status(self, task_id: str) -> str:
        """As ``get_result`` has it."""
        return str(self.backend.get_result(task_id).status)

    def age(self, seconds: float) -> None:
        """The end of each task, and its place in the package's index."""
        server, prefix = self.server, f"{self.backend.key_prefix}:{self.alias}"
        for key in server.scan_iter(f"{prefix}:result:*"):
            finished = deserialize_datetime(server.hget(key, "finished_at") or "")
            if finished is not None:
                earlier = finished.fromtimestamp(finished.timestamp() - seconds, finished.tzinfo)
                server.hset(key, "finished_at", earlier.isoformat())
        for status in ("SUCCESSFUL", "FAILED"):
            for key in server.scan_iter(f"{prefix}:*status_index:{status}"):
                for task_id, score in server.zrange(key, 0, -1, withscores=True):
                    server.zadd(key, {task_id: score - seconds})


def entry(adapter: Any, lost: Lost, action: str = "requeued") -> LedgerEntry:
    """What an act on this task leaves in the ledger."""
    return entry_of(adapter, lost, action=action, noticed_by="test", counted=True, losses=1)


def handle(world: RedisWorld, task_id: str) -> Lost:
    """A task as a person asks for it."""
    found = world.adapter.task(task_id)
    assert found is not None
    return found.handle


def requeue(world: RedisWorld, lost: Lost, delay: float = 0) -> bool:
    """Put it back, as a rescue would."""
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
    """What a key other than a stream or a string holds."""
    kind = server.type(key)
    if kind == "hash":
        return server.hgetall(key)
    return server.smembers(key) if kind == "set" else server.zrange(key, 0, -1, withscores=True)
