"""``maint priority``."""

from __future__ import annotations

from argparse import ArgumentTypeError
from typing import Any

from argus_maint.backends.database import READY
from argus_maint.jobs import targets
from argus_maint.jobs.lever import Verb
from argus_maint.management.maint import picking
from argus_maint.management.maint.arguments import Arguments
from argus_maint.management.maint.context import Context
from argus_maint.management.maint.naming import in_table

NAME = "priority"
SUMMARY = "set the priority of ready tasks"
HELP = """\
Set the priority of READY tasks, due or not: -100 to 100, the higher the sooner, 0 by
default. A worker takes the highest of its queues first. A task that a worker takes at
the same moment is left as it is. Who did it is kept on record (maint history)."""
EXAMPLES = """\
examples:
  manage.py maint priority 50 0f3c9a1e
  manage.py maint priority -50 --queue mail --task shop.tasks.newsletter --dry-run

exit status: 0 done, or nothing to do; 1 something could not be done, and is named;
2 wrong arguments; 130 interrupted"""
LOWEST, HIGHEST = -100, 100  # a constraint of the task table


def level(text: str) -> int:
    """A priority."""
    try:
        number = int(text)
    except ValueError:
        number = HIGHEST + 1
    if not LOWEST <= number <= HIGHEST:
        raise ArgumentTypeError(f"{text!r} is no whole number from {LOWEST} to {HIGHEST}")
    return number


def add_arguments(parser: Arguments) -> None:
    """Options of this subcommand."""
    parser.add_argument("number", type=level, metavar="N", help="From -100 to 100.")
    picking.add_common(parser, Verb.PRIORITY)


def run(context: Context, options: dict[str, Any]) -> int:
    """Set it."""
    picking.one_way(options, "queue", example="maint priority 50 --queue mail")
    filters = picking.wanted(options)
    in_table(filters.backend)
    return picking.pull(
        Verb.PRIORITY,
        context,
        options,
        lambda: targets.ready(context.using, filters, None),
        only="" if options["ids"] else READY,
        priority=options["number"],
    )
