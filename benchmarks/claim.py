"""Taking a task: our claim, without and with paused queues, against the stock worker's.

One process claims from a queue that stays full, ours and stock in turn, on a connection that
stays open. The stock claim is the stock worker's query in its transaction and its ``claim``;
it runs without our indexes, as on a site that has only the stock worker. Each claim is timed
on the clock, which holds the database's part, and on this process's processor. Each turn has
its median, and each round its ratio; medians of those are reported.
"""

from __future__ import annotations

import os
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.common import Figure, laboratory, parser, report, say

if TYPE_CHECKING:
    from benchmarks.bench import Bench

WORKER = "claimer.1"
WAYS = {"ours": 0, "paused": 12, "stock": 0}  # pauses that hold meanwhile
TARGETS = {"postgres": 1.0, "mariadb": 1.0}  # times the stock claim, on the clock


@dataclass(frozen=True, slots=True)
class Taken:
    """Milliseconds of one claim in the median of a turn."""

    clock: float
    processor: float


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--claims", type=int, default=1000, help="a turn (default: 1000)")
    options.add_argument("--rounds", type=int, default=9, help="of all three (default: 9)")
    arguments = options.parse_args()
    claims, rounds = (100, 2) if arguments.quick else (arguments.claims, arguments.rounds)
    with laboratory(arguments.database) as bench:
        _register()
        done = [_round(bench, number, claims) for number in range(rounds)]
    figures = [_figure(arguments.database, way, done) for way in ("ours", "paused")]
    return report("claim", arguments, figures)


def _register() -> None:
    """No claim is made under the id of a worker that nobody knows."""
    from argus_maint.workers import identity, registry

    group = registry.Group(uuid.uuid4(), "claimer", identity.this_host(), 60, {})
    registry.register(group, "worker", WORKER, os.getpid(), "default", 10)


def _round(bench: Bench, number: int, claims: int) -> dict[str, Taken]:
    ways = list(WAYS)
    for _ in range(number % len(ways)):
        ways.append(ways.pop(0))
    taken = {way: _turn(bench, way, claims) for way in ways}
    told = ", ".join(f"{way} {each.clock:.2f} ms" for way, each in sorted(taken.items()))
    say(f"round {number + 1}: {told}")
    return taken


def _turn(bench: Bench, way: str, claims: int) -> Taken:
    from django.utils import timezone

    from argus_maint.models import Pause

    bench.clear()
    bench.index(way != "stock")
    bench.enqueue(claims * 2)
    Pause.objects.all().delete()
    Pause.objects.bulk_create(
        Pause(backend_name="default", queue_name=f"q{n}", by="x", why="x", since=timezone.now())
        for n in range(WAYS[way])
    )
    claim = _stock if way == "stock" else _ours
    claim()  # compiles its query
    clock, processor = zip(*(_timed(claim) for _ in range(claims)), strict=True)
    return Taken(median(clock) * 1000, median(processor) * 1000)


def _timed(claim: Callable[[], Any]) -> tuple[float, float]:
    clock, processor = time.perf_counter(), time.process_time()
    row = claim()
    done = time.perf_counter() - clock, time.process_time() - processor
    assert row is not None
    assert row.status == "RUNNING"
    return done


def _ours() -> Any:
    from argus_maint.workers.claim import Queues, claim

    return claim(Queues("default", ("default",), worker="claimer"), WORKER, "default")


def _stock() -> Any:
    from django_tasks_db.models import DBTaskResult
    from django_tasks_db.utils import exclusive_transaction

    ready = DBTaskResult.objects.ready().filter(backend_name="default")
    ready = ready.filter(queue_name__in=["default"])
    with exclusive_transaction(ready.db):
        row = ready.get_locked()
        row.claim(WORKER)
    return row


def _figure(database: str, way: str, done: list[dict[str, Taken]]) -> Figure:
    clock = median([each[way].clock / each["stock"].clock for each in done])
    processor = median([each[way].processor / each["stock"].processor for each in done])
    ours, stock = (_middle([each[name] for each in done]) for name in (way, "stock"))
    target = TARGETS.get(database)
    name = "a claim" if not WAYS[way] else f"the same with {WAYS[way]} paused queues"
    return Figure(
        f"{name}, median of {len(done)} rounds",
        f"{clock:.2f} x stock on the clock, {processor:.2f} x of our processor ({ours})",
        stock,
        f"<= {target:g} x stock" if target else "",
        clock <= target if target else None,
        database,
    )


def _middle(turns: list[Taken]) -> str:
    pairs = ((turn.clock, turn.processor) for turn in turns)
    clock, processor = (median(each) for each in zip(*pairs, strict=True))
    return f"{clock:.2f} ms, processor {processor:.2f} ms"


if __name__ == "__main__":
    sys.exit(main())
