"""``maint status``."""

from __future__ import annotations

import time
from typing import Any

from rich.text import Text

from argus_maint.database import TRANSIENT, discard
from argus_maint.management.maint.arguments import Arguments, add_backend, add_json, interval
from argus_maint.management.maint.context import (
    Context,
    known_backend,
    term_is_an_interrupt,
)
from argus_maint.observe.document import as_dict
from argus_maint.observe.picture import Status
from argus_maint.observe.render import status_page
from argus_maint.observe.screen import BAD, DIM, styled
from argus_maint.observe.status import watch

NAME = "status"
SUMMARY = "is the queue healthy, who works, what is stuck"
HELP = """\
Is the queue healthy, what is wrong, since when, and what to do: first the findings
that are open, each with the command that shows its runbook, then what is wrong at
this moment and is no finding yet, with the command to begin with. Then what is
paused, supervisors and workers, queues, and tasks that are lost, overdue or
unregistered. It changes nothing, and costs the same however many tasks have finished.

  beat 3s/15s    last heartbeat 3 s ago, taken for dead after 15 s
  lost           RUNNING, and its worker is dead
  overdue        RUNNING longer than its time limit
  unregistered   RUNNING under a worker that db_worker of argus_maint did not start
  drained        takes nothing more, because a person said so (maint drain)
  ~12m           about 12 minutes: the clocks of two hosts were compared"""
EXAMPLES = """\
examples:
  manage.py maint status
  manage.py maint status --watch
  manage.py maint status --json | jq -e .healthy

exit status: 0 it could look, whatever it saw; 1 it could not; 2 wrong arguments"""


def add_arguments(parser: Arguments) -> None:
    """Options of this subcommand."""
    add_json(parser, "status")
    parser.add_argument(
        "--watch",
        nargs="?",
        type=interval,
        const=2.0,
        metavar="SECONDS",
        help="Look again every so often (default: 2) until Ctrl-C; JSON is one line a look.",
    )
    add_backend(parser)


def run(context: Context, options: dict[str, Any]) -> int:
    """Show it once, or for as long as somebody watches."""
    backend = known_backend(options["backend"])
    if options["watch"] is None:
        status = watch(context.using, backend)
        if options["json"]:
            context.json(as_dict(status))
        else:
            context.show(status_page(status, context.out.width))
        return 0
    try:
        with term_is_an_interrupt():
            if context.out.terminal and not options["json"]:
                _watch_live(context, backend, options["watch"])
            else:
                _watch_lines(context, backend, options["watch"], options["json"])
    except KeyboardInterrupt:  # the way to end it
        pass
    return 0


def _watch_lines(context: Context, backend: str, every: float, as_json: bool) -> None:
    while True:
        try:
            status = watch(context.using, backend)
        except TRANSIENT as error:
            discard(context.using)
            context.note(_no_answer(error))
        else:
            if as_json:
                context.json(as_dict(status), compact=True)
            else:
                context.show([*status_page(status, None), ""])
        time.sleep(every)


def _watch_live(context: Context, backend: str, every: float) -> None:
    """A screen of its own, which leaves the last look behind when it closes."""
    # Late, for they import much, and a look in a pipe needs neither.
    from rich.console import Group
    from rich.live import Live

    last: Status | None = None
    try:
        with Live(console=context.out.console, screen=True, auto_refresh=False) as live:
            while True:
                trouble = ""
                try:
                    last = watch(context.using, backend)
                except TRANSIENT as error:
                    discard(context.using)
                    trouble = _no_answer(error)
                live.update(Group(*_screen(context, last, trouble, every)), refresh=True)
                time.sleep(every)
    finally:
        if last is not None:
            context.show(status_page(last, context.out.width))


def _screen(context: Context, last: Status | None, trouble: str, every: float) -> list[Text]:
    width = context.out.width
    lines = [styled(trouble, BAD)] if trouble else []
    lines += status_page(last, width) if last is not None else []
    if trouble and last is not None:
        lines.insert(1, styled(f"what follows is from {last.census.taken_at:%H:%M:%S}", DIM))
    foot = [Text(), styled(f"every {every:g} s; Ctrl-C ends", DIM)]
    room = context.out.console.height - len(foot)
    for line in lines:
        line.no_wrap, line.overflow = True, "crop"
    return [*lines[:room], *foot]


def _no_answer(error: Exception) -> str:
    return f"the database does not answer: {' '.join(str(error).split())}"
