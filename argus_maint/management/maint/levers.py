"""``maint requeue`` and ``maint fail``: what the two have in common, and where they differ."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError
from rich.progress import MofNCompleteColumn, TimeRemainingColumn

from argus_maint.backends.database import FAILED, READY, RUNNING
from argus_maint.backends.search import Filter
from argus_maint.jobs import elsewhere, levers, targets
from argus_maint.jobs.levers import Lever, Result, Verb
from argus_maint.jobs.targets import Targets, WrongTarget
from argus_maint.management.maint.arguments import (
    Arguments,
    add_filters,
    add_ids,
    add_json,
    age,
    reason,
)
from argus_maint.management.maint.bar import shown
from argus_maint.management.maint.context import Context, known_backend, term_is_an_interrupt
from argus_maint.management.maint.naming import in_table, wrong
from argus_maint.management.maint.tally import WORDS, Tally
from argus_maint.observe import census
from argus_maint.workers import registry
from argus_maint.workers.identity import operator

ASK_ABOVE = 100  # tasks
BAR_ABOVE = 300
BULK = {"failed": FAILED, "ready": READY, "unregistered": RUNNING}


def add_common(parser: Arguments, verb: Verb) -> None:
    """Arguments of both subcommands, without their bulk selection."""
    word = WORDS[verb][0]
    add_ids(parser)
    parser.add_argument(
        "--unregistered",
        action="store_true",
        help="RUNNING tasks whose worker never registered (a stock worker, or one from before "
        "the install). Needs --older-than; with ids, allows these among them.",
    )
    parser.add_argument(
        "--older-than",
        type=age,
        metavar="AGE",
        help="With --unregistered: we have seen it RUNNING for at least this long, as 1h.",
    )
    parser.add_argument(
        "--worker",
        metavar="WORKER_ID",
        help="With --unregistered: only tasks under this worker, by its whole id.",
    )
    add_filters(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help=f"Say what {word} would do, and write nothing."
    )
    parser.add_argument(
        "--yes", action="store_true", help=f"Do not ask before more than {ASK_ABOVE} tasks."
    )
    parser.add_argument(
        "--kill",
        action="store_true",
        help=f"If a task is running, have its worker ended first (TERM, 5 s later KILL), "
        f"then {word} it. Takes a beat or two; by id.",
    )
    parser.add_argument("--why", type=reason, metavar="TEXT", help="A reason, kept in the ledger.")
    add_json(parser, "levers")


def selection(verb: Verb, options: dict[str, Any]) -> str:
    """Which way of naming tasks was used; wrong combinations raise one line."""
    bulk = [name for name in BULK if options.get(name)]
    if len(bulk) > 1:
        raise wrong(f"Give one of {', '.join('--' + name for name in bulk)}.")
    kind = bulk[0] if bulk else ""
    _check_combination(kind, options)
    if not kind and not options["ids"]:
        way = "--failed --task PATTERN --since 2h" if "failed" in options else "--ready --task ..."
        raise wrong(
            f"Say which tasks to {verb.value}: ids, {way}, or --unregistered --older-than 1h."
        )
    return kind or "ids"


def _check_combination(kind: str, options: dict[str, Any]) -> None:
    if options["ids"] and kind in ("failed", "ready"):
        raise wrong(f"Give ids or --{kind}, not both.")
    if kind == "failed" and not (options["task"] and options["since"]):
        raise wrong("--failed needs --task PATTERN and --since AGE; for all tasks: --task '*'.")
    if kind == "ready" and not options["task"]:
        raise wrong("--ready needs --task PATTERN; for all tasks: --task '*'.")
    if kind == "unregistered" and not options["older_than"]:
        raise wrong("--unregistered needs --older-than AGE, such as 1h.")
    if options.get("again") and kind:
        raise wrong("--again goes with ids.")
    if options["kill"] and kind:
        raise wrong("--kill goes with ids.")
    if options.get("since") and kind != "failed":
        raise wrong("--since goes with --failed.")
    if options["older_than"] and kind not in ("ready", "unregistered"):
        raise wrong("--older-than goes with --unregistered" + _or_ready(options) + ".")
    if options["worker"] is not None and (kind != "unregistered" or options["ids"]):
        raise wrong("--worker goes with --unregistered, and not with ids.")
    if not kind and any(options[name] for name in ("task", "queue", "backend")):
        raise wrong("--task, --queue and --backend narrow a description, not ids.")


def _or_ready(options: dict[str, Any]) -> str:
    return " or --ready" if "ready" in options else ""


def find(kind: str, context: Context, options: dict[str, Any]) -> Targets:
    """The tasks that are meant."""
    backend = known_backend(options["backend"])
    if kind in ("ready", "unregistered"):
        in_table(backend)
    wanted = Filter(options["queue"] or "", backend, options["task"] or "")
    using = context.using
    try:
        if options["ids"]:
            found = targets.by_tokens(options["ids"], using)
        elif kind == "failed":
            found = targets.failed(using, wanted, options["since"])
        elif kind == "ready":
            found = targets.ready(using, wanted, options["older_than"])
        else:
            found = targets.unregistered(census.take(using), wanted, options["worker"])
    except WrongTarget as error:
        raise CommandError(str(error)) from error
    if kind == "unregistered" and not options["dry_run"]:
        _sight(using)
    return found


def _sight(using: str) -> None:
    """Begin to count for what no watcher has seen yet."""
    for each in census.take(using).of_state("unregistered"):
        if each.first_seen_at is None:
            registry.sight(each.attempt, using, 1.0)


def run(verb: Verb, context: Context, options: dict[str, Any]) -> int:
    """Find the tasks, ask where there are many, act, and tell."""
    kind = selection(verb, options)
    found = find(kind, context, options)
    lever = Lever(
        verb=verb,
        using=context.using,
        noticed_by=operator(),
        why=options["why"] or "",
        only="" if options["ids"] else BULK[kind],
        again=bool(options.get("again")),
        unregistered_after=options["older_than"] if kind == "unregistered" else None,
        dry_run=options["dry_run"],
        kill=options["kill"],
    )
    return carry_out(lever, found, context, options)


def carry_out(
    lever: Lever,
    found: Targets,
    context: Context,
    options: dict[str, Any],
    ask_above: int = ASK_ABOVE,
) -> int:
    """Ask above so many tasks, act, and tell; the exit status."""
    for trouble in found.troubles:
        context.note(f"Not asked: {trouble}")
    if not lever.dry_run and len(found) > ask_above and not options["yes"]:
        _ask(lever.verb, found, context, options)
    tally = Tally(lever, found, by_id=bool(options["ids"]))
    try:
        columns = (MofNCompleteColumn(), TimeRemainingColumn())
        with term_is_an_interrupt(), shown(context, *columns) as show:

            def tell(result: Result) -> None:
                tally.add(result)
                if context.err.terminal and len(found) > BAR_ABOVE:
                    show(lever.verb.value, sum(tally.counts.values()), len(found))

            tally.stopped = levers.pull(lever, found.ids, tell) or elsewhere.pull(
                lever, found.elsewhere, tell
            )
    except KeyboardInterrupt:
        tally.stopped = "interrupted"
        _tell(tally, context, options)
        raise
    _tell(tally, context, options)
    return int(tally.failed)


def _tell(tally: Tally, context: Context, options: dict[str, Any]) -> None:
    if options["json"]:
        context.json(tally.as_dict())
    else:
        context.show(tally.page())


def _ask(verb: Verb, found: Targets, context: Context, options: dict[str, Any]) -> None:
    """Make sure, above a number that nobody means by accident."""
    number, word = len(found), WORDS[verb][0]
    if options["json"] or not context.can_ask():
        raise CommandError(
            f"This would {word} {number:,} tasks, more than {ASK_ABOVE}: look with --dry-run, "
            "then add --yes."
        )
    for path, times in found.kinds.most_common(5):
        context.note(f"  {times:>9,}  {path}")
    if len(found.kinds) > 5:
        context.note(f"  and {len(found.kinds) - 5:,} more kinds")
    if not context.confirmed(f"{word.capitalize()} these {number:,} tasks?"):
        raise CommandError("Nothing was done.")
