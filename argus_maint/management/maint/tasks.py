"""``maint tasks``."""

from __future__ import annotations

import uuid
from typing import Any

from rich.text import Text

from argus_maint.backends import search
from argus_maint.backends.search import Filter
from argus_maint.management.maint.arguments import Arguments, add_filters, add_json, age, count
from argus_maint.management.maint.context import Context, known_backend
from argus_maint.observe import lists
from argus_maint.observe.lists import Listed, Listing
from argus_maint.observe.render import state
from argus_maint.observe.screen import DIM, Cell, Column, span, styled, table

NAME = "tasks"
SUMMARY = "list tasks by state, queue, path and age"
HELP = """\
List tasks, one a line: those that run first, then what is ready, the longest
waiting first. Finished tasks are listed, newest first, only when asked for, and
that reads the whole table.

  ready         waiting for a worker          scheduled   not due yet
  running       all that are RUNNING          lost        RUNNING, its worker dead
  overdue       RUNNING past its time limit   unregistered   RUNNING under a worker
  failed, successful                                         that never registered
  quarantined   FAILED: it has lost its worker too often

The age is the time in that state; ~ says that the clocks of two hosts were compared.
The id is cut to what names one task only; every other subcommand takes it so.
Tasks of other backends than the task table come after those, with their whole id."""
EXAMPLES = """\
examples:
  manage.py maint tasks
  manage.py maint tasks --state ready --queue mail --older-than 10m
  manage.py maint tasks --state failed --task 'shop.tasks.*' --limit 200

exit status: 0 it could look; 1 it could not; 2 wrong arguments"""


def add_arguments(parser: Arguments) -> None:
    """Options of this subcommand."""
    parser.add_argument(
        "--state", choices=lists.STATES, default="", metavar="STATE", help="Only one of the above."
    )
    add_filters(parser)
    parser.add_argument(
        "--older-than",
        type=age,
        metavar="AGE",
        help="Only those in their state for at least this long, as 30s, 10m, 2h or 7d.",
    )
    parser.add_argument(
        "--limit", type=count, default=50, metavar="N", help="At most so many (default: 50)."
    )
    add_json(parser, "tasks")


def run(context: Context, options: dict[str, Any]) -> int:
    """List them."""
    backend = known_backend(options["backend"])
    wanted = Filter(options["queue"] or "", backend, options["task"] or "")
    listing = lists.gather(
        context.using, wanted, options["state"], options["older_than"], options["limit"]
    )
    if options["json"]:
        context.json(listing.as_dict())
    else:
        context.show(page(listing, context.using, context.out.width))
    for trouble in listing.troubles:
        context.note(f"Not asked: {trouble}")
    return int(bool(listing.troubles))


def page(listing: Listing, using: str, width: int | None) -> list[Text]:
    """The table."""
    if not listing.tasks:
        return [styled("no such tasks", DIM)]
    ids = {each.task_id: uuid.UUID(each.task_id) for each in listing.tasks if each.in_table}
    short = search.short_ids(list(ids.values()), using)
    aliases = {each.backend for each in listing.tasks}
    columns = [
        Column("id"),
        Column("state"),
        Column("age", right=True),
        Column("queue", least=7),
        Column("path", least=16, keep_end=True),
        Column("attempt", right=True),
        Column("worker", least=8),
        Column("error", least=8),
        Column("backend"),
    ]
    rows = [
        _row(each, short[ids[each.task_id]] if each.in_table else each.task_id, len(aliases) > 1)
        for each in listing.tasks
    ]
    lines = table(columns, rows, width, indent=0)
    if listing.more:
        lines.append(styled(f"there are more than these {len(rows):,}: --limit shows them", DIM))
    return lines


def _row(each: Listed, short: str, with_backend: bool) -> list[Cell]:
    word = "overdue" if each.overdue and each.state == "running" else each.state
    return [
        short,
        state(word),
        _age(each),
        each.queue,
        each.task,
        str(each.attempt) if each.attempt else "",
        each.worker,
        each.exception.rpartition(".")[2],
        each.backend if with_backend else "",
    ]


def _age(each: Listed) -> str:
    if each.age is None:
        return "new" if each.state == "unregistered" else ""
    if each.age < 0:
        return f"in {span(-each.age, approximate=True)}"
    return span(each.age, approximate=each.state != "unregistered")
