"""``maint ack``."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError

from argus_maint.dbtime import db_now
from argus_maint.findings import book
from argus_maint.management.maint import findings
from argus_maint.management.maint.arguments import Arguments, add_json, age
from argus_maint.management.maint.context import Context
from argus_maint.models import Finding
from argus_maint.observe import findings as shown
from argus_maint.workers.identity import operator

NAME = "ack"
OPTIONAL = "object"
SUMMARY = "say that you know of a finding, for so long"
HELP = """\
Acknowledge open findings: for so long they stay open, and no longer count as news
(the exit status of `maint findings`, the mail of a crontab). What becomes of them is
recorded as before. --undo takes it back.

Without OBJECT all that are open of that code are meant; where there are several it says
which, and asks."""
EXAMPLES = """\
examples:
  manage.py maint ack QueueBacklog bulk --for 2h --why "import runs until noon"
  manage.py maint ack TableBloat --for 3d --why "VACUUM FULL on sunday"
  manage.py maint ack QueueBacklog bulk --undo --why "import is over"

exit status: 0 done; 1 no such finding is open, or nobody said yes; 2 wrong arguments"""


def add_arguments(parser: Arguments) -> None:
    """Options of this subcommand."""
    findings.add_which(parser)
    parser.add_argument(
        "--for", dest="seconds", type=age, metavar="AGE", help="How long: 30m, 2h or 3d."
    )
    parser.add_argument("--undo", action="store_true", help="Take an acknowledgement back.")
    add_json(parser, "findings")


def run(context: Context, options: dict[str, Any]) -> int:
    """Acknowledge."""
    why = findings.why(options)
    if options["undo"] and options["seconds"]:
        raise CommandError("--for and --undo exclude each other.", returncode=2)
    if not options["undo"] and not options["seconds"]:
        raise CommandError("Say for how long: --for 2h.", returncode=2)
    found, by, using = findings.chosen(context, options), operator(), context.using
    findings.make_sure(context, options, "unack" if options["undo"] else "ack", found)
    done: list[Finding] = []
    for each in found:
        if options["undo"]:
            done += book.unacknowledge(each.code, each.object, by, why, using)
        else:
            done += book.acknowledge(each.code, each.object, by, why, options["seconds"], using)
    if options["json"]:
        context.json(findings.document(NAME, done))
    else:
        now = db_now(context.using)
        context.show(line for each in done for line in shown.lines(each, now))
    return 0
