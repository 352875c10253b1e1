"""``maint discard``."""

from __future__ import annotations

from typing import Any

from argus_maint.backends.database import FAILED
from argus_maint.jobs import targets
from argus_maint.jobs.lever import Verb
from argus_maint.management.maint import picking
from argus_maint.management.maint.arguments import Arguments, age
from argus_maint.management.maint.context import Context
from argus_maint.management.maint.naming import wrong

NAME = "discard"
SUMMARY = "say of failed tasks that they have been seen to"
HELP = """\
Let failed or quarantined tasks be, once somebody has looked at them: they stay
FAILED, with argus_maint.exceptions.TaskDiscarded, and no finding counts them any
more. Their old error stays in the traceback. Nothing is deleted and nothing is sent;
maint requeue still runs them again. Who did it is kept on record (maint history)."""
EXAMPLES = """\
examples:
  manage.py maint discard 0f3c9a1e --why "the customer is gone"
  manage.py maint discard --failed --task 'shop.tasks.*' --since 2h --dry-run
  manage.py maint discard --quarantined --task shop.tasks.thumbnail

exit status: 0 done, or nothing to do; 1 something could not be done, and is named;
2 wrong arguments; 130 interrupted"""


def add_arguments(parser: Arguments) -> None:
    """Options of this subcommand."""
    picking.add_common(parser, Verb.DISCARD)
    parser.add_argument(
        "--failed", action="store_true", help="FAILED tasks that nobody has given up or seen to."
    )
    parser.add_argument(
        "--since", type=age, metavar="AGE", help="With --failed: within the last 2h, for example."
    )
    parser.add_argument("--quarantined", action="store_true", help="Only quarantined ones.")


def run(context: Context, options: dict[str, Any]) -> int:
    """Discard them."""
    if options["failed"] and options["quarantined"]:
        raise wrong("Give --failed or --quarantined, not both.")
    example = "maint discard --failed --task 'shop.tasks.*' --since 2h"
    kind = picking.one_way(options, "failed", "quarantined", example=example)
    if options["since"] and kind != "failed":
        raise wrong("--since goes with --failed.")
    filters, using = picking.wanted(options), context.using
    return picking.pull(
        Verb.DISCARD,
        context,
        options,
        lambda: (
            targets.quarantined(using, filters)
            if kind == "quarantined"
            else targets.unseen(using, filters, options["since"])
        ),
        only="" if options["ids"] else FAILED,
    )
