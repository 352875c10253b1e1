"""The benchmarks run, in small: a figure that nobody can get again is worth nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import ROOT
from tests.lab import until

pytestmark = pytest.mark.slow


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """A benchmark whose temporary files, a SQLite database among them, go to a folder."""
    # The database is the command line's to say; the rest is the machine's.
    chosen = ("ARGUS_MAINT_TEST_DB", "ARGUS_MAINT_TEST_DB_NAME", "DJANGO_SETTINGS_MODULE")
    env = {key: value for key, value in os.environ.items() if key not in chosen}
    return subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env={**env, "TMPDIR": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(folder: Path, name: str, *arguments: str) -> dict[str, Any]:
    """Run one in small; its report. Nothing of it may be left."""
    scratch, report = folder / "scratch", folder / "report.json"
    scratch.mkdir()
    process = start(scratch, f"benchmarks.{name}", "--quick", f"--json={report}", *arguments)
    try:
        output, errors = process.communicate(timeout=110)
    finally:
        process.terminate()
    assert process.returncode == 0, errors
    assert output.startswith("| figure")
    assert not list(scratch.iterdir())
    done: dict[str, Any] = json.loads(report.read_text())
    assert done["figures"]
    return done


def test_kill_measures_ours_beside_the_stock_worker(tmp_path: Path) -> None:
    figures = run(tmp_path, "kill", "--scenario=worker", "--scenario=stock")["figures"]

    assert figures[0]["met"] is True
    assert figures[0]["peer"].startswith("never")


def test_chaos_loses_nothing(tmp_path: Path) -> None:
    figures = run(tmp_path, "chaos")["figures"]

    assert [figure["met"] for figure in figures] == [True, True, True]


def test_schedule_runs_each_tick_once(tmp_path: Path) -> None:
    figures = run(tmp_path, "schedule", "--scenario=ticks", "--scenario=again")["figures"]

    assert {figure["met"] for figure in figures} == {True}


@pytest.mark.parametrize(
    "name",
    ["throughput", "claim", "scale", "memory", pytest.param("prune", marks=pytest.mark.slow)],
)
def test_it_prints_a_figure_of_ours_and_one_of_the_stock_worker(tmp_path: Path, name: str) -> None:
    for figure in run(tmp_path, name)["figures"]:
        assert figure["ours"]
        assert figure["peer"]


@pytest.mark.postgres
def test_a_supervisor_sends_one_update_a_beat_whatever_its_workers(tmp_path: Path) -> None:
    figures = run(tmp_path, "beats")["figures"]

    assert [figure["ours"] for figure in figures] == ["1.00", "1.00"]


def test_calendars_agree(tmp_path: Path) -> None:
    (figure,) = run(tmp_path, "calendars", "--seed=7")["figures"]

    assert figure["met"] is True


@pytest.mark.parametrize(
    "name",
    [
        "run",
        "throughput",
        "claim",
        "scale",
        "kill",
        "chaos",
        "beats",
        "memory",
        "prune",
        "calendars",
        "schedule",
    ],
)
def test_help_says_what_it_does(tmp_path: Path, name: str) -> None:
    output, _ = start(tmp_path, f"benchmarks.{name}", "--help").communicate(timeout=60)

    assert "--quick" in output
    assert "--json" in output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_benchmark_leaves_nothing_behind(
    tmp_path: Path, number: signal.Signals
) -> None:
    process = start(tmp_path, "benchmarks.chaos", "--quick")
    children = psutil.Process(process.pid).children
    tree = until(lambda: len(children(recursive=True)) >= 6 and children(recursive=True), 60)

    process.send_signal(number)
    process.communicate(timeout=60)

    assert process.returncode != 0
    until(lambda: not any(each.is_running() for each in tree or []), 10, "its workers gone")
    assert not list(tmp_path.iterdir())
