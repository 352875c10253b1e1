"""``maint fail``."""

from __future__ import annotations

from typing import Any

from argus_maint.jobs.levers import Verb
from argus_maint.management.maint import levers
from argus_maint.management.maint.arguments import Arguments
from argus_maint.management.maint.context import Context

NAME = "fail"
SUMMARY = "give tasks up, by hand"
HELP = """\
Mark tasks FAILED with argus_maint.exceptions.TaskDiscarded, send task_finished for
them, and keep a record of who did it (maint history). Nothing is deleted: a task can
be requeued later.

  READY         will not run
  RUNNING       only if its worker is dead; --kill ends a living one first
  FAILED        nothing to do
  SUCCESSFUL    refused"""
EXAMPLES = """\
examples:
  manage.py maint fail 0f3c9a1e --why "customer is gone"
  manage.py maint fail --ready --task shop.tasks.newsletter --older-than 1d --dry-run
  manage.py maint fail 0f3c9a1e --kill --why "hangs"
  manage.py maint fail --unregistered --older-than 1h

exit status: 0 done, or nothing to do; 1 something could not be done, and is named;
2 wrong arguments; 130 interrupted"""


def add_arguments(parser: Arguments) -> None:
    """Options of this subcommand."""
    levers.add_common(parser, Verb.FAIL)
    parser.add_argument(
        "--ready",
        action="store_true",
        help="READY tasks that match --task, and --older-than where given.",
    )


def run(context: Context, options: dict[str, Any]) -> int:
    """Fail."""
    return levers.run(Verb.FAIL, context, options)
