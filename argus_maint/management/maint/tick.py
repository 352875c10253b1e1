"""``maint tick``."""

from __future__ import annotations

from typing import Any

from argus_maint.conf import get_settings
from argus_maint.management.maint.arguments import Arguments, add_json
from argus_maint.management.maint.context import Context
from argus_maint.management.maint.run import report, run_due

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
a person has to look at, or is set wrong; 2 wrong arguments; 130 interrupted"""


def add_arguments(parser: Arguments) -> None:
    """Options of this subcommand."""
    add_json(parser, "run")


def run(context: Context, options: dict[str, Any]) -> int:
    """Run what is due; the long ones last."""
    settings = get_settings()
    jobs = sorted(settings.jobs.values(), key=lambda job: job.time_limit or float("inf"))
    code = report(context, run_due(context, jobs), options)
    return code or int(bool(settings.job_problems))  # the checks have told of these
