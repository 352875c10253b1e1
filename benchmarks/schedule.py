"""Schedulers that are killed, frozen and cut off: is each tick run once, and how soon again?

Scenarios (--scenario, repeatable; all of them by default):
  ticks      five schedulers, on django-crontask (where it is there) and on plain APScheduler,
             and a cron line that runs ``maint tick`` again and again; one is killed (SIGKILL,
             in the middle of a run where it can be) every 20 ticks and started again
  next       a scheduler is killed just after it has run a tick: how late is the next one?
  again      a scheduler is killed in the middle of a run: how long until it is run again?
  namespace  the same, seen from another PID namespace, so that only the lease can tell
  restart    PostgreSQL is away for 6 s: how many of the later ticks are run? (a server of our
             own; with --database postgres only)
  startup    ``maint tick`` and ``maint run JOB --scheduled`` with nothing due, as a multiple of
             ``manage.py check``, by the median of runs in turn

How it is measured: a tick comes each second or each 5 s, by schedules that no setting can ask
for. Each run of a job appends a line to a file when it begins, and when it ends; that file and
the ledger are the truth. Of a site's ``@cron`` tasks it is the rows that were enqueued. Times
run from just before the signal to just after the line that shows it. The lease is the default
in ``next``, ``again`` and ``namespace``; in ``ticks`` it is 3 s, as ticks come 12 times as fast.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from benchmarks.common import Figure, laboratory, parser, percentile, report, say
from benchmarks.startup import startup

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from tests.lab import Supervised
    from tests.scheduling.site import Site

SCENARIOS = ("ticks", "next", "again", "namespace", "restart", "startup")
EVERY = 5  # seconds between two ticks of a job
TAKEOVER = 16.0  # p99, seconds


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--scenario", action="append", choices=SCENARIOS)
    options.add_argument("--ticks", type=int, default=500, help="default: %(default)s")
    options.add_argument("--kills", type=int, default=30, help="of each (default: 30)")
    options.add_argument("--runs", type=int, default=15, help="of startup (default: 15)")
    arguments = options.parse_args()
    scenarios = arguments.scenario or list(SCENARIOS)
    if arguments.quick:
        arguments.ticks, arguments.kills, arguments.runs = 60, 2, 2
        scenarios = arguments.scenario or ["ticks", "next", "again", "startup"]
    figures: list[Figure] = []
    with laboratory(arguments.database) as bench:
        for scenario in scenarios:
            say(f"-- {scenario}")
            figures += MEASURES[scenario](bench, arguments)
    return report("schedule", arguments, figures)


@contextmanager
def _site(bench: Bench, lease: float | None = None) -> Iterator[Site]:
    """A project with jobs, for one scenario."""
    from django_tasks_db.models import DBTaskResult

    from argus_maint.models import Process, Run
    from tests.scheduling.site import Site

    for model in (Run, Process, DBTaskResult):
        model.objects.all().delete()
    before, site = dict(bench.env), Site(bench)
    site.lease(lease)
    try:
        yield site
    finally:
        site.close()
        bench.close()
        bench.env.clear()
        bench.env.update(before)
        bench.folder.joinpath("out").unlink(missing_ok=True)


# -- each tick once ----------------------------------------------------------------------


def _ticks(bench: Bench, arguments: Any) -> list[Figure]:
    from argus_maint.models import Run
    from tests.scheduling.site import KINDS
    from tests.scheduling.troop import Troop, account, enqueued, jobs, last_for

    number = 25
    with _site(bench, 3) as site:
        names = jobs(site, number, EVERY)
        troop = Troop(site, 5, EVERY)
        line = site.every_tick()
        seconds = arguments.ticks * EVERY / number
        span = last_for(site, seconds, 20 * EVERY / number, troop.kill_one)
        accounts = account(site, names, EVERY, span)
        line.end()
        for each in line.bad:
            say(f"maint tick: {each}")
        due = sum(len(each.due) for each in accounts)
        lost = [run for each in accounts for run in map(each.rows.get, each.lost)]
        missed = [(e.job, t) for e in accounts for t in e.missed if t not in e.lost]
        skipped = sum(len(each.skipped) for each in accounts)
        twice = sum(len(each.twice) for each in accounts)
        again = sum(run is not None and run.state == "done" for run in lost)
        asked = sum(site.jobs_set[each.job]["on_lost"] == "report" for each in lost if each)
        for each in missed:
            say(f"missed: {each}")
        for each in accounts:
            for tick in each.twice:
                say(f"twice: {site.told_of(each.job, tick)}")
        text = f"{due} ticks, {troop.started - 5} kills, {line.started} maint tick: "
        text += f"{twice} twice, {len(missed) + skipped} missed; lost in the middle {len(lost)}: "
        text += f"{again} run again, {asked} told as their jobs ask, "
        text += f"{len(lost) - again - asked} given up for the next tick"
        good = not twice and not missed and not skipped and not line.bad
        name = f"each tick once, 5 schedulers ({' and '.join(KINDS)}) and a cron line"
        figures = [Figure(name, text, "", "0 twice, 0 missed", good, bench.database)]
        counts = enqueued(EVERY, span) if len(KINDS) > 1 else {}
        told = Run.objects.filter(job__startswith="@cron", state="lost").count()
    if counts:
        none = sum(not each for each in counts.values())
        text = f"{len(counts)} ticks: {max(counts.values())} time at most, {none} missing"
        text += f" ({told} told as lost)"
        good = max(counts.values()) == 1 and none <= told
        name = "the site's @cron tasks, the same schedulers"
        stock = _stock_twice(bench)
        figures.append(Figure(name, text, stock, "each once", good, bench.database))
    return figures


def _stock_twice(bench: Bench) -> str:
    """Two of django-crontask's own command, without Redis."""
    from collections import Counter

    with _site(bench) as site:
        cron = {"ARGUS_MAINT_TEST_CRON_EVERY": "2", "ARGUS_MAINT_TEST_CRON_TASKS": "5"}
        pair = [site.scheduler(f"stock{n}", "stock", **cron) for n in range(2)]
        site.ready(*pair)
        span = (int(time.time()) + 2, int(time.time()) + 22)
        time.sleep(24)
        from tests.scheduling.troop import enqueued

        counts = Counter(enqueued(2, span).values())
    return f"2 schedulers: {counts[2]} of {sum(counts.values())} ticks twice"


# -- takeover ------------------------------------------------------------------------------


def _next(bench: Bench, arguments: Any) -> list[Figure]:
    """Kill whoever ran the last tick, and see how late the next one is."""
    from argus_maint.models import Run

    late: list[float] = []
    with _site(bench) as site:
        site.job("a", "1s")
        troop = [site.scheduler(f"s{n}") for n in range(3)]
        site.ready(*troop)
        while len(late) < arguments.kills:
            holder = _after_a_tick(site)
            place = next(n for n, s in enumerate(troop) if site.process_of(s).supervisor == holder)
            time.sleep(random.uniform(0, 0.8))
            last = Run.objects.filter(job="a").order_by("-tick").first()
            _kill(bench, troop[place])
            run = _first_after(last, holder)
            late.append((run.started_at - run.tick).total_seconds())
            say(f"next: kill {len(late)}, the next tick {late[-1]:.3f} s after its time")
            troop[place] = site.scheduler(f"s{place}-{len(late)}")
            site.ready(troop[place])
    name = f"the tick after a SIGKILL, {len(late)} kills: how late another runs it"
    return [_figure(name, late, bench.database)]


def _after_a_tick(site: Site) -> Any:
    """Who has just run one."""
    from argus_maint.models import Run
    from tests.lab import until

    before = Run.objects.filter(state="done").count()
    until(lambda: Run.objects.filter(state="done").count() > before)
    last = Run.objects.filter(state="done").order_by("-tick").first()
    assert last is not None
    return last.process


def _first_after(last: Any, holder: Any) -> Any:
    from argus_maint.models import Run
    from tests.lab import until

    later = Run.objects.filter(job="a", tick__gt=last.tick, state="done")
    return until(lambda: later.exclude(process=holder).order_by("tick").first())


def _again(bench: Bench, arguments: Any) -> list[Figure]:
    """On the same host: one kill at a time, as all deaths are seen in one look."""
    from argus_maint.models import Run

    times: list[float] = []
    with _site(bench) as site:
        for n in range(10):
            job = {"options": {"seconds": 4}, "on_lost": "rerun"}
            site.job(f"job{n}", f"40s+{4 * n}", "first_long", **job)
        troop = [site.scheduler(f"s{n}") for n in range(3)]
        site.ready(*troop)
        while len(times) < arguments.kills:
            run = _just_begun(site)
            holder = next(n for n, s in enumerate(troop) if site.process_of(s).supervisor == run[1])
            time.sleep(random.uniform(0, 1.5))
            killed_at = time.monotonic()
            _kill(bench, troop[holder])
            times += _until_again(site, [run[0]], killed_at)
            say(f"again: kill {len(times)}, {times[-1]:.3f} s")
            troop[holder] = site.scheduler(f"s{holder}-{len(times)}")
            site.ready(troop[holder])
        assert not Run.objects.filter(state="lost").exists()
    name = f"SIGKILL in a run until it is run again, {len(times)} kills: the same host"
    return [_figure(name, times, bench.database, TAKEOVER)]


def _namespace(bench: Bench, arguments: Any) -> list[Figure]:
    """Rounds: many schedulers, each in a namespace of its own, are killed at once."""
    from tests.faults import namespace

    if why := namespace.missing():
        say(f"namespace: left out, a PID namespace cannot be made here: {why}")
        return []
    times: list[float] = []
    while len(times) < arguments.kills:
        times += _round_of_kills(bench, 5 if not arguments.quick else 2)
        say(f"namespace: {len(times)} runs lost, slowest {max(times):.2f} s")
    name = f"the same, {len(times)} runs, seen from another PID namespace"
    return [_figure(name, times, bench.database, TAKEOVER)]


def _round_of_kills(bench: Bench, number: int) -> list[float]:
    from argus_maint.models import Run
    from tests.faults import namespace
    from tests.lab import until
    from tests.scheduling.seconds import once

    with _site(bench) as site:
        due = once(15 + 2 * number)
        for n in range(2 * number):
            job = {"options": {"seconds": 60}, "on_lost": "rerun"}
            site.job(f"job{n}", due, "first_long", **job)
        troop = [site.scheduler(f"s{n}", prefix=namespace.ALONE) for n in range(number + 1)]
        site.ready(*troop)
        until(lambda: len(site.begun()) == 2 * number, 60, "all runs begun")
        time.sleep(random.uniform(0, 5))
        watcher = site.process_of(troop[-1]).supervisor
        lost = Run.objects.filter(state="running").exclude(process=watcher)
        names = list(lost.values_list("job", flat=True))
        pids = [namespace.supervisor(each) for each in troop[:-1]]
        killed_at = time.monotonic()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        return _until_again(site, names, killed_at)


def _just_begun(site: Site) -> tuple[str, Any]:
    """The job and the process of a run that has begun since we look, for the first time."""
    from argus_maint.models import Run
    from tests.lab import until

    seen = len(site.begun())
    until(lambda: len(site.begun()) > seen, 90)
    name = site.begun()[-1].split()[1]
    return name, Run.objects.get(running=name).process


def _until_again(site: Site, names: list[str], killed_at: float) -> list[float]:
    """Seconds from the kill until each of these has begun for the second time."""
    waiting, times = set(names), []
    while waiting:
        for name in sorted(waiting):
            if any(line.split()[3] != "1" for line in site.begun(name)[-1:]):
                times.append(time.monotonic() - killed_at)
                waiting.remove(name)
        if time.monotonic() - killed_at > 90:
            raise SystemExit(f"not run again within 90 s: {waiting}")
        time.sleep(0.005)
    return times


def _kill(bench: Bench, scheduler: Supervised) -> None:
    os.kill(scheduler.pid, signal.SIGKILL)
    bench.forget(scheduler)


def _figure(name: str, times: list[float], database: str, target: float = 0.0) -> Figure:
    p50, p99, most = percentile(times, 0.5), percentile(times, 0.99), max(times)
    text = f"p50 {p50:.2f} s, p99 {p99:.2f} s, max {most:.2f} s"
    if not target:
        return Figure(name, text, "", "the tick's own time", None, database)
    return Figure(name, text, "never", f"p99 <= {target:g} s", p99 <= target, database)


# -- a restart of PostgreSQL -----------------------------------------------------------------


def _restart(bench: Bench, arguments: Any) -> list[Figure]:
    from tests.faults.postgres import Cluster, missing
    from tests.scheduling.site import CRONTASK

    if bench.database != "postgres" or (why := missing()):
        say(f"restart: left out, {'it is of PostgreSQL' if bench.database != 'postgres' else why}")
        return []
    with closing(Cluster()) as cluster, _site(bench) as site:
        bench.env |= {
            "ARGUS_MAINT_TEST_POSTGRES_HOST": "127.0.0.1",
            "ARGUS_MAINT_TEST_POSTGRES_PORT": str(cluster.port),
            "ARGUS_MAINT_TEST_POSTGRES_USER": "postgres",
            "ARGUS_MAINT_TEST_DB_NAME": "postgres",
        }
        bench.manage("migrate", "-v0")
        job = _ticks_after_a_restart(site, cluster, "plain")
        if not CRONTASK:
            return [_restarted("our jobs", job, "")]
        cron = _ticks_after_a_restart(site, cluster, "crontask")
        stock = _ticks_after_a_restart(site, cluster, "stock")
        peer = f"stock: {stock[0]} of {stock[1]}"
        return [_restarted("our jobs", job, ""), _restarted("the site's @cron tasks", cron, peer)]


def _restarted(what: str, counts: tuple[int, int], peer: str) -> Figure:
    name = f"PostgreSQL away for 6 s, {what}: later ticks that are run"
    good = counts[0] == counts[1]
    return Figure(name, f"{counts[0]} of {counts[1]}", peer, "all", good, "postgres")


def _ticks_after_a_restart(site: Site, cluster: Any, kind: str) -> tuple[int, int]:
    """How many of the ticks of 60 s were run, from 3 s after the server has come back."""
    cron = {"ARGUS_MAINT_TEST_CRON_EVERY": "1", "ARGUS_MAINT_TEST_CRON_TASKS": "1"}
    site.job("a", "1s")
    scheduler = site.scheduler(f"restart-{kind}", kind, **(cron if kind != "plain" else {}))
    site.ready(scheduler)
    time.sleep(15)  # so that each thread of the pool has its connection
    cluster.stop()
    time.sleep(6)
    cluster.start()
    first = int(time.time()) + 3
    time.sleep(65)
    site.lab.env["PGDATABASE"] = "postgres"
    if kind == "plain":
        seen = {int(line.split()[2]) for line in site.begun("a")}
    else:
        seen = _enqueued_seconds(cluster)
    scheduler.signal(signal.SIGTERM)
    scheduler.wait(30)
    due = set(range(first, first + 60))
    return len(due & seen), len(due)


def _enqueued_seconds(cluster: Any) -> set[int]:
    import psycopg

    address = f"host=127.0.0.1 port={cluster.port} user=postgres dbname=postgres"
    with psycopg.connect(address) as connection:
        rows = connection.execute("SELECT enqueued_at FROM django_tasks_database_dbtaskresult")
        return {int(at.timestamp()) for (at,) in rows}


MEASURES: dict[str, Any] = {
    "ticks": _ticks,
    "next": _next,
    "again": _again,
    "namespace": _namespace,
    "restart": _restart,
    "startup": startup,
}


if __name__ == "__main__":
    sys.exit(main())
