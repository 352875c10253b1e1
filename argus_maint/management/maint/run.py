"""``maint run``."""

from __future__ import annotations

from argparse import ArgumentTypeError
from typing import Any

from django.core.management.base import CommandError
from rich.text import Text

from argus_maint.conf import get_settings
from argus_maint.conf_jobs import Job
from argus_maint.exceptions import Overlap
from argus_maint.management.maint.arguments import Arguments, add_json
from argus_maint.management.maint.context import Context, term_is_an_interrupt
from argus_maint.models import Run
from argus_maint.observe.screen import BAD, DIM, GOOD, WARN, join, styled
from argus_maint.options import did_you_mean
from argus_maint.scheduling import observers
from argus_maint.scheduling.member import Member
from argus_maint.workers.identity import operator

NAME = "run"
SUMMARY = "run one job now, or, with --scheduled, if it is due"
HELP = """\
Run one job in this process, and write down what became of it (`maint jobs`).

By hand it runs now, whatever its schedule says. With --scheduled, for a crontab or a
timer, it runs what is due: each tick once, whoever else may fire it, on whatever
host; where nothing is due it ends at once. A job never overlaps itself."""
EXAMPLES = """\
examples:
  manage.py maint run findings               look for what needs a person, now
  manage.py maint run prune --scheduled      a line of a crontab
  manage.py maint run findings --json | jq .runs[0].report.problems

exit status: 0 done, or nothing was due; 1 it failed, or found what a person has to
look at, or the database does not answer; 2 wrong arguments; 130 interrupted"""


def add_arguments(parser: Arguments) -> None:
    """Options of this subcommand."""
    parser.add_argument("job", type=job_name, metavar="JOB", help="Its name, as in `maint jobs`.")
    parser.add_argument(
        "--scheduled", action="store_true", help="Only what is due by its schedule."
    )
    add_json(parser, "run")


def job_name(text: str) -> str:
    """The name of a job that is set right."""
    settings = get_settings()
    if text in settings.jobs:
        return text
    for problem in settings.job_problems:
        if f'["JOBS"]["{text}"]' in problem.message:
            raise ArgumentTypeError(str(problem))
    known = ", ".join(settings.jobs)
    raise ArgumentTypeError(
        f"there is no job {text!r}.{did_you_mean(text, settings.jobs)} There are: {known}"
    )


def run(context: Context, options: dict[str, Any]) -> int:
    """Run it."""
    job = get_settings().jobs[options["job"]]
    try:
        runs = run_due(context, [job]) if options["scheduled"] else [_by_hand(context, job)]
        return tell(context, runs, options)
    finally:
        observers.flush()


def _by_hand(context: Context, job: Job) -> Run:
    from argus_maint.jobs.performing import runner_of

    runner = runner_of(Member(context.using, "hand"), operator())
    with term_is_an_interrupt(), runner.member.beating():
        try:
            return runner.by_hand(job)
        except Overlap as overlap:
            raise CommandError(str(overlap)) from overlap


def run_due(context: Context, jobs: list[Job]) -> list[Run]:
    """Run what is due of these, and what was lost with its process."""
    from argus_maint.jobs.performing import runner_of

    runner, runs = runner_of(Member(context.using, "cron"), operator()), []
    mine = {job.name: job for job in jobs}
    due = [job for job in jobs if runner.wanted(job)]
    lost = runner.has_strays(mine)
    if not due and not lost:
        return []
    with term_is_an_interrupt(), runner.member.beating():
        if lost:
            from argus_maint.jobs import watcher
            from argus_maint.jobs.errand import Errand

            watcher.make_sure(Errand(context.using, operator()), mine)
            runs += runner.take_over(mine)
        for job in due:
            runs += runner.fire(job)
    return runs


def tell(context: Context, runs: list[Run], options: dict[str, Any]) -> int:
    """Tell what came of it."""
    if options["json"]:
        from argus_maint.management.maint.jobs import run_as_dict

        made = [run_as_dict(each) for each in runs]
        context.json({"kind": "argus_maint.run", "version": 1, "runs": made})
    else:
        told = filter(is_bad, runs) if options.get("scheduled", True) else runs
        context.show(line for each in told for line in lines_of(each))
    return int(any(map(is_bad, runs)))


def is_bad(run: Run) -> bool:
    """Whether a person has to look."""
    fine = (Run.State.DONE, Run.State.RUNNING)  # a worker goes on with it
    return run.state not in fine or bool(run.report.get("problems"))


def lines_of(run: Run) -> list[Text]:
    """A run for people."""
    failed = run.state in (Run.State.FAILED, Run.State.LOST)
    style = BAD if failed else WARN if is_bad(run) else GOOD
    head = join(styled(run.job, style), "  ", str(run.state))
    if run.error:
        head.append(f": {run.error}")
    problems = [styled(f"  {each['message']}", WARN) for each in run.report.get("problems", ())]
    facts = [
        styled(f"  {key}: {_short(value)}", DIM)
        for key, value in run.report.items()
        if key != "problems" and value not in (None, "", [], {})
    ]
    return [head, *problems, *facts]


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 300 else f"{text[:300]}..."
