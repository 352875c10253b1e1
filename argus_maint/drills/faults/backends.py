"""Faults of task backends that are servers of their own."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import closing

from argus_maint.drills.scratch import Scratch

SETTINGS = """\
INSTALLED_APPS += ["django_rq", "django_tasks_rq"]
RQ_QUEUES = {{"default": {{"HOST": "127.0.0.1", "PORT": {port}}}}}
TASKS["quick"] = {{"BACKEND": "django_tasks_rq.RQBackend"}}

"""
# Its title would take the place of the mark by which the project finds what it has to end.
CONFIG = """\
bind 127.0.0.1
port {port}
dir {folder}
pidfile {folder}/redis.pid
logfile {folder}/redis.log
save ""
set-proc-title no
"""
BEFORE = "# Short times:"


def backend_unreachable(scratch: Scratch) -> None:
    """Have an alias on a Redis server of the project's own, and kill that server."""
    port, folder = _free_port(), scratch.folder / "var"
    (scratch.folder / "redis.conf").write_text(CONFIG.format(port=port, folder=folder))
    scratch.wrap("redis-server")
    scratch.deploy(
        "shop/settings.py", BEFORE, SETTINGS.format(port=port) + BEFORE, "Put quick tasks on RQ"
    )
    scratch.shell("redis-server redis.conf --daemonize yes")
    scratch.until(lambda: _answers(scratch), "Redis answers")
    scratch.restart()
    pid = int((folder / "redis.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    scratch.until(lambda: not _answers(scratch), "the end of Redis")


def _answers(scratch: Scratch) -> bool:
    return not scratch.manage("maint", "backends", "quick", "--look", check=False).status


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
