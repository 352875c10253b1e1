"""Memory of a supervisor with its keeper and workers, over as many stock workers. Linux.

PSS (proportional set size) is what a process costs: a page that several processes share
counts for each in part. Each tree has worked off some tasks before it is looked at.
"Over stock" is the whole tree less the same number of stock workers.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import psutil

from benchmarks.common import Figure, laboratory, parser, report

if TYPE_CHECKING:
    from benchmarks.bench import Bench

MIB = 2**20


def main() -> int:
    options = parser(__doc__)
    options.add_argument(
        "--workers", type=int, nargs="+", default=[1, 4], metavar="N", help="default: 1 4"
    )
    arguments = options.parse_args()
    tasks = 20 if arguments.quick else 200
    figures = []
    with laboratory(arguments.database) as bench:
        for number in arguments.workers:
            stock = _stock(bench, number, tasks)
            figures.append(_ours(bench, number, tasks, stock))
    return report("memory", arguments, figures)


def _stock(bench: Bench, number: int, tasks: int) -> float:
    workers = [bench.stock() for _ in range(number)]
    _work(bench, tasks)
    size = _size(worker.pid for worker in workers)
    for worker in workers:
        worker.stop()
        bench.forget(worker)
    return size


def _ours(bench: Bench, number: int, tasks: int, stock: float) -> Figure:
    worker = bench.worker(f"--processes={number}").ready(number)
    _work(bench, tasks)
    two = _size([worker.pid, worker.keeper_pid()])
    tree = two + _size(worker.worker_pids())
    worker.stop()
    bench.forget(worker)
    return Figure(
        f"memory (PSS) over {number} stock worker{'s' if number > 1 else ''}",
        f"{tree - stock:+.0f} MiB ({tree:.0f} in all, supervisor and keeper {two:.0f})",
        f"{stock:.0f} MiB",
        database=bench.database,
    )


def _work(bench: Bench, tasks: int) -> None:
    from django_tasks_db.models import DBTaskResult

    from tests.lab import until

    bench.enqueue(tasks)
    until(lambda: not DBTaskResult.objects.exclude(status="SUCCESSFUL").exists(), 120)


def _size(pids: Iterable[int]) -> float:
    """MiB."""
    return sum(float(psutil.Process(pid).memory_full_info().pss) for pid in pids) / MIB


if __name__ == "__main__":
    sys.exit(main())
