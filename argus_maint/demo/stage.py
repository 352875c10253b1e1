"""The demo's project and processes: made, started, killed, and removed without a trace."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType
from typing import IO, Any

from argus_maint.workers.identity import Presence, presence

PATIENCE = 20.0  # seconds for a supervisor to end after SIGTERM


class Off(Exception):
    """Something is not as it should be; says what."""


class Interrupted(Exception):
    """Somebody asked the demo to stop."""


class Supervisor:
    """A ``db_worker`` in a session of its own."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name, self.process, self.log = name, process, log

    def children(self) -> list[int]:
        """Pids of its children: the keeper and the workers. Empty where /proc is not Linux's."""
        pid = self.process.pid
        try:
            text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        except OSError:
            return []
        return [int(word) for word in text.split()]

    def kill(self) -> None:
        """SIGKILL to the supervisor alone."""
        self.process.kill()

    def end(self) -> None:
        """SIGKILL to it and whatever of its session is left."""
        if self.process.poll() is None:
            # Not reaped yet, so the group is still its own.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(PATIENCE)


class Stage:
    """A folder, an environment, and the supervisors that were started in it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="argus-maint-demo-"))
        self.supervisors: list[Supervisor] = []
        self.interrupted = False
        os.environ["ARGUS_MAINT_DEMO"] = str(self.folder)
        os.environ["DJANGO_SETTINGS_MODULE"] = "argus_maint.demo.settings"

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """Signal handler. It only takes a note: what is being started must not get lost."""
        self.interrupted = True

    def check(self) -> None:
        """Stop here if somebody asked for it."""
        if self.interrupted:
            raise Interrupted

    def start(self, name: str, processes: int) -> Supervisor:
        """Start ``db_worker``; its output goes to a log of its own."""
        log = self.folder / f"{name}.log"
        with log.open("wb") as out:
            process = self._django(
                "db_worker",
                f"--worker-id={name}",
                f"--processes={processes}",
                "--interval=0.1",
                "--grace=5",
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the demo alone; it ends them
            )
        supervisor = Supervisor(name, process, log)
        self.supervisors.append(supervisor)
        return supervisor

    def manage(self, *arguments: str) -> tuple[int, str]:
        """Run a management command to its end: exit status, and all it printed."""
        process = self._django(*arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            output, _ = process.communicate(timeout=30)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        return process.returncode, output.decode(errors="replace")

    def _django(self, *arguments: str, stdout: IO[bytes] | int, **how: Any) -> Any:
        return subprocess.Popen(
            [sys.executable, "-m", "django", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            # A terminal of another width must not change what the demo shows.
            env={**os.environ, "COLUMNS": "96"},
            **how,
        )

    def close(self) -> None:
        """End what still runs, and remove the folder."""
        for supervisor in self.supervisors:
            supervisor.end()
        # A file may still come from a process that is just being ended.
        for _ in range(50):
            shutil.rmtree(self.folder, ignore_errors=True)
            if not self.folder.exists():
                return
            time.sleep(0.1)


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie, which nobody may be there to collect."""
    return presence(pid, "") is not Presence.GONE
