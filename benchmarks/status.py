"""What `maint status` and `maint check` take beyond Django's own start, on a large table.

The table holds finished rows, 100 that are READY, 8 that are RUNNING, findings, and a ledger
of runs. `manage.py version` starts Django with the same settings and apps and does nothing
more; it and the commands run in turn, and the median of the differences within a turn is
given: of the time on the clock, and of the processor's time, which a busy machine lengthens
less. With PostgreSQL the connection is part of it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import timedelta
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.common import Figure, laboratory, parser, report, say
from benchmarks.scale import analyze, busy

if TYPE_CHECKING:
    from benchmarks.bench import Bench

TARGET = 0.150  # seconds
RUNS = 21
COMMANDS = {"maint status": ["maint", "status"], "maint check": ["maint", "check"]}


@dataclass(frozen=True, slots=True)
class Took:
    """One command: seconds on the clock, and of the processor."""

    wall: float
    cpu: float


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--rows", type=int, default=3_000_000, help="default: %(default)s")
    options.add_argument("--runs", type=int, default=RUNS, help="default: %(default)s")
    arguments = options.parse_args()
    rows, runs = (50_000, 5) if arguments.quick else (arguments.rows, arguments.runs)
    with laboratory(arguments.database) as bench:
        say(f"adding {rows:,} finished rows")
        busy(bench)
        _notes()
        bench.fill(rows)
        analyze()
        turns = [_turn(bench) for _ in range(runs + 1)][1:]  # the first reads files from the disk
    start = median(turn["version"].wall for turn in turns)
    figures = [_figure(name, turns, start, rows, runs, arguments.database) for name in COMMANDS]
    return report("status", arguments, figures)


def _notes() -> None:
    """Findings, and the runs of two months: one a minute."""
    from argus_maint.dbtime import db_now
    from argus_maint.models import Finding, Run

    now = db_now("default")
    for number in range(12):
        Finding.objects.create(
            code="StuckTask",
            object=f"task{number}",
            fingerprint=f"{number}",
            live=f"{number}",
            severity="warning",
            state="open",
            summary="it does not end",
            first_seen_at=now,
            last_seen_at=now,
            noticed_by="bench",
        )
    minute = now.replace(second=0, microsecond=0)
    for first in range(0, 86_400, 5_000):
        Run.objects.bulk_create(
            Run(
                job="rescue",
                tick=minute - timedelta(minutes=number),
                state="done",
                driver="cron",
                host="bench",
                started_at=minute - timedelta(minutes=number),
                finished_at=minute - timedelta(minutes=number),
            )
            for number in range(first, min(first + 5_000, 86_400))
        )


def _turn(bench: Bench) -> dict[str, Took]:
    commands = {"version": ["version"], **COMMANDS}
    return {name: _run(bench, words) for name, words in commands.items()}


def _run(bench: Bench, words: list[str]) -> Took:
    program = [sys.executable, "-m", "django", *words]
    started = time.perf_counter()
    process = subprocess.Popen(program, env=bench.env, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1, 2):  # the states of maint check
        raise RuntimeError(f"{words} exited {process.returncode}")
    return Took(wall, usage.ru_utime + usage.ru_stime)


def _figure(
    name: str, turns: list[dict[str, Took]], start: float, rows: int, runs: int, database: str
) -> Figure:
    wall = median(turn[name].wall - turn["version"].wall for turn in turns)
    cpu = median(turn[name].cpu - turn["version"].cpu for turn in turns)
    return Figure(
        f"{name} beyond Django's own start, {rows:,} finished rows, median of {runs}",
        f"{wall * 1000:.0f} ms (processor {cpu * 1000:.0f} ms)",
        f"Django's own start: {start * 1000:.0f} ms",
        f"< {TARGET * 1000:.0f} ms",
        wall < TARGET,
        database,
    )


if __name__ == "__main__":
    sys.exit(main())
