"""``maint drain``."""

from __future__ import annotations

import time
from typing import Any

from rich.text import Text

from argus_maint.jobs import pauses
from argus_maint.jobs.pauses import Hold
from argus_maint.management.maint import holding
from argus_maint.management.maint.arguments import Arguments, name
from argus_maint.management.maint.bar import shown
from argus_maint.management.maint.context import Context, term_is_an_interrupt
from argus_maint.management.maint.naming import known_supervisor, wrong

NAME = "drain"
SUMMARY = "have the workers of a db_worker take nothing more"
HELP = """\
Let the workers of one supervisor (a db_worker, by its name) finish what they hold and
take nothing more, before its host is serviced. They stay, and beat. The drain belongs
to the name: it holds also after a restart under that --worker-id, until --undo, or by
itself with --until. It shows in maint status, and who did it is kept on record."""
EXAMPLES = """\
examples:
  manage.py maint drain web-1 --why "new kernel" --wait
  manage.py maint drain web-1 --why "is it this host?" --until 30m
  manage.py maint drain web-1 --undo

exit status: 0 done (with --wait: and no task in hand); 1 it could not be done;
2 wrong arguments; 130 interrupted while waiting, and drained"""
LOOK = 0.5  # seconds between looks while waiting


def add_arguments(parser: Arguments) -> None:
    """Options of this subcommand."""
    parser.add_argument(
        "worker", type=name, metavar="WORKER", help="The name of a supervisor, as in maint status."
    )
    parser.add_argument("--undo", action="store_true", help="Let it take tasks again.")
    parser.add_argument(
        "--wait", action="store_true", help="Come back when its workers hold no task any more."
    )
    holding.add_common(parser, "drain", until=True, why=True)


def run(context: Context, options: dict[str, Any]) -> int:
    """Drain it, or take that back."""
    undo = options["undo"]
    if undo and (options["wait"] or options["until"]):
        raise wrong("--wait and --until do not go with --undo.")
    if not undo and options["why"] is None:
        raise wrong('A drain needs a reason: --why "new kernel".')
    what = Hold(worker=options["worker"])
    if not undo or pauses.current(what, context.using) is None:
        known_supervisor(what.worker, context.using)
    done = holding.act("undrain" if undo else "drain", what, context, options)
    if not options["json"]:
        context.show(holding.page(done, context.using))
    if options["wait"] and not options["dry_run"]:
        done.running = _wait(what.worker, context)
    if options["json"]:
        context.json(done.as_dict())
    return 0


def _wait(worker: str, context: Context) -> int:
    """Until its workers hold no task; how many it still saw at the end: none."""
    most = left = holding.running_under(worker, context.using)
    with term_is_an_interrupt(), shown(context) as tell:
        while left:
            tell(f"waiting for tasks of {worker}", most - left, most, f"{left:,} left")
            time.sleep(LOOK)
            left = holding.running_under(worker, context.using)
            most = max(most, left)
    if most:
        context.note(Text(f"{worker} has no task in hand any more"))
    return left
