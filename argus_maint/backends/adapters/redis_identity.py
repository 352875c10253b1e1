"""Workers of django-tasks-redis say which process they are.

A worker of that package is known by a host name and a random number, so nobody could tell
whether its process is still there. Where our app is installed in the worker as well, each
worker notes down its process (see ``workers.identity``) when it begins a task: one small key
beside the backend's own, written once an hour at most, which goes away after a day.

Using it: ``argus_maint.apps`` calls ``connect()`` where the package is installed. A worker
that could not note it down works on: it is then one whose death only time can show.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import Any

import redis
from django.tasks import task_backends
from django.tasks.signals import task_started
from django_tasks_redis.backends import RedisTaskBackend

from argus_maint.clock import now
from argus_maint.log import get_logger
from argus_maint.workers.identity import Host, Presence, presence, same_place, start_time, this_host

logger = get_logger(__name__)
KEPT = 86_400  # seconds
EVERY = 3600.0  # seconds; a task that is begun while the key is there has it for 23 hours
_told: dict[tuple[str, str, int], float] = {}  # by alias, worker id and pid: when


@dataclass(frozen=True, slots=True)
class Identity:
    """Which process a worker is."""

    hostname: str
    boot_id: str
    pid_namespace: str
    pid: int
    start_time: str

    def presence(self, host: Host) -> Presence:
        """What can be said about it from this host."""
        if not same_place(host, self.boot_id, self.pid_namespace):
            return Presence.UNKNOWN
        return presence(self.pid, self.start_time)


def key_of(backend: Any, worker_id: str) -> str:
    """The key in which a worker says who it is."""
    return f"{backend.key_prefix}:{backend.alias}:argus_maint:worker:{worker_id}"


def read(text: str | None) -> Identity | None:
    """What a worker has noted down; None where it is nothing that we can read."""
    try:
        return Identity(**json.loads(text)) if text else None
    except (ValueError, TypeError):  # of another version
        return None


def of_this_process() -> Identity:
    """The identity of the caller."""
    host, pid = this_host(), os.getpid()
    return Identity(host.hostname, host.boot_id, host.pid_namespace, pid, start_time(pid))


def connect() -> None:
    """Have every worker in this process note down who it is."""
    task_started.connect(_tell, dispatch_uid="argus_maint.redis_identity")


def _tell(sender: Any, task_result: Any, **kwargs: Any) -> None:
    if not (isinstance(sender, type) and issubclass(sender, RedisTaskBackend)):
        return
    try:
        worker_ids = task_result.worker_ids
        if worker_ids:
            _note(task_backends[task_result.backend], worker_ids[-1])
    except (redis.RedisError, OSError) as error:  # what is raised here would fail the task
        logger.warning("redis.identity", error=type(error).__name__)


def _note(backend: Any, worker_id: str) -> None:
    mine = (backend.alias, worker_id, os.getpid())
    at = now()
    if at - _told.get(mine, -EVERY) < EVERY:
        return
    text = json.dumps(asdict(of_this_process()))
    backend.get_client().set(key_of(backend, worker_id), text, ex=KEPT)
    if len(_told) > 1000:  # a process that takes a new id for each task
        _told.clear()
    _told[mine] = at
