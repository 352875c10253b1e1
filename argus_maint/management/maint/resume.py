"""``maint resume``."""

from __future__ import annotations

from typing import Any

from argus_maint.jobs import pauses
from argus_maint.jobs.pauses import Hold
from argus_maint.management.maint import holding
from argus_maint.management.maint.arguments import Arguments, add_backend_of_queue, name
from argus_maint.management.maint.context import Context
from argus_maint.management.maint.naming import database_backend, known_queue

NAME = "resume"
SUMMARY = "let workers take from a paused queue again"
HELP = """\
End the pause of a queue (maint pause). Workers take from it at their next look, within
a second by default."""
EXAMPLES = """\
examples:
  manage.py maint resume mail
  manage.py maint resume mail --why "mail server is back"

exit status: 0 it is not paused now; 1 it could not be done; 2 wrong arguments"""


def add_arguments(parser: Arguments) -> None:
    """Options of this subcommand."""
    parser.add_argument("queue", type=name, metavar="QUEUE", help="The queue.")
    add_backend_of_queue(parser)
    holding.add_common(parser, "resume", until=False, why=False)


def run(context: Context, options: dict[str, Any]) -> int:
    """Resume it."""
    backend = database_backend(options["backend"])
    what = Hold(backend, options["queue"])
    if pauses.current(what, context.using) is None:
        known_queue(what.queue, backend, context.using)
    done = holding.act("resume", what, context, options)
    if options["json"]:
        context.json(done.as_dict())
    else:
        context.show(holding.page(done, context.using))
    return 0
