"""``maint release``."""

from __future__ import annotations

from typing import Any

from argus_maint.backends.database import FAILED
from argus_maint.jobs import targets
from argus_maint.jobs.lever import Verb
from argus_maint.management.maint import picking
from argus_maint.management.maint.arguments import Arguments
from argus_maint.management.maint.context import Context
from argus_maint.management.maint.naming import wrong

NAME = "release"
SUMMARY = "give quarantined tasks a new start"
HELP = """\
Put quarantined tasks back to READY, once the cause is found and gone. A task is
quarantined when it has lost its worker too often (max_losses). The losses counted so
far are forgiven; if the cause is still there it loses as many workers again. Who did
it is kept on record (maint history)."""
EXAMPLES = """\
examples:
  manage.py maint release 0f3c9a1e --why "libpng is updated"
  manage.py maint release --task shop.tasks.thumbnail --dry-run
  manage.py maint release --all

exit status: 0 done, or nothing to do; 1 something could not be done, and is named;
2 wrong arguments; 130 interrupted"""


def add_arguments(parser: Arguments) -> None:
    """Options of this subcommand."""
    picking.add_common(parser, Verb.RELEASE)
    parser.add_argument("--all", action="store_true", help="Every quarantined task.")


def run(context: Context, options: dict[str, Any]) -> int:
    """Release them."""
    if options["all"] and options["task"]:
        raise wrong("Give --task PATTERN or --all, not both.")
    example = "maint release --task shop.tasks.thumbnail"
    picking.one_way(options, "task", "all", example=example)
    filters = picking.wanted(options)
    return picking.pull(
        Verb.RELEASE,
        context,
        options,
        lambda: targets.quarantined(context.using, filters),
        only="" if options["ids"] else FAILED,
    )
