"""django-tasks-rq with the stock rqworker."""

from __future__ import annotations

import contextlib
import os
import signal
from datetime import datetime, timedelta, timezone
from functools import cached_property
from typing import Any

import psutil
import redis
from django.conf import settings

from tests.backends.adapters.world import World
from tests.lab import Supervised, gone, until


class RQWorld(World):
    alias = "rq"
    patience = 100.0

    @cached_property
    def redis(self) -> Any:
        """The server, as a person at redis-cli sees it."""
        return redis.Redis(port=settings.BROKER_PORT, decode_responses=True, socket_timeout=5)

    def worker(self, name: str = "", *options: str) -> Supervised:
        name = name or f"w{len(self.lab.started)}"
        command = ("rqworker", self.queue, "--job-class", "django_tasks_rq.Job")
        # Django refuses to start with the alias of these settings whose package is missing.
        options = ("--skip-checks", *options)
        worker = self.lab.start(name, *command, "--name", name, *options)

        def registered() -> bool:
            assert worker.process.poll() is None, f"{name} has ended:\n{worker.log}"
            return bool(self.redis.hget(f"rq:worker:{name}", "state"))

        until(registered, what=f"rqworker {name}")
        return worker

    def status(self, task_id: str) -> str:
        return str(self.adapter.backend.get_result(task_id).status)

    def horse(self, worker: Supervised) -> int:
        """The pid of the work horse of a busy worker."""
        children = until(psutil.Process(worker.pid).children, what="a horse")
        return next(each.pid for each in children)

    def kill_alone(self, worker: Supervised) -> None:
        """SIGKILL to the worker, and not to its horse."""
        os.kill(worker.pid, signal.SIGKILL)
        worker.process.wait(10)

    def kill(self, worker: Supervised) -> None:
        pids = worker.tree()
        super().kill(worker)
        until(lambda: all(gone(pid) for pid in pids), what="the end of the horse")

    def close(self) -> None:
        """End the horses that outlived their worker: each is of the session of one of ours."""
        self.redis.close()
        sessions = {each.pid for each in self.lab.started}
        for process in psutil.process_iter():
            with contextlib.suppress(ProcessLookupError, psutil.Error):
                if os.getsid(process.pid) in sessions - {process.pid}:
                    process.kill()

    def age(self, seconds: float) -> None:
        for key in self.redis.scan_iter("rq:job:*"):
            ended = self.redis.hget(key, "ended_at")
            if ended:
                at = datetime.strptime(ended, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
                earlier = at - timedelta(seconds=seconds)
                self.redis.hset(key, "ended_at", earlier.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))

    def let_expire(self, task_id: str) -> None:
        """What 90 s without a heartbeat come to, at once."""
        for key in self.redis.scan_iter(f"rq:execution:{task_id}:*"):
            self.redis.delete(key)
