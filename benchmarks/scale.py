"""Cost of a rescue pass and of a status screen, by the size of the table.

The table holds finished rows, 100 that are READY and 8 that are RUNNING. The time of a
pass over the large table is given as a ratio to the time over the small one, which is
measured before and after. The rescue pass is a dry run: it looks at all, and changes
nothing. Without our indexes the large table is measured once more: that is what the stock
table alone would cost.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING

from django.db import connection

from benchmarks.common import Figure, laboratory, parser, report, say, timed

if TYPE_CHECKING:
    from benchmarks.bench import Bench

TARGET = 1.5
PASSES = 41  # of each; the median is taken


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--rows", type=int, default=3_000_000, help="default: %(default)s")
    options.add_argument("--small", type=int, default=10_000, help="default: %(default)s")
    arguments = options.parse_args()
    rows, passes = (50_000, 7) if arguments.quick else (arguments.rows, PASSES)
    with laboratory(arguments.database) as bench:
        before = _fill_and_time(bench, arguments.small, passes)
        large = _fill_and_time(bench, rows - arguments.small, passes)
        bench.index(False)
        analyze()
        without = _times(3)  # seconds each where the table is scanned
        # Once more, so that a machine that became faster or slower meanwhile is no ratio.
        bench.clear()
        bench.index(True)
        after = _fill_and_time(bench, arguments.small, passes)
    small = {name: (before[name] + after[name]) / 2 for name in before}
    figures = [
        _figure(name, small[name], large[name], without[name], rows, arguments.small)
        for name in small
    ]
    figures = [replace(figure, database=arguments.database) for figure in figures]
    return report("scale", arguments, figures)


def busy(bench: Bench) -> None:
    """A hundred READY tasks, and eight RUNNING under a worker that nobody registered."""
    from django.utils import timezone
    from django_tasks_db.models import DBTaskResult

    if DBTaskResult.objects.filter(status="RUNNING").exists():
        return
    bench.enqueue(108)
    for number, row in enumerate(DBTaskResult.objects.all()[:8]):
        row.status, row.started_at, row.worker_ids = "RUNNING", timezone.now(), [f"gone.{number}"]
        row.save()


def _fill_and_time(bench: Bench, rows: int, passes: int) -> dict[str, float]:
    say(f"adding {rows:,} finished rows")
    busy(bench)
    bench.fill(rows)
    analyze()
    times = _times(passes)
    say(", ".join(f"{name} {seconds * 1000:.1f} ms" for name, seconds in times.items()))
    return times


def analyze() -> None:
    """Tell the planner, and have the table as autovacuum would."""
    table = connection.ops.quote_name("django_tasks_database_dbtaskresult")
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {'TABLE ' if connection.vendor == 'mysql' else ''}{table}")
        if connection.vendor == "postgresql":
            cursor.execute(f"VACUUM {table}")  # what autovacuum does in its own time


def _times(passes: int) -> dict[str, float]:
    """Median seconds of each pass, the two taken in turn."""
    from argus_maint.jobs import rescue
    from argus_maint.observe import status
    from argus_maint.workers.identity import this_host

    host = this_host()

    def rescue_pass() -> None:
        rescue.run(rescue.View("default", "bench", host, dry_run=True))

    def status_pass() -> None:
        status.gather("default")

    calls = {"rescue pass": rescue_pass, "status": status_pass}
    for call in calls.values():
        call()
    taken = [{name: timed(call) for name, call in calls.items()} for _ in range(passes)]
    return {name: median([each[name] for each in taken]) for name in calls}


def _figure(name: str, small: float, large: float, without: float, rows: int, few: int) -> Figure:
    ratio = large / small
    return Figure(
        f"{name}, {rows:,} finished rows against {few:,}",
        f"{ratio:.2f} x ({large * 1000:.1f} ms)",
        f"without our indexes {without / small:.1f} x ({without * 1000:.0f} ms)",
        f"<= {TARGET} x",
        ratio <= TARGET,
    )


if __name__ == "__main__":
    sys.exit(main())
