"""No-op throughput: one worker of ours against the stock db_worker, tasks per second.

Both work the same number of tasks that do nothing, with --batch, one process each, on
the same database. The rate is taken from the first completion to the last, so start-up
and the end are not in it. Runs are interleaved, ours and stock in turn, and each pair
gives a ratio; medians are reported.

CONN_MAX_AGE=0 is Django's default: the stock worker then reconnects for every task,
ours keeps its connection while it is busy. With CONN_MAX_AGE=600 both keep it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from statistics import median
from typing import TYPE_CHECKING

from django.db.models import Max, Min

from benchmarks.common import Figure, laboratory, parser, report, say

if TYPE_CHECKING:
    from benchmarks.bench import Bench

TARGETS = {600: 0.95, 0: 2.2}  # ours / stock, on PostgreSQL


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--tasks", type=int, default=2000, help="in each run (default: 2000)")
    options.add_argument("--pairs", type=int, default=5, help="runs of each (default: 5)")
    options.add_argument("--conn-max-age", type=int, help="seconds (default: 600, and then 0)")
    arguments = options.parse_args()
    ages = [600, 0] if arguments.conn_max_age is None else [arguments.conn_max_age]
    number, pairs = (200, 1) if arguments.quick else (arguments.tasks, arguments.pairs)
    figures = []
    with laboratory(arguments.database) as bench:
        for age in ages:
            runs = list(_pairs(bench, age, number, pairs))
            figures.append(_figure(arguments.database, age, runs))
    return report("throughput", arguments, figures)


def _pairs(bench: Bench, age: int, number: int, pairs: int) -> Iterator[tuple[float, float]]:
    """Rates of ours and of the stock worker, the first runner changing from pair to pair."""
    for pair in range(pairs):
        rates = {}
        for ours in (True, False) if pair % 2 == 0 else (False, True):
            rates[ours] = _rate(bench, ours, age, number)
        told = f"ours {rates[True]:.0f}/s, stock {rates[False]:.0f}/s"
        say(f"CONN_MAX_AGE={age}, pair {pair + 1}: {told}")
        yield rates[True], rates[False]


def _rate(bench: Bench, ours: bool, age: int, number: int) -> float:
    from django_tasks_db.models import DBTaskResult

    bench.clear()
    bench.index(ours)
    bench.enqueue(number)
    start = bench.worker if ours else bench.stock
    worker = start("--batch", ARGUS_MAINT_BENCH_CONN_MAX_AGE=str(age))
    if worker.wait(600):
        raise SystemExit(f"{worker.name} failed:\n{worker.log[-2000:]}")
    bench.forget(worker)
    done = DBTaskResult.objects.filter(status="SUCCESSFUL")
    assert done.count() == number, f"{done.count()} of {number} done"
    span = done.aggregate(first=Min("finished_at"), last=Max("finished_at"))
    seconds: float = (span["last"] - span["first"]).total_seconds()
    return (number - 1) / seconds


def _figure(database: str, age: int, runs: list[tuple[float, float]]) -> Figure:
    ratio = median([ours / stock for ours, stock in runs])
    target = TARGETS.get(age) if database == "postgres" else None
    return Figure(
        f"no-op tasks per second, CONN_MAX_AGE={age}",
        f"{median([ours for ours, _ in runs]):.0f}/s, {ratio:.2f} x stock",
        f"{median([stock for _, stock in runs]):.0f}/s",
        "" if target is None else f">= {target} x stock",
        None if target is None else ratio >= target,
        database,
    )


if __name__ == "__main__":
    sys.exit(main())
