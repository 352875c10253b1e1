"""The prune: what it takes, and what the queue notices, ours beside the stock command.

The table holds finished rows that are all past their retention, with our indexes in place.
It is filled once and put back for every run.

At full duty both delete all of it, with nobody else there: the time. Then, at the default
duty and from the full table again, a prober enqueues a task and claims it all the while,
first for some time on the idle table; the stock command runs to its end, ours for a bounded
time. The prober waits for one task before it enqueues the next, so a long wait is one wait.

InnoDB takes deleted rows out of its pages later (purge). While ours goes on, that is done beside
it; the stock's one transaction keeps it waiting to its end. So the time until it is done is
told too.

Memory is the peak of the pruning process, over a small table and the large one. With an
archive all of it is pruned once more at full duty.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
import time
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING

from django.db import connection

from benchmarks.common import Figure, laboratory, parser, percentile, report, say

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.copies import Copy
    from tests.lab import Supervised

ROWS = {"sqlite": 2_000_000, "postgres": 2_000_000, "mariadb": 500_000}
FEW = 10_000  # rows of the small table
DAYS = 60  # in which the rows finished
MIB = 2**20
STOCK = ("prune_db_task_results",)
OURS = ("maint", "prune", "--json")
TIMES = {"sqlite": 1.4, "postgres": 1.25, "mariadb": 2.0}  # ours / stock
WORST = {  # seconds, by database and what is waited for: p99 and the worst
    ("sqlite", "enqueue"): (0.06, 0.25),
    ("mariadb", "enqueue"): (None, 0.25),
    ("mariadb", "claim"): (None, 0.25),
}
AGAINST_IDLE = {"postgres": 2.5}  # p99
MEMORY, ARCHIVE = 20, 3.0  # MiB more; times without


@dataclass(frozen=True, slots=True)
class Run:
    """One prune: when, and the peak of its memory; and when what it deleted was purged."""

    begin: float
    end: float
    memory: int
    purged: float = 0.0

    @property
    def seconds(self) -> float:
        return self.end - self.begin


@dataclass(frozen=True, slots=True)
class Waits:
    """Seconds that one kind of act took, sorted by whether there was a prune."""

    idle: list[float]
    busy: list[float]

    @property
    def ratio(self) -> float:
        """Of the p99."""
        return percentile(self.busy, 0.99) / percentile(self.idle, 0.99)


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--rows", type=int, help="default: 2,000,000; MariaDB: 500,000")
    options.add_argument(
        "--max-seconds", type=int, default=60, help="of ours at the default duty (default: 60)"
    )
    options.add_argument(
        "--idle-seconds", type=float, default=15, help="of the prober alone (default: 15)"
    )
    options.add_argument("--pairs", type=int, default=3, help="runs at full duty (default: 3)")
    options.add_argument(
        "--memory", action="store_true", help="look at the memory over --memory-rows as well"
    )
    options.add_argument("--memory-rows", type=int, default=10_000_000, help="default: 10,000,000")
    arguments = options.parse_args()
    arguments.rows = arguments.rows or ROWS[arguments.database]
    if arguments.quick:
        arguments.rows, arguments.pairs = 50_000, 1
        arguments.max_seconds, arguments.idle_seconds = 2, 1
    with laboratory(arguments.database) as bench:
        figures = _figures(bench, arguments)
    return report(
        "prune", arguments, [replace(each, database=arguments.database) for each in figures]
    )


def _figures(bench: Bench, arguments: argparse.Namespace) -> list[Figure]:
    from benchmarks.copies import copy

    rows = arguments.rows
    bench.fill(FEW, DAYS)
    small = _whole(bench, True)
    _fill(bench, rows)
    with copy() as kept:
        pairs = [_pair(bench, kept, rows, number) for number in range(arguments.pairs)]
        stock, ours = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        archived = _archived(bench, kept)
        waits = {mine: _probed(bench, kept, mine, arguments) for mine in (False, True)}
    largest, most = ours[-1].memory, rows
    if arguments.memory:
        bench.clear()
        _fill(bench, most := arguments.memory_rows)
        largest = _whole(bench, True).memory
    purged = [_time_with_purge(rows, stock, ours)] if connection.vendor == "mysql" else []
    return [
        _time(bench.database, rows, stock, ours),
        *purged,
        *(_waits(bench.database, name, waits) for name in ("enqueue", "claim")),
        _memory(small.memory, largest, most, stock[-1].memory if most == rows else None),
        _archive(archived, ours),
    ]


# -- running ----------------------------------------------------------------------------


def _fill(bench: Bench, rows: int) -> None:
    say(f"adding {rows:,} finished rows")
    bench.fill(rows, DAYS)
    if connection.vendor == "postgresql":  # what autovacuum does in its own time
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE django_tasks_database_dbtaskresult")


def _start(bench: Bench, mine: bool, *more: str) -> Supervised:
    file = bench.path("run.json")
    if mine:
        return bench.script("pruner", file, *OURS, *more)
    return bench.script("pruner", file, *STOCK, *more, ARGUS_MAINT_BENCH_STOCK="1")


def _end(bench: Bench, pruner: Supervised) -> Run:
    if pruner.wait(3600):
        raise SystemExit(f"the prune failed:\n{pruner.log[-2000:]}")
    bench.forget(pruner)
    return Run(**json.loads("".join(bench.lines("run.json"))))


def _whole(bench: Bench, mine: bool, *more: str) -> Run:
    """Prune all of the table, with nobody else there."""
    from django_tasks_db.models import DBTaskResult

    connection.close()
    duty = ("--duty", "1") if mine else ()
    run = _end(bench, _start(bench, mine, *duty, *more))
    run = replace(run, purged=_purged())
    left = DBTaskResult.objects.count()
    assert not left, f"{left} rows are left"
    connection.close()
    return run


def _purged() -> float:
    """When MariaDB has purged all that was deleted until now."""
    deadline = time.monotonic() + 600
    counter = 0
    while connection.vendor == "mysql" and time.monotonic() < deadline:
        with connection.cursor() as cursor:
            cursor.execute("SHOW ENGINE INNODB STATUS")
            text = cursor.fetchone()[2]
        counter = counter or int(re.search(r"Trx id counter (\d+)", text)[1])  # type: ignore[index]
        done = int(re.search(r"Purge done for trx's n:o < (\d+)", text)[1])  # type: ignore[index]
        if done >= counter or "History list length 0\n" in text:
            break
        time.sleep(0.02)
    return time.monotonic()


def _pair(bench: Bench, kept: Copy, rows: int, number: int) -> tuple[Run, Run]:
    """Stock and ours at full duty, the first one changing from pair to pair."""
    runs = {}
    for mine in (False, True) if number % 2 == 0 else (True, False):
        kept.restore()
        runs[mine] = _whole(bench, mine)
    told = ", ".join(
        f"{name} {runs[mine].seconds:.2f} s ({rows / runs[mine].seconds:,.0f} rows/s)"
        for mine, name in ((False, "stock"), (True, "ours"))
    )
    say(f"full duty, pair {number + 1}: {told}")
    return runs[False], runs[True]


def _archived(bench: Bench, kept: Copy) -> Run:
    kept.restore()
    run = _whole(bench, True, "--archive", bench.path("archive"))
    say(f"full duty, with an archive: {run.seconds:.2f} s")
    return run


def _probed(
    bench: Bench, kept: Copy, mine: bool, arguments: argparse.Namespace
) -> dict[str, Waits]:
    """What a prober waits for, first without a prune and then with one."""
    from tests.lab import until

    kept.restore()
    file = bench.path("waits.json")
    prober = bench.script("prober", file)
    until(lambda: "probing" in prober.log or prober.process.poll() is not None)
    time.sleep(arguments.idle_seconds)
    idle_until = time.monotonic()
    run = _end(bench, _start(bench, mine, *_bounds(mine, arguments)))
    time.sleep(0.2)
    prober.signal(signal.SIGTERM)
    if prober.wait():
        raise SystemExit(f"the prober failed:\n{prober.log[-2000:]}")
    bench.forget(prober)
    waits = {}
    for name, taken in json.loads("".join(bench.lines("waits.json"))).items():
        idle = [seconds for began, seconds in taken if began + seconds < idle_until]
        busy = [
            seconds for began, seconds in taken if began + seconds > run.begin and began < run.end
        ]
        waits[name] = Waits(idle, busy)
        told = f"idle {_triple(idle)}, meanwhile {_triple(busy)}, {len(busy)} times"
        say(f"{name} beside {'ours' if mine else 'stock'}, {run.seconds:.0f} s: {told}")
    return waits


def _bounds(mine: bool, arguments: argparse.Namespace) -> tuple[str, ...]:
    return ("--max-seconds", str(arguments.max_seconds)) if mine else ()


# -- telling ----------------------------------------------------------------------------


def _time(database: str, rows: int, stock: list[Run], ours: list[Run]) -> Figure:
    pairs = zip(ours, stock, strict=True)
    ratio, limit = median([mine.seconds / peer.seconds for mine, peer in pairs]), TIMES[database]
    return Figure(
        f"prune of {rows:,} rows at full duty",
        f"{_speed(rows, ours)}, {ratio:.2f} x stock",
        _speed(rows, stock),
        f"<= {limit} x stock" + (" (0.8 of its rate)" if database == "postgres" else ""),
        ratio <= limit,
    )


def _time_with_purge(rows: int, stock: list[Run], ours: list[Run]) -> Figure:
    mine, peer = ([run.purged - run.begin for run in runs] for runs in (ours, stock))
    ratio = median([a / b for a, b in zip(mine, peer, strict=True)])
    return Figure(
        f"prune of {rows:,} rows at full duty, until it is purged",
        f"{median(mine):.1f} s, {ratio:.2f} x stock",
        f"{median(peer):.1f} s",
    )


def _speed(rows: int, runs: list[Run]) -> str:
    seconds = median([run.seconds for run in runs])
    return f"{seconds:.1f} s ({rows / seconds / 1000:.0f} k/s)"


def _waits(database: str, name: str, waits: dict[bool, dict[str, Waits]]) -> Figure:
    stock, ours = waits[False][name], waits[True][name]
    bounds = WORST.get((database, name))
    targets, met = [], []
    if bounds is not None:
        for what, limit, share in (("p99", bounds[0], 0.99), ("worst", bounds[1], 1.0)):
            if limit is not None:
                targets.append(f"{what} <= {limit * 1000:.0f} ms")
                met.append(percentile(ours.busy, share) <= limit)
    if database in AGAINST_IDLE:
        targets.append(f"p99 <= {AGAINST_IDLE[database]} x idle")
        met.append(ours.ratio <= AGAINST_IDLE[database])
    return Figure(
        f"{name} during a prune at the default duty: p50, p99, worst",
        _told(ours),
        _told(stock),
        ", ".join(targets),
        all(met) if met else None,
    )


def _told(waits: Waits) -> str:
    idle = percentile(waits.idle, 0.99) * 1000
    return f"{_triple(waits.busy)}; p99 {waits.ratio:.1f} x idle ({idle:.1f} ms)"


def _triple(seconds: list[float]) -> str:
    p50, p99, worst = (percentile(seconds, share) * 1000 for share in (0.5, 0.99, 1.0))
    return f"{p50:.1f}, {p99:.1f}, {worst:,.0f} ms"


def _memory(small: int, large: int, rows: int, stock: int | None) -> Figure:
    more = (large - small) / MIB
    return Figure(
        f"memory of a prune, {rows:,} rows against {FEW:,}",
        f"{more:+.1f} MiB ({large / MIB:.0f} MiB)",
        "" if stock is None else f"{stock / MIB:.0f} MiB",
        f"<= +{MEMORY} MiB",
        more <= MEMORY,
    )


def _archive(archived: Run, ours: list[Run]) -> Figure:
    from argus_maint.backends.frames import suffix

    without = median([run.seconds for run in ours])
    ratio = archived.seconds / without
    return Figure(
        f"prune at full duty with an archive ({suffix()})",
        f"{archived.seconds:.1f} s, {ratio:.2f} x without",
        f"without: {without:.1f} s",
        f"<= {ARCHIVE:.0f} x without",
        ratio <= ARCHIVE,
    )


if __name__ == "__main__":
    sys.exit(main())
