"""``maint pause``."""

from __future__ import annotations

from typing import Any

from argus_maint.jobs.pauses import Hold
from argus_maint.management.maint import holding
from argus_maint.management.maint.arguments import Arguments, add_backend_of_queue, name
from argus_maint.management.maint.context import Context
from argus_maint.management.maint.naming import database_backend, known_queue, wrong

NAME = "pause"
SUMMARY = "have no worker take from a queue"
HELP = """\
Stop the work on one queue. From the moment this command is done no worker of ours takes
a task of that queue, on any host. Tasks are still enqueued, and wait. What runs already
goes on to its end. It shows in maint status, and who did it is kept on record.

It ends with maint resume, or by itself with --until. Pausing what is paused changes the
reason and the end. A stock worker of django-tasks-db knows nothing of it."""
EXAMPLES = """\
examples:
  manage.py maint pause mail --why "mail server is down" --until 2h
  manage.py maint pause mail --why "looking into it" --dry-run
  manage.py maint resume mail

exit status: 0 it is paused; 1 it could not be done; 2 wrong arguments"""


def add_arguments(parser: Arguments) -> None:
    """Options of this subcommand."""
    parser.add_argument("queue", type=name, metavar="QUEUE", help="The queue.")
    add_backend_of_queue(parser)
    holding.add_common(parser, "pause", until=True, why=True)


def run(context: Context, options: dict[str, Any]) -> int:
    """Pause it."""
    if options["why"] is None:
        raise wrong('A pause needs a reason: --why "mail server is down".')
    backend = database_backend(options["backend"])
    what = Hold(backend, known_queue(options["queue"], backend, context.using))
    done = holding.act("pause", what, context, options)
    if options["json"]:
        context.json(done.as_dict())
    else:
        context.show(holding.page(done, context.using))
    return 0
