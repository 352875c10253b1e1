"""Which tasks ``release``, ``discard``, ``move`` and ``priority`` mean, and what they share.

Tasks that are named by id are acted on as those of ``maint requeue`` are. Those that are
only described are counted first and, on a terminal, asked about, however few they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.management.base import CommandError

from argus_maint.backends.search import Filter
from argus_maint.jobs import targets
from argus_maint.jobs.lever import Lever, Verb
from argus_maint.jobs.targets import Targets, WrongTarget
from argus_maint.management.maint import levers
from argus_maint.management.maint.arguments import (
    Arguments,
    add_filters,
    add_ids,
    add_json,
    reason,
)
from argus_maint.management.maint.context import Context, known_backend
from argus_maint.management.maint.naming import wrong
from argus_maint.management.maint.tally import WORDS
from argus_maint.workers.identity import operator


def add_common(parser: Arguments, verb: Verb) -> None:
    """Their ids, filters, and how it is done."""
    word = WORDS[verb][0]
    add_ids(parser)
    add_filters(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help=f"Say what {word} would do, and write nothing."
    )
    parser.add_argument(
        "--yes",
        action="store_true",
        help=f"Do not ask. Without a terminal, needed above {levers.ASK_ABOVE} tasks.",
    )
    parser.add_argument("--why", type=reason, metavar="TEXT", help="A reason, kept on record.")
    add_json(parser, "levers")


def one_way(options: dict[str, Any], *flags: str, example: str) -> str:
    """Which of the ways to say it was used: ``ids`` or a flag. Two, or none, are one line."""
    given = [flag for flag in flags if options[flag]]
    ways = ["ids", *(f"--{flag}" for flag in flags)]
    if options["ids"] and (given or any(options[key] for key in ("task", "queue", "backend"))):
        raise wrong("Give ids, or describe the tasks, not both.")
    if not options["ids"] and not given:
        raise wrong(f"Say which tasks: {' or '.join(ways)}, as in {example}.")
    return "ids" if options["ids"] else given[0]


def wanted(options: dict[str, Any]) -> Filter:
    """What narrows a description."""
    backend = known_backend(options["backend"])
    return Filter(options["queue"] or "", backend, options["task"] or "")


def pull(
    verb: Verb,
    context: Context,
    options: dict[str, Any],
    described: Callable[[], Targets],
    **values: Any,
) -> int:
    """Find the tasks, ask, act and tell. ``values`` are those of the ``Lever``."""
    try:
        by_ids = bool(options["ids"])
        found = targets.by_tokens(options["ids"], context.using) if by_ids else described()
    except WrongTarget as error:
        raise CommandError(str(error)) from error
    lever = Lever(
        verb=verb,
        using=context.using,
        noticed_by=operator(),
        why=options["why"] or "",
        dry_run=options["dry_run"],
        **values,
    )
    asks = context.can_ask() and not by_ids and not options["json"]
    return levers.carry_out(lever, found, context, options, 0 if asks else levers.ASK_ABOVE)
