"""A laboratory: real workers in real processes, on this test's database.

Everything a test starts here is ended when the test is over, also when it fails.
Tests wait for conditions (``until``), never for a time to pass.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import psutil
from django.db import OperationalError
from django_tasks_db.models import DBTaskResult

from argus_maint.models import LedgerEntry, Process

T = TypeVar("T")
QUIET = json.dumps({"RESCUE": {"*": {"backoff": [0, 0]}}, "JOBS": {"findings": {"enabled": False}}})
# Where a test is meant to fail (tests/mutants), nobody wants to wait for it.
PATIENCE = float(os.environ.get("ARGUS_MAINT_TEST_PATIENCE", "inf"))


def until(condition: Callable[[], T], seconds: float = 30, what: str = "") -> T:
    """Wait until ``condition()`` is true and return its value."""
    deadline = time.monotonic() + min(seconds, PATIENCE)
    while True:
        with contextlib.suppress(OperationalError):  # a database may be locked or away
            if value := condition():
                return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or condition}")
        time.sleep(0.02)


def gone(pid: int) -> bool:
    """Whether a process has ended, reaped or not."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class Supervised:
    """A running ``db_worker``."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, name: str) -> None:
        self.process, self.log_path, self.name = process, log, name
        self.known: dict[int, psutil.Process] = {}

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def rows(self, kind: str = "worker") -> list[Process]:
        """Registered processes that have not ended."""
        rows = Process.objects.filter(name=self.name, kind=kind).exclude(state="ended")
        return list(rows.order_by("registered_at"))

    def worker_pids(self) -> list[int]:
        """Pids of its living, registered workers."""
        return [row.pid for row in self.rows()]

    def keeper_pid(self) -> int:
        """The child that is registered as nothing."""
        workers = {row.pid for row in self.rows()}
        return next(c.pid for c in psutil.Process(self.pid).children() if c.pid not in workers)

    def ready(self, processes: int = 1) -> Supervised:
        def registered() -> bool:
            assert self.process.poll() is None, f"{self.name} has ended:\n{self.log}"
            return len(self.rows()) == processes

        until(registered, what=f"{processes} workers of {self.name}")
        return self

    def tree(self) -> list[int]:
        """Pids of the supervisor and all that came from it."""
        root = psutil.Process(self.pid)
        return [root.pid, *(child.pid for child in root.children(recursive=True))]

    def signal_tree(self, number: int) -> None:
        for pid in self.tree():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self, seconds: float = 45) -> int:
        """TERM, and its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def wait(self, seconds: float = 60) -> int:
        return self.process.wait(seconds)


class Lab:
    """Starts workers on the test's database and removes them again."""

    def __init__(self, env: dict[str, str], folder: Path) -> None:
        self.env, self.folder = env, folder
        self.started: list[Supervised] = []

    def setting(self, **sections: Any) -> None:
        """The ARGUS_MAINT setting of processes started from now on."""
        self.env["ARGUS_MAINT_TEST_SETTING"] = json.dumps(sections)

    def worker(
        self, *arguments: str, name: str = "", prefix: tuple[str, ...] = (), **env: str
    ) -> Supervised:
        """Start ``manage.py db_worker``; see ``Supervised.ready``."""
        name = name or f"w{len(self.started)}"
        options = (f"--worker-id={name}", "--no-startup-delay", "--interval=0.05")
        # A pass of its keeper is one process more, where a test counts them.
        env = {"ARGUS_MAINT_TEST_SETTING": QUIET, **self.env, **env}
        return self.start(name, "db_worker", *options, *arguments, prefix=prefix, **env)

    def start(
        self, name: str, *arguments: str, prefix: tuple[str, ...] = (), **env: str
    ) -> Supervised:
        """Start a management command that goes on until it is ended."""
        log = self.folder / f"{name}-{len(self.started)}.log"
        command = [*prefix, sys.executable, "-m", "django", *arguments]
        with log.open("wb") as out:
            process = subprocess.Popen(
                command,
                env={**self.env, **env},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        supervised = Supervised(process, log, name)
        self.started.append(supervised)
        return supervised

    def manage(self, *arguments: str, check: bool = True, **env: str) -> Any:
        """Run a management command to its end."""
        done = subprocess.run(
            [sys.executable, "-m", "django", *arguments],
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        if check and done.returncode:
            raise AssertionError(
                f"{arguments} exited {done.returncode}:\n{done.stdout}\n{done.stderr}"
            )
        return done

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def lines(self, name: str) -> list[str]:
        file = self.folder / name
        return file.read_text().splitlines() if file.exists() else []

    def row(self, result: Any) -> DBTaskResult:
        return DBTaskResult.objects.get(pk=result.id)

    def until_status(self, result: Any, status: str, seconds: float = 30) -> DBTaskResult:
        until(
            lambda: self.row(result).status == status,
            seconds,
            f"task {status}, now {self.row(result).status}",
        )
        return self.row(result)

    def holder(self, result: Any) -> Process:
        """The registered worker that runs a task now."""
        row = self.until_status(result, "RUNNING")
        found = until(lambda: Process.objects.filter(worker_id=row.worker_ids[-1]).first())
        assert found is not None
        return found

    def ledger(self, result: Any) -> list[LedgerEntry]:
        return list(LedgerEntry.objects.filter(task_id=result.id).order_by("pk"))

    def close(self) -> None:
        """End everything that was started: what is stopped too, and children first of all."""
        for supervised in self.started:
            print(f"--- {supervised.name}\n{supervised.log}")  # shown where the test has failed
            if supervised.process.poll() is None:
                pids = supervised.tree()
                for pid in pids:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                supervised.process.wait(10)
                for pid in pids:
                    until(partial(gone, pid), 10, f"child {pid} gone")
