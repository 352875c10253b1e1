"""``maint jobs``."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Iterable
from typing import Any

from django.core.management.base import CommandError
from django.utils import timezone
from rich.text import Text

from argus_maint.conf import get_settings
from argus_maint.conf_jobs import Job
from argus_maint.management.maint.arguments import Arguments, add_json, count
from argus_maint.management.maint.context import Context
from argus_maint.models import Process, Run
from argus_maint.observe import schedulers
from argus_maint.observe.census import take
from argus_maint.observe.history import iso
from argus_maint.observe.picture import is_alive
from argus_maint.observe.screen import BAD, DIM, GOOD, HEAD, WARN, Cell, Column, span, styled, table
from argus_maint.runbooks.calling import pasted
from argus_maint.scheduling import ledger
from argus_maint.ticks import UTC

NAME = "jobs"
SUMMARY = "every job: its schedule, its last run and its next tick"
HELP = """\
List the maintenance jobs of this site, ours and those of ARGUS_MAINT["JOBS"], with
the schedule of each, what became of its last run, and when it is due next.

Jobs are run by `manage.py crontask`, or from a crontab by `manage.py maint tick`,
or both, on any number of hosts: each tick is run once. Times are in the job's zone."""
EXAMPLES = """\
examples:
  manage.py maint jobs                       all of them
  manage.py maint jobs --job prune --runs 20 the last runs of one
  manage.py maint jobs --json | jq '.jobs[] | {name, next}'

exit status: 0 shown; 2 wrong arguments"""

MOST = 1000  # runs
KEEPERS = ("rescue", "findings")  # which every db_worker sees to, where nobody else does
STYLES = {"done": GOOD, "failed": BAD, "lost": BAD, "skipped": DIM, "running": WARN}


def add_arguments(parser: Arguments) -> None:
    """Options of this subcommand."""
    from argus_maint.management.maint.run import job_name

    parser.add_argument("--job", type=job_name, metavar="JOB", help="Only this job, and its runs.")
    parser.add_argument(
        "--runs",
        type=_how_many,
        metavar="N",
        help=f"With --job: how many of its last runs (default 10, at most {MOST}).",
    )
    add_json(parser, "jobs")


def _how_many(text: str) -> int:
    if (number := count(text)) > MOST:
        raise ArgumentTypeError(f"{MOST} is the most that it shows")
    return number


def run(context: Context, options: dict[str, Any]) -> int:
    """Show them."""
    if options["runs"] and not options["job"]:
        raise CommandError("--runs goes with --job.", returncode=2)
    settings, using = get_settings(), context.using
    names = [options["job"]] if options["job"] else list(settings.jobs)
    jobs = [settings.jobs[name] for name in names]
    runs = list(_runs(options["job"], options["runs"] or 10, using)) if options["job"] else None
    if options["json"]:
        context.json(
            {
                "kind": "argus_maint.jobs",
                "version": 1,
                "jobs": [as_dict(each, using) for each in jobs],
                "runs": None if runs is None else [run_as_dict(each) for each in runs],
                "wrong": [str(each) for each in settings.job_problems],
            }
        )
        return 0
    context.show(_page(jobs, using, context.out.width))
    if line := _unattended(jobs, using):
        context.show(["", styled(line, WARN)])
    if runs is not None:
        context.show([Text(), *_runs_page(runs, using, context.out.width)])
    return 0


def _runs(name: str, most: int, using: str) -> Iterable[Run]:
    return Run.objects.using(using).filter(job=name).order_by("-started_at", "-pk")[:most]


def as_dict(job: Job, using: str) -> dict[str, Any]:
    """The JSON form of a job."""
    last = ledger.last_run(job.name, using)
    return {
        "name": job.name,
        "summary": job.summary,
        "kind": job.kind,
        "target": job.target or None,
        "enabled": job.enabled,
        "schedule": job.schedule.expression,
        "zone": job.schedule.zone,
        "next": iso(job.schedule.after(ledger.utc_now(using))) if job.enabled else None,
        "catch_up": job.catch_up,
        "on_lost": job.on_lost,
        "time_limit": job.time_limit,
        "run_on": job.run_on,
        "runbook": job.runbook,
        "last": run_as_dict(last) if last else None,
    }


def run_as_dict(run: Run) -> dict[str, Any]:
    """The JSON form of a run."""
    tick = ledger.aware(run.tick)
    return {
        "id": run.pk,
        "job": run.job,
        "tick": iso(tick.astimezone(UTC)) if tick else None,
        "state": str(run.state),
        "attempt": run.attempt,
        "missed": run.missed,
        "driver": run.driver,
        "host": run.host,
        "started_at": iso(run.started_at),
        "finished_at": iso(run.finished_at),
        "report": run.report,
        "error": run.error or None,
    }


def _page(jobs: list[Job], using: str, width: int | None) -> list[Text]:
    now = ledger.utc_now(using)
    rows: list[list[Cell]] = []
    for job in jobs:
        last = ledger.last_run(job.name, using)
        ago = (now - ledger.aware(last.started_at)).total_seconds() if last else 0.0
        following = job.schedule.after(now)
        soon = f"in {span((following - now).total_seconds())}" if job.enabled else ""
        rows.append(
            [
                styled(job.name, HEAD if job.enabled else DIM),
                f"{job.schedule.expression}  {job.schedule.zone}",
                _state(last) if job.enabled or last else "",
                f"{span(ago)} ago" if last else "",
                soon or styled("off", DIM),
                job.summary,
            ]
        )
    columns = [
        Column("job"),
        Column("schedule"),
        Column("last run"),
        Column("", right=True),
        Column("next", right=True),
        Column("what it does", least=20),
    ]
    return table(columns, rows, width, indent=0)


def _unattended(jobs: list[Job], using: str) -> str:
    """What is known of who runs them where no scheduler does; a crontab is known by its runs."""
    census = take(using)
    alive = [each for each in census.living if is_alive(each, census)]
    others = [job for job in jobs if job.enabled and job.name not in KEEPERS]
    if not others or any(schedulers.is_lasting(each) for each in alive):
        return ""
    runs = Run.objects.using(using).filter(driver__in=(*schedulers.LASTING, "cron"))
    last = runs.exclude(tick=None).order_by("-started_at", "-pk").first()
    dead = [each for each in census.living if not is_alive(each, census)]
    if last is None and not schedulers.gone(alive, using, census.taken_at, dead):
        return ""
    if last is not None and last.driver == "cron":
        return ""
    start = pasted("manage.py crontask")
    return f"No scheduler is running: nobody will run what is due next. Start one: {start}"


def _state(run: Run | None) -> Cell:
    if run is None:
        return styled("never", DIM)
    state = str(run.state)
    problems = len(run.report.get("problems", ()))
    if state == "done" and problems:
        return styled(f"{problems} found", WARN)
    return styled(state, STYLES[state])


def _runs_page(runs: list[Run], using: str, width: int | None) -> list[Text]:
    pids = _pids(runs, using)
    rows: list[list[Cell]] = [
        [
            _local(run.tick) or "by hand",
            _state(run),
            _took(run),
            f"{run.driver} on {run.host}{pids.get(run.pk, '')}",
            f"{run.missed:,}" if run.missed else "",
            run.error or _summary(run),
        ]
        for run in runs
    ]
    columns = [
        Column("due"),
        Column(""),
        Column("took", right=True),
        Column("by"),
        Column("missed before", right=True),
        Column("", least=20),
    ]
    return table(columns, rows, width, indent=0)


def _pids(runs: list[Run], using: str) -> dict[int, str]:
    """The process of each run that is under way: the one to end, where it hangs."""
    running = {run.process: run.pk for run in runs if run.state == Run.State.RUNNING}
    rows = Process.objects.using(using).filter(supervisor__in=running, kind="scheduler")
    return {running[each.supervisor]: f", pid {each.pid}" for each in rows}


def _summary(run: Run) -> str:
    """What its report says first."""
    problems = run.report.get("problems")
    if problems:
        return "; ".join(str(each.get("message", "")) for each in problems)
    plain = {k: v for k, v in run.report.items() if isinstance(v, (int, float, str)) and v != ""}
    return ", ".join(f"{key} {str(value).splitlines()[0][:60]}" for key, value in plain.items())


def _took(run: Run) -> str:
    if run.finished_at is None or run.state == Run.State.SKIPPED:
        return ""
    return span((run.finished_at - run.started_at).total_seconds())


def _local(tick: Any) -> str:
    tick = ledger.aware(tick)
    return f"{timezone.localtime(tick):%Y-%m-%d %H:%M}" if tick else ""
