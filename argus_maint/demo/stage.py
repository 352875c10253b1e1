"""The demo's project and processes: made, started, killed, and removed without a trace."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import FrameType

from argus_maint.drills import processes
from argus_maint.drills.processes import Started

DJANGO = (sys.executable, "-m", "django")


class Off(Exception):
    """Something is not as it should be; says what."""


class Interrupted(Exception):
    """Somebody asked the demo to stop."""


class Stage:
    """A folder, an environment, and the supervisors that were started in it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="argus-maint-demo-"))
        self.supervisors: list[Started] = []
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

    def start(self, name: str, number: int) -> Started:
        """Start ``db_worker``; its output goes to a log of its own."""
        supervisor = processes.start(
            name,
            [
                *DJANGO,
                "db_worker",
                f"--worker-id={name}",
                f"--processes={number}",
                "--interval=0.1",
                "--grace=5",
            ],
            self._env(),
            self.folder,
        )
        self.supervisors.append(supervisor)
        return supervisor

    def manage(self, *arguments: str) -> tuple[int, str]:
        """Run a management command to its end: exit status, and all it printed."""
        process = subprocess.Popen(
            [*DJANGO, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self._env(),
        )
        try:
            output, _ = process.communicate(timeout=30)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        return process.returncode, output.decode(errors="replace")

    def _env(self) -> dict[str, str]:
        # A terminal of another width must not change what the demo shows.
        return {**os.environ, "COLUMNS": "96"}

    def close(self) -> None:
        """End what still runs, and remove the folder."""
        for supervisor in self.supervisors:
            supervisor.end()
        processes.remove(self.folder)
