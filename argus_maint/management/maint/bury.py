"""``maint bury``."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError
from rich.text import Text

from argus_maint.jobs import burials, watcher
from argus_maint.jobs.burials import Grave, WrongProcess
from argus_maint.jobs.errand import Errand
from argus_maint.jobs.watcher import Rescue
from argus_maint.management.maint.arguments import Arguments, add_json, name, reason
from argus_maint.management.maint.context import Context
from argus_maint.management.maint.naming import wrong
from argus_maint.observe import history
from argus_maint.observe.census import label
from argus_maint.observe.history import iso
from argus_maint.observe.picture import count
from argus_maint.observe.screen import BAD, DIM, HEAD, WARN, join, span, styled
from argus_maint.workers.identity import operator

NAME = "bury"
SUMMARY = "put a process down as dead, by hand"
HELP = """\
Say of a process that it is dead, where nobody can prove it: its host is gone for good.
PROCESS is a supervisor (with all its workers), a scheduler, a worker as name.number, or
a worker id; NAME@HOST, as a finding shows it, is right too. Its registration ends, and
what it held is rescued at once, by policy, as a counted loss. If it is alive in fact,
its tasks run twice, it registers anew, and the results of what it held are refused.

A supervisor that has died, and that nothing has replaced, is put down as meant to be
gone: no finding asks for it any more. One that is provably alive on this host is
refused."""
EXAMPLES = """\
examples:
  manage.py maint bury web-3 --why "the host burnt down" --dry-run
  manage.py maint bury web-3.2 --why "its pod was evicted"

exit status: 0 done; 1 it could not be done; 2 wrong arguments"""


def add_arguments(parser: Arguments) -> None:
    """Options of this subcommand."""
    parser.add_argument(
        "process",
        type=name,
        metavar="PROCESS",
        help="A name, NAME@HOST, name.number, or worker id.",
    )
    parser.add_argument(
        "--why", type=reason, metavar="TEXT", help="The reason, kept on record. Needed."
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="Say what bury would do, and write nothing."
    )
    parser.add_argument(
        "--yes",
        action="store_true",
        help="Do not ask. Without a terminal, needed where it has not ended already.",
    )
    add_json(parser, "bury")


def run(context: Context, options: dict[str, Any]) -> int:
    """Bury it, and rescue what it held."""
    if options["why"] is None:
        raise wrong('A burial needs a reason: --why "the host burnt down".')
    using, by = context.using, operator()
    try:
        grave = burials.find(options["process"], using)
    except WrongProcess as error:
        raise CommandError(str(error), returncode=error.status) from error
    buried, rescue = [each.worker_id for each in grave.processes], Rescue(options["dry_run"])
    if not options["dry_run"]:
        _make_sure(grave, context, options)
        buried = burials.bury(grave, by, options["why"], using)
        if not buried:
            raise CommandError("It has ended by itself meanwhile, or beaten: look again.")
        rescue = watcher.make(Errand(using, by, wait=False))
    if options["json"]:
        context.json(_as_dict(grave, buried, rescue, options["dry_run"]))
    else:
        context.show(_page(grave, buried, rescue, options["dry_run"]))
    return int(bool(rescue.locked or rescue.errors))


def _make_sure(grave: Grave, context: Context, options: dict[str, Any]) -> None:
    """Say what comes of it, and ask."""
    if options["yes"] or grave.over and not context.can_ask():
        return
    if options["json"] or not context.can_ask():
        raise CommandError(f"{_what(grave)}: look with --dry-run, then add --yes.")
    context.err.show(_consequences(grave))
    if not context.confirmed(f"Bury {grave.subject}?"):
        raise CommandError("Nothing was done.")


def _what(grave: Grave) -> str:
    processes = count(len(grave.processes), "process", "processes")
    silent = span((grave.looked_at - grave.last_beat_at).total_seconds())
    if grave.over:
        return f"{processes} of {grave.subject} died, last heard of {silent} ago"
    return f"{processes} of {grave.subject}, last heard of {silent} ago, holding " + count(
        len(grave.tasks), "task"
    )


def _consequences(grave: Grave) -> list[Text]:
    lines = [Text(f"  {_what(grave)}")]
    if grave.over:
        return [*lines, Text("  no finding will ask for it any more")]
    if grave.seems_alive:
        line = "  ITS LEASE HAS NOT RUN OUT: it beats, and is most likely alive"
        lines.append(styled(line, BAD))
    if grave.tasks:
        tasks = count(len(grave.tasks), "task")
        line = f"  {tasks} rescued at once, by policy; if it is alive in fact, what is requeued"
        lines += [styled(line, WARN), styled("  runs twice, and its own results are refused", WARN)]
    return lines


def _page(grave: Grave, buried: list[str], rescue: Rescue, dry_run: bool) -> list[Text]:
    if dry_run:
        head = join(styled("DRY RUN", HEAD), f"  would bury {grave.subject}, and nothing is done")
        return [head, *_consequences(grave)]
    names = ", ".join(label(each) for each in buried)
    lines = [join(styled("BURIED", HEAD), f"  {names}")]
    if grave.over:
        return [*lines, styled("  no finding asks for it any more", DIM)]
    mine = [act for act in rescue.acts if act.worker_id in buried]
    lines.append(Text(f"  {count(len(mine), 'task')} rescued"))
    lines += [Text(f"    {act.task_id}  {act.action}  {act.task_path}") for act in mine[:20]]
    lines += [styled(f"  locked by another transaction: {each}", BAD) for each in rescue.locked]
    return lines + [styled(f"  could not be done: {each}", BAD) for each in rescue.errors]


def _as_dict(grave: Grave, buried: list[str], rescue: Rescue, dry_run: bool) -> dict[str, Any]:
    """The JSON form (``schemas/bury.json``)."""
    return {
        "kind": "argus_maint.bury",
        "version": 1,
        "dry_run": dry_run,
        "by": operator(),
        "subject": grave.subject,
        "over": grave.over,
        "seems_alive": not grave.over and grave.seems_alive,
        "last_beat_at": iso(grave.last_beat_at),
        "processes": buried,
        "tasks": [str(each) for each in grave.tasks],
        "acts": history.as_dicts(act for act in rescue.acts if act.worker_id in buried),
        "locked": rescue.locked,
        "errors": rescue.errors,
    }
