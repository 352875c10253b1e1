"""Tasks of the life-cycle tests, run by real workers in real processes."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import subprocess
import time
from typing import Any

from django.db import connection, transaction

from argus_maint.policy import rescue_policy
from tests.tasks import task, wait_for
from tests.workers.apps import write


@task
def note(path: str, text: str) -> None:
    write(path, text)


@task
def then_enqueue(path: str, left: int) -> None:
    """Enqueue the next of a chain at its very end."""
    write(path, f"link {left}")
    time.sleep(0.3)
    if left:
        then_enqueue.enqueue(path, left - 1)


@task
def end_children() -> list[int | None]:
    """Start a program and Python processes, and end each with TERM at once."""
    program = subprocess.Popen(["sleep", "600"])
    program.terminate()
    codes = [program.wait(30)]
    for _ in range(20):
        process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
        process.start()
        process.terminate()
        process.join(30)
        codes.append(process.exitcode)
    return sorted(set(codes), key=str)


@task
def interrupt_children() -> list[int | None]:
    """The same with the signals that a terminal sends."""
    codes: list[int | None] = []
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        program = subprocess.Popen(["sleep", "600"])
        program.send_signal(number)
        codes.append(program.wait(30))
    return codes


@task
def query(path: str) -> int:
    """Wait inside the database's client library, and say whether that was interrupted."""
    write(path, "begin")
    sleep = {"postgresql": "pg_sleep(1.5)", "mysql": "SLEEP(1.5)"}.get(connection.vendor)
    if sleep is None:
        time.sleep(1.5)
        return 0
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {sleep}")
        (answer,) = cursor.fetchone()
    return int(answer or 0)


@task
def read_with_the_lock(path: str) -> int:
    """Block in C without letting go of the interpreter lock, until somebody writes."""
    pipe = os.open(path, os.O_RDWR)
    return int(ctypes.PyDLL(None).read(pipe, ctypes.create_string_buffer(1), 1))


@task
def environment(name: str) -> str | None:
    return os.environ.get(name)


@task
def leave_an_orphan(seconds: float) -> int:
    """Start a process whose parent ends at once; returns its pid."""
    script = f"sleep {seconds} >/dev/null 2>&1 & echo $!"
    return int(subprocess.run(["sh", "-c", script], capture_output=True, check=True).stdout)


@task
@rescue_policy(time_limit=0.5, on_overdue="kill", max_losses=1)
def deaf(path: str) -> None:
    """Too long, and it catches whatever is raised in it."""
    write(path, "begin")
    while True:
        try:
            time.sleep(600)
        except BaseException:  # noqa: BLE001 - the rudest task there is
            write(path, "caught")


@task
@rescue_policy(time_limit=0.5, on_overdue="kill", max_losses=1)
def tidy() -> None:
    """Too long, and it has something to say in the end."""
    try:
        time.sleep(600)
    finally:
        print("put away")


@task
@rescue_policy(time_limit=600)
def patient(path: str) -> str:
    return wait_for.func(path)


@task
def nul_value() -> str:
    return "before\0after"


@task
def nul_error() -> None:
    raise LookupError("before\0after \udcff")


@task
def not_a_number() -> float:
    return float("nan")


@task(takes_context=True)
def my_attempt(context: Any, number: int) -> list[Any]:
    return [str(context.task_result.id), context.attempt, number]


@task
def leave_transaction_open_and_fail() -> None:
    transaction.atomic().__enter__()
    raise LookupError("left")


@task
def turn_autocommit_off() -> str:
    connection.set_autocommit(False)
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return "off"


@task
def raise_at_length(megabytes: int) -> None:
    raise LookupError("x" * (megabytes << 20))


@task
def leave_search_path() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SET search_path TO nowhere")
    return "nowhere"
