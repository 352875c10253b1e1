"""Tasks for the tests, run by real workers in real processes."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from pathlib import Path

from django_tasks_db.models import TaskResultStatus

from argus_maint.policy import rescue_policy

if TaskResultStatus.__module__.startswith("django.tasks"):
    from django.tasks import task
else:
    from django_tasks import task  # type: ignore[no-redef]


@task
def add(a: int, b: int) -> int:
    return a + b


@task
def sleep(seconds: float) -> str:
    time.sleep(seconds)
    return "slept"


@task
def wait_for(path: str, seconds: float = 60) -> str:
    """Run until a file appears: a test decides when."""
    until = time.monotonic() + seconds
    while not Path(path).exists():
        if time.monotonic() > until:
            raise TimeoutError(path)
        time.sleep(0.01)
    return "found"


@task
def append(path: str, text: str, seconds: float = 0) -> None:
    """Leave a line before and one after: shows every run, and whether it came to its end."""
    _line(path, f"begin {text} {os.getpid()}")
    if seconds:
        time.sleep(seconds)
    _line(path, f"end {text} {os.getpid()}")


def _line(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, text.encode() + b"\n")
    os.close(descriptor)


@task
def fail(text: str) -> None:
    raise ValueError(text)


@task
def system_exit(status: int) -> None:
    sys.exit(status)


@task
def os_exit(status: int) -> None:
    os._exit(status)


@task
def hold_gil(seconds: int) -> str:
    """Sleep in C without letting go of the interpreter lock."""
    ctypes.PyDLL(None).sleep(seconds)
    return "held"


@task
def fork_and(how: str) -> int:
    """Fork a child that returns, raises or exits; the task itself goes on."""
    pid = os.fork()
    if pid == 0:
        if how == "return":
            return -1
        if how == "exit":
            sys.exit(3)
        raise RuntimeError("in the child")
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@task
@rescue_policy(on_lost="fail")
def once_only(path: str) -> None:
    _line(path, "begin once")
    time.sleep(600)


@task
@rescue_policy(time_limit=1, on_overdue="kill", backoff=(0, 0), max_losses=2)
def too_long(path: str) -> None:
    _line(path, "begin")
    try:
        time.sleep(600)
    finally:
        _line(path, "cleaned up")


@task
@rescue_policy(time_limit=1)
def too_long_reported(path: str) -> str:
    return wait_for.func(path)


@task
def grow(megabytes: int) -> int:
    """Keep memory for the rest of the worker's life."""
    _kept.append(bytearray(os.urandom(1024)) * (megabytes * 1024))
    return os.getpid()


_kept: list[bytearray] = []


@task
def whoami() -> int:
    return os.getpid()


@task
def unserialisable() -> object:
    return object()


@task
def leave_transaction_open() -> str:
    from django.db import transaction

    transaction.atomic().__enter__()
    return "left"
