"""``maint resolve``."""

from __future__ import annotations

from typing import Any

from argus_maint.dbtime import db_now
from argus_maint.findings import book
from argus_maint.management.maint import findings
from argus_maint.management.maint.arguments import Arguments, add_json
from argus_maint.management.maint.context import Context
from argus_maint.observe import findings as shown
from argus_maint.observe.screen import DIM, styled
from argus_maint.workers.identity import operator

NAME = "resolve"
OPTIONAL = "object"
SUMMARY = "close a finding that you have seen to"
HELP = """\
Close open findings by hand. A finding closes by itself when passes no longer see its
cause; one about what has happened (RescueLoop, FailureSpike, ZombieWrite, DeadWorker)
would stay open until it is out of sight. Resolved, it counts only what comes after.

What lasts is seen by the next passes, and opens anew.

Without OBJECT all that are open of that code are meant; where there are several it says
which, and asks."""
EXAMPLES = """\
examples:
  manage.py maint resolve ZombieWrite w1 --why "looked at the task: no harm"
  manage.py maint resolve FailureSpike --why "deployed the fix" --dry-run

exit status: 0 done; 1 no such finding is open, or nobody said yes; 2 wrong arguments"""


def add_arguments(parser: Arguments) -> None:
    """Options of this subcommand."""
    findings.add_which(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="Say what would close, and write nothing."
    )
    add_json(parser, "findings")


def run(context: Context, options: dict[str, Any]) -> int:
    """Close them."""
    why = findings.why(options)
    done = findings.chosen(context, options)
    findings.make_sure(context, options, "resolve", done)
    if not options["dry_run"]:
        each_of = [(each.code, each.object) for each in done]
        by, using = operator(), context.using
        done = [row for which in each_of for row in book.resolve(*which, by, why, using)]
    if options["json"]:
        context.json(findings.document(NAME, done, dry_run=options["dry_run"]))
        return 0
    now = db_now(context.using)
    if options["dry_run"]:
        context.show([styled("would close:", DIM)])
    context.show(line for each in done for line in shown.lines(each, now))
    return 0
