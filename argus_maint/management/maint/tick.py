"""``maint tick``."""

from __future__ import annotations

from typing import Any

from argus_maint.conf import get_settings
from argus_maint.management.maint.arguments import Arguments, add_json
from argus_maint.management.maint.context import INTERRUPTED, Context
from argus_maint.management.maint.run import run_due, tell
from argus_maint.models import Run
from argus_maint.scheduling import observers
from argus_maint.scheduling.pings import Whole
from argus_maint.workers.identity import this_host

NAME = "tick"
SUMMARY = "run every job that is due: one crontab line for all of them"
HELP = """\
Run whatever is due now, one job after the other, and end. It is made for a crontab:

  * * * * *  cd /srv/site && venv/bin/python manage.py maint tick

It may run on several hosts, and beside `manage.py crontask`: each tick is run once.
A long job does not hold up the others: the next minute's process runs them. So put
no lock (flock) around it. It prints nothing when all is well; cron mails the rest."""
EXAMPLES = """\
examples:
  manage.py maint tick
  manage.py maint tick --json

exit status: 0 all that was due is done, or nothing was; 1 a job failed, or found what
a person has to look at, or is set wrong, or the database does not answer; 2 wrong
arguments; 130 interrupted"""


def add_arguments(parser: Arguments) -> None:
    """Options of this subcommand."""
    add_json(parser, "run")


def run(context: Context, options: dict[str, Any]) -> int:
    """Run what is due, and tell who watches from outside how it ended."""
    code, runs = 1, list[Run]()
    try:
        jobs = get_settings().jobs.values()  # the long ones last
        runs = run_due(context, sorted(jobs, key=lambda job: job.time_limit or float("inf")))
        code = tell(context, runs, options)
        code = code or int(bool(get_settings().job_problems))  # the checks have told of these
    except KeyboardInterrupt:
        code = INTERRUPTED
        raise
    finally:
        Whole(get_settings().ping, this_host().hostname).ended(code, runs)
        observers.flush()
    return code
