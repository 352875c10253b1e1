"""``maint move``."""

from __future__ import annotations

from typing import Any

from argus_maint.backends.database import READY
from argus_maint.jobs import targets
from argus_maint.jobs.lever import Verb
from argus_maint.management.maint import picking
from argus_maint.management.maint.arguments import Arguments, name
from argus_maint.management.maint.context import Context
from argus_maint.management.maint.naming import possible_queue, taken_by_nobody, wrong
from argus_maint.observe.screen import WARN, styled

NAME = "move"
SUMMARY = "put ready tasks into another queue"
HELP = """\
Put READY tasks into another queue of their backend, due or not: to another kind of
workers, or out of the way into a queue that is paused. A task that a worker takes at
the same moment is left with it. Priority and due time stay. Who did it is kept on
record (maint history)."""
EXAMPLES = """\
examples:
  manage.py maint move 0f3c9a1e 77aa --to bulk
  manage.py maint move --queue mail --task shop.tasks.newsletter --to bulk --dry-run

exit status: 0 done, or nothing to do; 1 something could not be done, and is named;
2 wrong arguments; 130 interrupted"""


def add_arguments(parser: Arguments) -> None:
    """Options of this subcommand."""
    picking.add_common(parser, Verb.MOVE)
    parser.add_argument("--to", type=name, metavar="QUEUE", help="The queue to put them into.")


def run(context: Context, options: dict[str, Any]) -> int:
    """Move them."""
    to = options["to"]
    if to is None:
        raise wrong("Say where they are to go: --to QUEUE.")
    picking.one_way(options, "queue", example="maint move --queue mail --to bulk")
    if to == options["queue"]:
        raise wrong(f"They are in queue {to} already: --to another one.")
    filters = picking.wanted(options)
    possible_queue(to, filters.backend)
    if taken_by_nobody(to, filters.backend, context.using):
        context.note(styled(f"no living worker takes from queue {to}", WARN))
    return picking.pull(
        Verb.MOVE,
        context,
        options,
        lambda: targets.ready(context.using, filters, None),
        only="" if options["ids"] else READY,
        to=to,
    )
