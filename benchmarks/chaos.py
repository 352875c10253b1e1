"""Random kills: is a task lost, or finished twice, when what works on it keeps dying?

Four workers work through tasks that append to a ledger file, and something is killed
again and again at a random moment: most often a worker, sometimes the keeper, sometimes
the supervisor, which this process then starts anew as a service manager would. A kill
comes for every so many finished tasks, so all kills hit a working queue. Then:

  lost             tasks that are not SUCCESSFUL, or never came to their last line
  finished twice   tasks with more than one accepted completion (``task_finished``)
  duplicates       runs beyond the first: each must belong to a kill that hit a running
                   task, by pid, and to one entry of the rescue ledger

The stock worker is put through the same with fewer kills: what it loses is lost for good.
Exits 1 when ours loses a task, finishes one twice, or repeats one that no kill hit.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks.common import Figure, laboratory, parser, report, say

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from tests.lab import Supervised

WORKERS = 4
LONGEST = 0.2  # seconds a task takes, at most
# What is hit: a worker 17 times in 20.
TARGETS = ["worker"] * 17 + ["keeper"] * 2 + ["supervisor"]


@dataclass
class Run:
    """What was killed, and what came of it."""

    name: str
    file: str
    kills: Counter[str] = field(default_factory=Counter)
    dead: set[int] = field(default_factory=set)  # pids of workers that were killed
    seconds: float = 0.0
    lost: int = 0
    twice: int = 0
    hit: int = 0  # attempts that a kill ended
    repeated: int = 0  # runs beyond the first
    wrong: list[str] = field(default_factory=list)


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--tasks", type=int, default=2000, help="default: %(default)s")
    options.add_argument("--kills", type=int, default=200, help="default: %(default)s")
    options.add_argument("--stock-kills", type=int, default=20, help="default: %(default)s")
    options.add_argument("--seed", type=int, help="repeats the choice of victims, not the timing")
    arguments = options.parse_args()
    if arguments.quick:
        arguments.tasks, arguments.kills, arguments.stock_kills = 120, 12, 2
    seed = arguments.seed if arguments.seed is not None else random.randrange(10**6)
    say(f"seed {seed}")
    # A task may be hit many times here, and quarantine is not what this is about.
    with laboratory(arguments.database, rescue={"backoff": [0, 0], "max_losses": 10_000}) as bench:
        ours = _ours(bench, arguments.tasks, arguments.kills, random.Random(seed))
        stock = _stock(bench, arguments.tasks // 10, arguments.stock_kills, random.Random(seed))
    for line in ours.wrong:
        say(f"WRONG: {line}")
    status = report("chaos", arguments, _figures(arguments, ours, stock))
    return int(bool(ours.wrong)) or status


def _figures(arguments: Any, ours: Run, stock: Run) -> list[Figure]:
    kills = ", ".join(f"{number} {what}" for what, number in ours.kills.most_common())
    database = arguments.database
    name = f"{sum(ours.kills.values())} random kills, {arguments.tasks:,} tasks"
    peer = f"{sum(stock.kills.values())} kills, {arguments.tasks // 10:,} tasks: {stock.lost} lost"
    return [
        Figure(f"{name}: lost", f"{ours.lost} ({kills})", peer, "0", ours.lost == 0, database),
        Figure(f"{name}: finished twice", str(ours.twice), "", "0", ours.twice == 0, database),
        Figure(
            f"{name}: runs beyond the first",
            f"{ours.repeated}, of {ours.hit} tasks hit while running",
            "",
            "only where a kill hit",
            not ours.wrong,
            database,
        ),
    ]


# -- ours --------------------------------------------------------------------------


def _ours(bench: Bench, tasks: int, kills: int, chance: random.Random) -> Run:
    run = Run("ours", bench.path("ledger"))
    _enqueue(run, tasks, chance)
    supervised = _start(bench, 0)
    started = time.monotonic()
    for number, due in enumerate(_due(tasks, kills, chance)):
        _until_done(due)
        target = chance.choice(TARGETS)
        if not _hit(run, supervised, target, chance):
            target = _insist(run, supervised, chance)
        run.kills[target] += 1
        if target == "supervisor":
            bench.forget(supervised)
            supervised = _start(bench, number + 1)
    _until_done(tasks)
    run.seconds = time.monotonic() - started
    supervised.stop()
    bench.forget(supervised)
    say(f"ours: {tasks} tasks, {kills} kills, {run.seconds:.0f} s")
    _judge(run)
    bench.clear()
    return run


def _start(bench: Bench, number: int) -> Supervised:
    from tests.lab import until

    supervised = bench.worker(f"--processes={WORKERS}", name=f"chaos-{number}")
    until(supervised.rows, what=f"a worker of {supervised.name}")
    return supervised


def _enqueue(run: Run, number: int, chance: random.Random) -> None:
    from benchmarks import tasks

    for each in range(number):
        tasks.append.enqueue(run.file, f"t{each}", round(chance.uniform(0, LONGEST), 3))


def _due(tasks: int, kills: int, chance: random.Random) -> list[int]:
    """After how many finished tasks each kill comes; the last well before the end."""
    return sorted(chance.randrange(max(1, tasks - 2 * WORKERS)) for _ in range(kills))


def _hit(run: Run, supervised: Supervised, target: str, chance: random.Random) -> bool:
    """Kill one process of that kind; False when there is none just now."""
    from benchmarks.bench import kill

    workers = supervised.worker_pids()
    family = {child.pid for child in psutil.Process(supervised.pid).children() if _lives(child)}
    if target == "supervisor":
        run.dead |= family
        kill(supervised.pid)
        return True
    # A worker that was just forked is not registered yet, and so looks like the keeper.
    keeper = [pid for pid in family - set(workers) if len(family) == WORKERS + 1]
    pids = sorted(family & set(workers)) if target == "worker" else sorted(keeper)
    if not pids or (target == "keeper" and len(pids) > 1):
        return False
    victim = chance.choice(pids)
    time.sleep(chance.uniform(0, LONGEST / 2))
    try:
        kill(victim)
    except ProcessLookupError:
        return False
    if target == "worker":
        run.dead.add(victim)
    return True


def _lives(child: psutil.Process) -> bool:
    try:
        return child.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _insist(run: Run, supervised: Supervised, chance: random.Random) -> str:
    """Where there was no such process, a worker it is."""
    deadline = time.monotonic() + 60
    while not _hit(run, supervised, "worker", chance):
        if time.monotonic() > deadline:
            raise SystemExit("no worker to kill for a minute")
        time.sleep(0.02)
    return "worker"


def _until_done(number: int) -> None:
    from django_tasks_db.models import DBTaskResult

    from tests.lab import until

    done = DBTaskResult.objects.filter(status__in=["SUCCESSFUL", "FAILED"])
    until(lambda: done.count() >= number, 300, f"{number} tasks finished")


def _judge(run: Run) -> None:
    """Compare the task table, the file and the rescue ledger."""
    from django_tasks_db.models import DBTaskResult

    from argus_maint.models import LedgerEntry

    lines: Counter[tuple[str, str]] = Counter()
    for line in Path(run.file).read_text().splitlines():
        kind, name, _ = line.split()
        lines[kind, name] += 1
    requeued = Counter(
        LedgerEntry.objects.filter(action=LedgerEntry.Action.REQUEUED).values_list(
            "task_id", "attempt"
        )
    )
    for row in DBTaskResult.objects.all():
        name = row.args_kwargs["args"][1]
        _judge_task(run, row, name, lines, requeued)
    run.repeated = sum(number - 1 for (kind, _), number in lines.items() if kind == "begin")
    others = LedgerEntry.objects.exclude(action=LedgerEntry.Action.REQUEUED)
    run.wrong += [f"ledger: {entry} ({entry.evidence})" for entry in others]


def _judge_task(
    run: Run,
    row: Any,
    name: str,
    lines: Counter[tuple[str, str]],
    requeued: Counter[tuple[Any, int]],
) -> None:
    attempts = len(row.worker_ids)
    begins, ends = lines["begin", name], lines["end", name]
    accepted = lines["SUCCESSFUL", name] + lines["FAILED", name]
    if row.status != "SUCCESSFUL" or not ends:
        run.lost += 1
        run.wrong.append(f"{name} is {row.status} with {ends} last lines")
    if accepted > 1:
        run.twice += 1
        run.wrong.append(f"{name} was finished {accepted} times")
    if not ends <= begins <= attempts:
        run.wrong.append(f"{name}: {attempts} attempts, begun {begins} times, ended {ends} times")
    for attempt, worker in enumerate(row.worker_ids[:-1], start=1):
        run.hit += 1
        if requeued[row.pk, attempt] != 1:
            run.wrong.append(f"{name}: attempt {attempt} was not rescued once")
        if _pid_of(worker) not in run.dead:
            run.wrong.append(f"{name}: attempt {attempt} of {worker} was repeated, and no kill hit")


def _pid_of(worker_id: str) -> int:
    from argus_maint.models import Process

    return Process.objects.get(worker_id=worker_id).pid


# -- the stock worker ----------------------------------------------------------------


def _stock(bench: Bench, tasks: int, kills: int, chance: random.Random) -> Run:
    """Four stock workers, each started anew when it is killed."""
    from django_tasks_db.models import DBTaskResult

    from benchmarks.bench import kill
    from tests.lab import until

    run = Run("stock", bench.path("stock-ledger"))
    _enqueue(run, tasks, chance)
    workers = [bench.stock() for _ in range(WORKERS)]
    for number, due in enumerate(_due(tasks, kills, chance)):
        _until_done(due - number)  # each kill so far may have taken one out of the count
        time.sleep(chance.uniform(0, LONGEST / 2))
        place = chance.randrange(WORKERS)
        kill(workers[place].pid)
        run.kills["worker"] += 1
        bench.forget(workers[place])
        workers[place] = bench.stock()
    until(lambda: not DBTaskResult.objects.filter(status="READY").exists(), 300, "all taken")
    time.sleep(10 * LONGEST)  # whatever is alive has finished by now
    run.lost = DBTaskResult.objects.filter(status="RUNNING").count()
    bench.close()
    say(f"stock: {tasks} tasks, {kills} kills, {run.lost} lost")
    return run


if __name__ == "__main__":
    sys.exit(main())
