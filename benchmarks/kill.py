"""From SIGKILL to READY: how long a task is lost when what ran it is killed.

Scenarios (--scenario, repeatable; all of them by default):
  worker          one of four workers of a supervisor is killed in the middle of a task
  namespace       a family (supervisor, keeper and worker) is killed at once; another
                  supervisor is alive in another PID namespace, so that only the lease
                  can tell; defaults
  namespace-fast  the same with a beat of 1 s and a lease of 3 s
  same            the same in one PID namespace, with defaults: the pid can tell
  stock           the stock worker is killed, and another stock worker is alive

How it is measured: this process sends the signal, and then reads the rows of the killed
every 2 ms until they are READY, or claimed again already. The time runs from just before
the signal to just after the read that shows it, so it is never too short. The backoff
of the policy is 0. Kills come at random moments of a beat. --parallel families are killed
together, each on its own phase of the beat; the watcher's phase is new for each round.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.common import Figure, laboratory, parser, percentile, report, say

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from tests.lab import Supervised

SCENARIOS = ("worker", "namespace", "namespace-fast", "same", "stock")
NAMES = {
    "worker": "worker killed",
    "namespace": "family killed, seen from another PID namespace, defaults",
    "namespace-fast": "family killed, seen from another PID namespace, beat 1 s and lease 3 s",
    "same": "family killed, seen from the same PID namespace, defaults",
}
TARGETS = {"worker": 1.0, "namespace": 25.0, "namespace-fast": 6.0, "same": 7.0}  # p99, seconds
FAST = ("--lease=3",)  # the beat becomes a third of it


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--scenario", action="append", choices=SCENARIOS)
    options.add_argument("--kills", type=int, default=100, help="of each (default: 100)")
    options.add_argument("--parallel", type=int, default=10, help="families (default: 10)")
    options.add_argument(
        "--stock-wait", type=float, default=60, help="seconds (default: %(default)g)"
    )
    arguments = options.parse_args()
    scenarios = arguments.scenario or list(SCENARIOS)
    if arguments.quick:
        arguments.kills, arguments.parallel, arguments.stock_wait = 4, 2, 5.0
        scenarios = arguments.scenario or ["worker", "namespace-fast", "stock"]
    figures = []
    with laboratory(arguments.database) as bench:
        stock = _stock(bench, arguments.stock_wait) if "stock" in scenarios else ""
        for scenario in scenarios:
            if scenario != "stock" and _possible(scenario):
                times = _measure(bench, scenario, arguments)
                figures.append(_figure(arguments.database, scenario, times, stock))
    return report("kill", arguments, figures)


def _possible(scenario: str) -> bool:
    from tests.faults import namespace

    why = namespace.missing() if scenario.startswith("namespace") else ""
    if why:
        say(f"{scenario}: left out, a PID namespace cannot be made here: {why}")
    return not why


def _measure(bench: Bench, scenario: str, arguments: Any) -> list[float]:
    if scenario == "worker":
        return _workers(bench, arguments.kills)
    # In one namespace the watcher sees all deaths in one look: families that are killed
    # together are one measurement, so they are killed one at a time.
    parallel = 1 if scenario == "same" else arguments.parallel
    return _families(bench, scenario, arguments.kills, parallel)


def _figure(database: str, scenario: str, times: list[float], stock: str) -> Figure:
    p50, p99, most = percentile(times, 0.5), percentile(times, 0.99), max(times)
    return Figure(
        f"SIGKILL to READY, {len(times)} kills: {NAMES[scenario]}",
        f"p50 {p50:.2f} s, p99 {p99:.2f} s, max {most:.2f} s",
        stock,
        f"p99 < {TARGETS[scenario]:g} s",
        p99 < TARGETS[scenario],
        database,
    )


# -- one worker of several ---------------------------------------------------------


def _workers(bench: Bench, kills: int) -> list[float]:
    from benchmarks.bench import kill

    supervised = bench.worker("--processes=4").ready(4)
    useful: set[str] = set()  # who has finished nothing yet is restarted late when it dies
    times: list[float] = []
    for number in range(kills * 4):
        if len(times) == kills:
            break
        gate = Path(bench.path(f"gate-{number}"))
        result = _enqueue("default", gate)
        holder = bench.holder(result)
        if holder.worker_id in useful:
            time.sleep(random.uniform(0, 0.5))
            killed_at = time.monotonic()
            kill(holder.pid)
            times += _until_ready({result.id: killed_at}, 60)
            say(f"worker: kill {len(times)}, {times[-1]:.3f} s")
        gate.touch()
        useful.add(bench.until_status(result, "SUCCESSFUL").worker_ids[-1])
    supervised.stop()
    bench.forget(supervised)
    return times


def _enqueue(queue: str, gate: Path) -> Any:
    from benchmarks import tasks

    return tasks.wait_for.using(queue_name=queue).enqueue(str(gate))


def _until_ready(killed_at: dict[Any, float], seconds: float) -> list[float]:
    """Seconds from the kill until each task is READY, or was even claimed again."""
    from benchmarks.bench import attempts

    waiting, times = dict(killed_at), []
    deadline = time.monotonic() + seconds
    while waiting:
        for pk, status, number in attempts(list(waiting)):
            if status == "RUNNING" and number == 1:
                continue
            if status not in ("READY", "RUNNING"):
                raise SystemExit(f"task {pk} became {status}")
            times.append(time.monotonic() - waiting.pop(str(pk)))
        if time.monotonic() > deadline:
            raise SystemExit(f"{len(waiting)} tasks not READY {seconds:g} s after the kill")
        time.sleep(0.002)
    return times


# -- whole families ------------------------------------------------------------------


def _families(bench: Bench, scenario: str, kills: int, parallel: int) -> list[float]:
    from tests.faults import namespace

    lease = FAST if scenario == "namespace-fast" else ()
    prefix = namespace.ALONE if scenario.startswith("namespace") else ()
    watcher = bench.worker("--queue-name=none", *lease, name=f"watcher-{scenario}", prefix=prefix)
    watcher.ready()
    times: list[float] = []
    while len(times) < kills:
        number = min(parallel, kills - len(times))
        times += _round(bench, number, lease, f"{scenario}-{len(times)}")
        say(f"{scenario}: {len(times)} kills, slowest of this round {max(times[-number:]):.2f} s")
    _check_verdict("exited" if scenario == "same" else "expired", kills, watcher.name)
    # Told, the supervisor ends by itself; under unshare it is the child that has to be told.
    bench.close_one(watcher)
    return times


def _round(bench: Bench, number: int, lease: Iterable[str], name: str) -> list[float]:
    """Kill some families at once, and wait until their tasks are READY."""
    queue, gate = "victims", Path(bench.path(f"gate-{name}"))
    families = [
        bench.worker(f"--queue-name={queue}", *lease, name=f"{name}-{each}")
        for each in range(number)
    ]
    for family in families:
        family.ready()
    results = [_enqueue(queue, gate) for _ in families]
    held_by = {bench.holder(result).name: result.id for result in results}
    time.sleep(random.uniform(0, families[0].rows()[0].lease / 3))
    trees = [(family, family.tree()) for family in families]
    killed_at = {held_by[family.name]: time.monotonic() for family in families}
    _kill_all(trees)
    times = _until_ready(killed_at, 120)
    for family in families:
        bench.forget(family)
    bench.clear()  # or the next families take these tasks first
    return times


def _kill_all(trees: list[tuple[Supervised, list[int]]]) -> None:
    """Supervisors first: nobody is left to see or replace the others."""
    from benchmarks.bench import kill

    steps: list[Callable[[list[int]], list[int]]] = [lambda t: t[:1], lambda t: t[1:]]
    for part in steps:
        for _, tree in trees:
            for pid in part(tree):
                try:
                    kill(pid)
                except ProcessLookupError:  # it went with its parent
                    continue


def _check_verdict(verdict: str, kills: int, watcher: str) -> None:
    """The evidence was what this scenario is about, and the watcher's."""
    from argus_maint.models import LedgerEntry

    entries = LedgerEntry.objects.filter(verdict=verdict, noticed_by__startswith=f"{watcher}@")
    if entries.count() != kills:
        raise SystemExit(f"{entries.count()} of {kills} tasks were found {verdict} by {watcher}")


# -- the stock worker ------------------------------------------------------------------


def _stock(bench: Bench, seconds: float) -> str:
    """Kill a stock worker in the middle of its task, and see what another makes of it."""
    from benchmarks.bench import attempts, kill
    from tests.lab import until

    bench.clear()
    victim = bench.stock()
    result = _enqueue("default", Path(bench.path("gate-stock")))
    until(lambda: next(attempts([result.id]))[1] == "RUNNING", what="the stock worker has it")
    bench.stock()
    kill(victim.pid)
    bench.forget(victim)
    say(f"stock: waiting {seconds:g} s")
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        _, status, number = next(attempts([result.id]))
        if (status, number) != ("RUNNING", 1):
            raise SystemExit(f"the stock worker's task became {status}: this is new")
        time.sleep(0.2)
    bench.close()
    bench.clear()
    return f"never (RUNNING after {seconds:g} s)"


if __name__ == "__main__":
    sys.exit(main())
