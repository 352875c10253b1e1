"""The demo, played for real: it says OK when all is well, and not otherwise."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.conftest import ROOT
from tests.lab import until


class Play:
    """One run of the demo, in a temporary folder of its own."""

    def __init__(self, folder: Path, **env: str) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "argus_maint.demo"],
            env={**os.environ, "TMPDIR": str(folder), "PYTHONPATH": str(ROOT), **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def end(self) -> tuple[int, str]:
        try:
            output, _ = self.process.communicate(timeout=60)
        finally:
            self.process.kill()
        return self.process.returncode, output

    def processes(self) -> list[int]:
        """What runs in this folder, beside the demo itself."""
        found = []
        for each in psutil.process_iter():
            try:
                if str(self.folder) in each.environ().get("ARGUS_MAINT_DEMO", ""):
                    found.append(each.pid)
            except psutil.Error:
                continue
        return found

    def assert_nothing_left(self) -> None:
        until(lambda: not self.processes(), 10, "the demo's processes gone")
        assert list(self.folder.iterdir()) == []


@pytest.mark.slow
def test_the_demo_shows_that_every_task_ended_once(tmp_path: Path) -> None:
    play = Play(tmp_path)
    status, output = play.end()

    assert status == 0, output
    assert re.search(r"^OK: 3 tasks lost their worker", output, re.MULTILINE)
    assert len(re.findall(r"^ *[\d.]+ s +KILL ", output, re.MULTILINE)) == 2
    assert "maint status" in output
    assert not re.search(r"^ *OFF", output, re.MULTILINE)
    assert max(map(len, output.splitlines())) <= 100
    assert os.uname().nodename not in output
    assert str(tmp_path) not in output
    play.assert_nothing_left()


@pytest.mark.slow
def test_the_demo_exits_1_and_says_why_when_a_task_does_not_come_back(tmp_path: Path) -> None:
    play = Play(tmp_path, ARGUS_MAINT_DEMO_RESCUE='{"on_lost": "fail"}')
    status, output = play.end()

    assert status == 1, output
    assert re.search(r"^OFF: task-\d\d of east\.\d was failed", output, re.MULTILINE)
    assert "The end of the log of west" in output
    play.assert_nothing_left()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing_behind(tmp_path: Path, number: int) -> None:
    play = Play(tmp_path)
    until(play.processes)

    play.process.send_signal(number)

    status, output = play.end()
    assert status == 130, output
    assert "Interrupted." in output
    play.assert_nothing_left()
