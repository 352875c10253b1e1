"""``maint prune``."""

from __future__ import annotations

import logging
from argparse import ArgumentTypeError
from dataclasses import replace
from typing import Any

from django.core.management.base import CommandError
from rich.progress import MofNCompleteColumn, TimeRemainingColumn
from rich.text import Text

from argus_maint import log
from argus_maint.backends import search
from argus_maint.backends.adapters import elsewhere
from argus_maint.conf import get_settings
from argus_maint.exceptions import ArchiveError
from argus_maint.jobs.expiry import Selection
from argus_maint.jobs.plan import Group, Plan, plan
from argus_maint.jobs.prune import Order, Report, archive_in, order_of, prune
from argus_maint.jobs.prune_others import Done, prune_others
from argus_maint.management.maint.arguments import (
    Arguments,
    add_filters,
    add_json,
    age,
    count,
    name,
)
from argus_maint.management.maint.bar import shown
from argus_maint.management.maint.context import Context, known_backend, term_is_an_interrupt
from argus_maint.observe.screen import DIM, HEAD, WARN, Cell, Column, join, span, styled, table
from argus_maint.options import share
from argus_maint.retention import KINDS, Retention

NAME = "prune"
SUMMARY = "delete finished tasks past their retention, gently"
HELP = """\
Delete finished tasks that are older than ARGUS_MAINT["RETENTION"] says (successful
ones 14 days, failed ones 90 days, quarantined ones never, unless it says otherwise),
the oldest first, in batches so small that the queue does not notice. READY and
RUNNING tasks are never touched. It can be stopped at any time; the next run goes on.
Our own records past their retention go too, unless only some tasks are asked for.

Where an age is given, only kinds with an age go, and the settings' retention does not
count; --successful and --failed win over --older-than.

With an archive every task is written to a file and fsynced before it is deleted."""
EXAMPLES = """\
examples:
  manage.py maint prune --dry-run                what would go, and how long it takes
  manage.py maint prune --max-seconds 600 -v 0   for every night: no line a batch
  manage.py maint prune --task 'shop.tasks.sync_*' --older-than 1d
  manage.py maint prune --archive /var/backups/tasks

exit status: 0 done, or stopped where it was told to; 1 it could not go on, and says
why; 2 wrong arguments, nothing was deleted; 130 interrupted"""
SHORTEST = 3600.0  # seconds of retention without --force


def add_arguments(parser: Arguments) -> None:
    """Options of this subcommand."""
    parser.add_argument(
        "--dry-run", action="store_true", help="Say what would go, and delete nothing."
    )
    add_filters(parser)
    for kind, text in (
        ("--older-than", "Successful and failed tasks that finished this long ago"),
        ("--successful", "Successful tasks that finished this long ago"),
        ("--failed", "Failed tasks that finished this long ago"),
        ("--quarantined", "Quarantined tasks that finished this long ago"),
    ):
        parser.add_argument(
            kind,
            type=age,
            metavar="AGE",
            help=f"{text}, as 12h or 30d, whatever the settings say.",
        )
    parser.add_argument(
        "--force", action="store_true", help="Allow a retention shorter than an hour."
    )
    parser.add_argument("--max-seconds", type=age, metavar="TIME", help="Stop after this long.")
    parser.add_argument("--max-rows", type=count, metavar="N", help="Stop after so many rows.")
    parser.add_argument(
        "--duty",
        type=_share,
        metavar="SHARE",
        help="Share of the time that is spent deleting, at most 1 (default: as set, else 0.25).",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--archive",
        type=name,
        metavar="FOLDER",
        help="Write what is deleted there first (default: as set).",
    )
    where.add_argument(
        "--no-archive", action="store_true", help="Write nothing, whatever the settings say."
    )
    add_json(parser, "prune")


def _share(text: str) -> float:
    try:
        return share(float(text), "it")
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is not a number above 0 and at most 1") from error


def run(context: Context, options: dict[str, Any]) -> int:
    """Plan or prune, and tell."""
    try:
        order = _order(context, options)
    except ArchiveError as error:
        raise CommandError(str(error), returncode=2) from error
    try:
        if options["dry_run"]:
            others = prune_others(order, dry_run=True)
            return _show_plan(context, plan(order), others, order, options)
        report = _prune(context, order, options["verbosity"])
        with term_is_an_interrupt():
            others = prune_others(order)
    except ArchiveError as error:
        raise CommandError(str(error)) from error
    if options["json"]:
        context.json({**as_dict(report), "others": [each.as_dict() for each in others]})
    else:
        context.show([*page(report, others), *_of_others(others, "deleted")])
    return int(report.left > 0 or any(each.trouble for each in others))


# -- what was asked for -----------------------------------------------------------------


def _order(context: Context, options: dict[str, Any]) -> Order:
    retention = _retention(options)
    shortest = retention.shortest()
    if shortest is not None and shortest < SHORTEST and not options["force"]:
        raise CommandError(
            f"a retention of {span(shortest)} is shorter than an hour: if it is meant, add --force",
            returncode=2,
        )
    queues = tuple(filter(None, (options["queue"] or "").split(",")))
    backend, pattern = known_backend(options["backend"]), options["task"] or ""
    # What other backends have is not looked through for a name that is mistyped.
    only_here = not elsewhere(context.using, backend, "prune")
    for queue in queues if only_here else ():
        if not search.has_queue(queue, context.using):
            raise CommandError(f"there is no task of a queue {queue!r}", returncode=2)
    if pattern and only_here and not search.has_path(pattern, context.using):
        raise CommandError(f"no task's path matches {pattern!r}", returncode=2)
    bounds = ("max_seconds", "max_rows", "duty")
    values: dict[str, Any] = {key: options[key] for key in bounds if options[key]}
    if options["no_archive"]:
        values["archive"] = None
    elif options["archive"] is not None:
        values["archive"] = archive_in(options["archive"])
    selection = Selection(retention, backend, queues, pattern)
    order = order_of(
        context.using,
        selection=selection,
        own_tables=not (queues or backend or pattern),
        **values,
    )
    if order.archive is not None:
        order.archive.check(make=not options["dry_run"])
    return order


def _retention(options: dict[str, Any]) -> Retention:
    """The settings', or for the kinds that are named here what is said here."""
    retention = get_settings().retention
    both = options["older_than"]
    said = {"successful": both, "failed": both, "quarantined": None}
    said |= {kind: options[kind] for kind in KINDS if options[kind] is not None}
    if not any(said.values()):
        return retention
    return replace(retention, ages=said, queues=(), tasks=())


# -- doing it ---------------------------------------------------------------------------


def _prune(context: Context, order: Order, verbosity: int) -> Report:
    columns = (MofNCompleteColumn(), TimeRemainingColumn())
    with term_is_an_interrupt(), shown(context, *columns) as show:
        if not context.err.terminal:
            _log_to(context, logging.INFO if verbosity else logging.WARNING)
            return prune(order)
        show("pruning", 0, 0)
        total = plan(order).rows

        def tell(report: Report) -> None:
            rate = f"{report.rows / max(report.seconds, 0.001):,.0f} rows/s"
            show("pruning", report.rows, total, rate)

        return prune(replace(order, tell=tell))


def _log_to(context: Context, level: int) -> None:
    """One line a batch, on the standard error; at a higher level only what is wrong."""
    logger = logging.getLogger(log.ROOT)
    handlers = [each for each in logger.handlers if not isinstance(each, logging.NullHandler)]
    if not handlers and not logging.getLogger().handlers:
        logger.addHandler(logging.StreamHandler(context.err.out))
        logger.setLevel(level)


# -- telling ----------------------------------------------------------------------------


def _show_plan(
    context: Context, made: Plan, others: list[Done], order: Order, options: dict[str, Any]
) -> int:
    if options["json"]:
        context.json({**plan_as_dict(made, order), "others": [each.as_dict() for each in others]})
    else:
        lines = plan_page(made, order, context.out.width)
        if not made.rows and any(each.pruned.deleted for each in others):
            lines = [join(styled("DRY RUN", HEAD), "  nothing of the task table")]
        context.show([*lines, *_of_others(others, "would be deleted")])
    return int(any(each.trouble for each in others))


def _of_others(others: list[Done], done: str) -> list[Text]:
    """A line for each backend that keeps its tasks elsewhere."""
    lines = []
    for each in others:
        told = ", ".join(
            f"{number:,} {kind}" for kind, number in sorted(each.pruned.deleted.items())
        )
        if each.trouble or each.left_alone:
            lines.append(styled(f"  backend {each.alias}: {each.trouble or each.left_alone}", WARN))
        elif told:
            lines.append(Text(f"  backend {each.alias}: {told} {done}"))
    return lines


def plan_as_dict(made: Plan, order: Order) -> dict[str, Any]:
    """The JSON form (``schemas/prune.json``)."""
    return {
        "kind": "argus_maint.prune",
        "version": 1,
        "dry_run": True,
        "rows": made.rows,
        "groups": [
            {
                "status": group.kind,
                "queue": group.queue,
                "rows": group.rows,
                "oldest": _iso(group.oldest),
                "newest": _iso(group.newest),
                "retention": _kept_for(group, order),
            }
            for group in made.groups.values()
        ],
        "seconds_approx": None if made.seconds is None else round(made.seconds, 1),
        "archive": None if order.archive is None else str(order.archive.folder),
    }


def _kept_for(group: Group, order: Order) -> float | None:
    """Seconds; None where patterns of tasks have a say."""
    retention = order.selection.retention
    if any(group.kind in ages for _, ages in retention.tasks):
        return None
    return retention.age(group.kind, group.queue, "")


def _iso(value: Any) -> str | None:
    return None if value is None else str(search.as_iso(value))


def plan_page(made: Plan, order: Order, width: int | None) -> list[Text]:
    """What would go, and what it would take."""
    if not made.rows:
        return [styled("nothing to prune", DIM)]
    rows: list[list[Cell]] = [
        [
            group.kind,
            group.queue,
            f"{group.rows:,}",
            str(group.oldest)[:16],
            str(group.newest)[:16],
            span(_kept_for(group, order)) or "by task",
        ]
        for group in sorted(made.groups.values(), key=lambda group: -group.rows)
    ]
    columns = [
        Column("status"),
        Column("queue"),
        Column("rows", right=True),
        Column("finished from"),
        Column("to"),
        Column("kept for", right=True),
    ]
    about = "" if made.seconds is None else f", in about {span(max(made.seconds, 0.1))}"
    head = join(styled("DRY RUN", HEAD), f"  {made.rows:,} rows would be deleted{about}")
    return [head, *table(columns, rows, width), *_beside(made, order)]


def _beside(made: Plan, order: Order) -> list[Text]:
    """What else would happen to them."""
    lines = []
    if order.archive is not None:
        lines.append(Text(f"  They are written to {order.archive.folder} first."))
    most, seconds = order.max_rows, order.max_seconds
    if most is not None and made.rows > most:
        lines.append(styled(f"  One run stops after {most:,} rows: the next goes on.", WARN))
    if seconds is not None and (made.seconds or 0) > seconds:
        lines.append(styled(f"  One run stops after {span(seconds)}: the next goes on.", WARN))
    return [*lines, Text("  Without --dry-run they are deleted.")]


def as_dict(report: Report) -> dict[str, Any]:
    """The JSON form (``schemas/prune.json``)."""
    return {
        "kind": "argus_maint.prune",
        "version": 1,
        "dry_run": False,
        "rows": report.rows,
        "deleted": dict(report.deleted),
        "archived": report.archived,
        "left": report.left,
        "batches": report.batches,
        "seconds": round(report.seconds, 3),
        "worst_lock": round(report.worst, 4),
        "locks_waited_in_vain": report.refused,
        "waited_for_replicas": round(report.waited_for_replicas, 3),
        "stopped": report.stopped or None,
        "note": report.note or None,
    }


def page(report: Report, others: list[Done]) -> list[Text]:
    """What was done in the task table."""
    word = "STOPPED" if report.stopped else "DONE"
    rate = report.rows / report.seconds if report.seconds else 0
    where = " of the task table" if others else ""
    parts = [f"{report.rows:,} rows{where} deleted in {span(report.seconds)}"]
    if report.rows:
        parts.append(f"{rate:,.0f} a second, no lock held longer than {report.worst * 1000:.0f} ms")
    lines = [join(styled(word, HEAD), "  ", ", ".join(parts))]
    lines += [Text(f"  {name}: {rows:,}") for name, rows in sorted(report.deleted.items())]
    if report.archived:
        lines.append(Text(f"  archived: {report.archived:,}"))
    if report.left:
        lines.append(
            styled(f"  {report.left:,} could not go: prune.left in the log says why", WARN)
        )
    if report.stopped:
        option = report.stopped.replace("_", "-")
        lines.append(styled(f"  stopped by --{option}: the next run goes on", WARN))
    if report.note:
        lines.append(styled(f"  {report.note}, and keeps deleted rows from being cleaned up", WARN))
    return lines
