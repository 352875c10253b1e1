"""``maint rescue``."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any

from rich.text import Text

from argus_maint.jobs import foreign, watcher
from argus_maint.jobs.errand import Errand
from argus_maint.jobs.watcher import Rescue
from argus_maint.management.maint.arguments import Arguments, add_json
from argus_maint.management.maint.bar import shown
from argus_maint.management.maint.context import Context, term_is_an_interrupt
from argus_maint.observe import history
from argus_maint.observe.census import label
from argus_maint.observe.picture import count
from argus_maint.observe.render import action, cause_of
from argus_maint.observe.screen import BAD, HEAD, WARN, Cell, Column, join, span, styled, table
from argus_maint.runbooks.calling import pasted
from argus_maint.workers.identity import operator

NAME = "rescue"
SUMMARY = "give tasks of dead workers back to the queue, now"
HELP = """\
Make one rescue pass from outside, as every running supervisor does all the time:
tasks whose worker is dead go back to the queue, or are failed, by the policy in
ARGUS_MAINT["RESCUE"]. Each act is put on record (maint history).

A process of this host that no longer exists is dead at once. One whose lease ran
out may be alive behind a broken network, so this command registers as a watcher,
beats for one lease of that process (15 s by default) and acts only if it has been
silent all the time."""
EXAMPLES = """\
examples:
  manage.py maint rescue --dry-run     what would be done; writes nothing
  manage.py maint rescue               do it, and wait where that is needed
  manage.py maint rescue --no-wait     only what is certain at once

exit status: 0 all done, or nothing to do; 1 something could not be done, and is
named; 2 wrong arguments; 130 interrupted"""


def add_arguments(parser: Arguments) -> None:
    """Options of this subcommand."""
    parser.add_argument(
        "--dry-run", action="store_true", help="Say what would be done, and write nothing."
    )
    parser.add_argument(
        "--no-wait",
        action="store_true",
        help="Leave processes alone whose death would have to be confirmed.",
    )
    add_json(parser, "rescue")


def run(context: Context, options: dict[str, Any]) -> int:
    """Make the pass and tell."""
    with term_is_an_interrupt(), shown(context) as tell:

        def progress(left: float, total: float) -> None:
            what = f"waiting {total:.0f} s to confirm that a silent process is dead"
            if context.err.terminal:
                what = "confirming that silent processes are dead"
            tell(what, total - left, total, f"{left:.0f} s left")

        rescue = watcher.make(
            Errand(
                using=context.using,
                noticed_by=operator(),
                dry_run=options["dry_run"],
                wait=not options["no_wait"],
                progress=progress,
            )
        )
        rescue.add_others(_others(context.using, options, tell))
    could_not = bool(rescue.locked or rescue.errors) or _unconfirmed(rescue, options)
    if options["json"]:
        context.json(as_dict(rescue))
    else:
        context.show(page(rescue, options, context.out.width))
    return int(could_not)


def _others(using: str, options: dict[str, Any], tell: Callable[..., None]) -> foreign.Report:
    """The same on backends that keep their tasks elsewhere."""

    def progress(left: float, total: float) -> None:
        what = "waiting until a silent worker's task can be told to be abandoned"
        tell(what, total - left, total, f"{left:.0f} s left")

    return foreign.make(
        Errand(
            using, operator(), options["dry_run"], wait=not options["no_wait"], progress=progress
        )
    )


def _unconfirmed(rescue: Rescue, options: dict[str, Any]) -> bool:
    """Whether it was to wait and did so in vain."""
    waits = not options["no_wait"] and not rescue.dry_run
    return waits and bool(rescue.waiting or rescue.unconfirmed)


def as_dict(rescue: Rescue) -> dict[str, Any]:
    """The JSON form (``schemas/rescue.json``)."""
    return {
        "kind": "argus_maint.rescue",
        "version": 1,
        "dry_run": rescue.dry_run,
        "running": rescue.running,
        "unregistered": rescue.unregistered,
        "acts": history.as_dicts(rescue.acts),
        "dead_processes": rescue.ended,
        "waiting": [{"worker_id": each.worker_id, "lease": each.lease} for each in rescue.waiting],
        "unconfirmed": [
            {
                "backend": alias,
                "task_id": each.task_id,
                "seconds": round(each.confirms_in, 3) if isfinite(each.confirms_in) else None,
            }
            for alias, each in rescue.unconfirmed
        ],
        "waited": round(rescue.waited, 3),
        "locked": rescue.locked,
        "errors": rescue.errors,
    }


def page(rescue: Rescue, options: dict[str, Any], width: int | None) -> list[Text]:
    """What was done, what was not, and why."""
    lines = [_headline(rescue)]
    rows: list[list[Cell]] = [
        [
            (act.task_key or str(act.task_id))[:13],
            action(act),
            cause_of(act),
            act.task_path,
            label(act.worker_id),
            f"in {span(act.delay)}" if act.delay else "",
        ]
        for act in rescue.acts
    ]
    columns = [
        Column("task"),
        Column("would be" if rescue.dry_run else "done"),
        Column("because"),
        Column("path", least=16, keep_end=True),
        Column("was with", least=8),
        Column("runs", right=True),
    ]
    lines += table(columns, rows, width) if rows else []
    lines += [
        styled(f"  locked by another transaction: task {each}", BAD) for each in rescue.locked
    ]
    lines += [styled(f"  could not be done: {each}", BAD) for each in rescue.errors]
    return lines + _loose_ends(rescue, options)


def _headline(rescue: Rescue) -> Text:
    acts, dead = count(len(rescue.acts), "task"), count(len(rescue.ended), "process", "processes")
    if rescue.dry_run:
        again = "" if not rescue.acts else "; without --dry-run it is done"
        found = f"  {acts} to rescue, {dead} found dead, nothing done{again}"
        return join(styled("DRY RUN", HEAD), found)
    waited = f", after {span(rescue.waited)}" if rescue.waited else ""
    return join(styled("DONE", HEAD), f"  {acts} rescued, {dead} found dead{waited}")


def _loose_ends(rescue: Rescue, options: dict[str, Any]) -> list[Text]:
    """What else is RUNNING without a worker that is known to live."""
    lines = []
    if rescue.waiting:
        lines.append(styled(f"  {_waiting(rescue, options)}", WARN))
    if rescue.unconfirmed:
        number = count(len(rescue.unconfirmed), "task")
        most = max(lost.confirms_in for _, lost in rescue.unconfirmed)
        when = f"that can be told in {span(most)}" if isfinite(most) else "see maint backends"
        lines.append(styled(f"  {number} of other backends may be lost; {when}", WARN))
    if rescue.unregistered:
        number = count(rescue.unregistered, "task")
        lines.append(Text(f"  {number} under a worker that never registered.  To see more:"))
        lines.append(styled(f"    {pasted('manage.py maint tasks --state unregistered')}", HEAD))
    return lines


def _waiting(rescue: Rescue, options: dict[str, Any]) -> str:
    names = ", ".join(label(each.worker_id) for each in rescue.waiting)
    number = count(len(rescue.waiting), "process", "processes")
    lease = span(max(each.lease for each in rescue.waiting))
    if rescue.dry_run:
        return f"{number} silent, and would be watched for {lease} before acting: {names}"
    if options["no_wait"]:
        return f"{number} silent, and left alone without watching for {lease}: {names}"
    return f"{number} silent, but the death could not be confirmed, try again: {names}"
