"""``maint requeue``."""

from __future__ import annotations

from typing import Any

from argus_maint.jobs.levers import Verb
from argus_maint.management.maint import levers
from argus_maint.management.maint.arguments import Arguments, age
from argus_maint.management.maint.context import Context

NAME = "requeue"
SUMMARY = "run tasks again, by hand"
HELP = """\
Put tasks back to READY, due now, and keep a record of who did it (maint history).

  FAILED        runs again, and the losses counted so far are forgiven
  READY         not yet due: is made due now
  RUNNING       only if its worker is dead; --kill ends a living one first
  SUCCESSFUL    only by id and with --again

A task runs with the arguments it had, and with effects it may have had already."""
EXAMPLES = """\
examples:
  manage.py maint requeue 0f3c9a1e --why "mail server is back"
  manage.py maint requeue --failed --task 'shop.tasks.send_*' --since 2h --dry-run
  manage.py maint requeue --unregistered --older-than 1h

exit status: 0 done, or nothing to do; 1 something could not be done, and is named;
2 wrong arguments; 130 interrupted"""


def add_arguments(parser: Arguments) -> None:
    """Options of this subcommand."""
    levers.add_common(parser, Verb.REQUEUE)
    parser.add_argument(
        "--failed",
        action="store_true",
        help="FAILED tasks that match --task and failed within --since.",
    )
    parser.add_argument(
        "--since", type=age, metavar="AGE", help="With --failed: within the last 2h, for example."
    )
    parser.add_argument(
        "--again", action="store_true", help="Run even a SUCCESSFUL task again (by id)."
    )


def run(context: Context, options: dict[str, Any]) -> int:
    """Requeue."""
    return levers.run(Verb.REQUEUE, context, options)
