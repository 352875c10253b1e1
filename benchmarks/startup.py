"""How long a crontab's line takes to start, for ``benchmarks.schedule``."""

from __future__ import annotations

import statistics
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from benchmarks.common import Figure, timed

if TYPE_CHECKING:
    from benchmarks.bench import Bench

STARTUP = 1.5  # times manage.py check


def startup(bench: Bench, arguments: Any) -> list[Figure]:
    commands = {
        "check": ["check"],
        "maint tick": ["maint", "tick"],
        "maint run prune --scheduled": ["maint", "run", "prune", "--scheduled"],
    }
    bench.manage("maint", "tick", check=False)  # new jobs are noted; from now on nothing is due
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(arguments.runs):
        for name, command in commands.items():
            times[name].append(timed(lambda command=command: _run(bench, command)))
    base = statistics.median(times["check"])
    figures = []
    for name in list(commands)[1:]:
        ratio = statistics.median(times[name]) / base
        text = f"{ratio:.2f} times ({statistics.median(times[name]):.2f} s)"
        peer = f"manage.py check: {base:.2f} s"
        met = ratio <= STARTUP
        what = f"{name}, nothing due"
        figures.append(Figure(what, text, peer, f"<= {STARTUP:g} times", met, bench.database))
    return figures


def _run(bench: Bench, command: list[str]) -> None:
    program = [sys.executable, "-m", "django", *command]
    subprocess.run(program, env=bench.env, stdout=subprocess.DEVNULL, check=True)
