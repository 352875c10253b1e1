"""``maint history``."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.utils import timezone
from rich.text import Text

from argus_maint.backends import search
from argus_maint.backends.adapters.base import ledger_id
from argus_maint.backends.database import READY
from argus_maint.dbtime import db_now
from argus_maint.jobs.targets import RIVALS, Others, Targets, ambiguous
from argus_maint.management.maint.arguments import (
    Arguments,
    add_backend,
    add_json,
    age,
    any_task_id,
    count,
)
from argus_maint.management.maint.context import Context, known_backend
from argus_maint.models import LedgerEntry
from argus_maint.observe import acts, history, present
from argus_maint.observe.history import Query
from argus_maint.observe.present import Present
from argus_maint.observe.render import ACT_COLUMNS, act_cells, action, after, cause_of
from argus_maint.observe.screen import DIM, HEAD, Cell, Column, clean, join, styled, table

LONGEST_WHY = 60  # characters of a reason in the list

NAME = "history"
SUMMARY = "what was done to which task, by whom and on what evidence"
HELP = """\
Show the ledger, newest first: every rescue, every act by hand, every overdue task
that was reported and every late result that was refused. It outlives the tasks
themselves. With --task the evidence is shown in full, with the stack of a task that
was overdue, and what the task is now: for a FAILED one its exception and traceback.
--acts shows what people did to queues, workers and findings instead, such as acks.

"after" is the time from the last proof of life of the worker to the act."""
EXAMPLES = """\
examples:
  manage.py maint history --since 2h
  manage.py maint history --task 0f3c9a1e
  manage.py maint history --by alice
  manage.py maint history --worker web1 --action quarantined
  manage.py maint history --acts --since 7d

exit status: 0 it could look; 1 it could not, or no such task; 2 wrong arguments"""


def add_arguments(parser: Arguments) -> None:
    """Options of this subcommand."""
    parser.add_argument(
        "--task",
        type=any_task_id,
        metavar="ID",
        help="Only this task, by its id or the beginning of it; of another backend than the "
        "task table by its whole id. Shows the full evidence.",
    )
    parser.add_argument(
        "--since", type=age, metavar="AGE", help="Only the last 10m, 2h or 7d, for example."
    )
    parser.add_argument(
        "--worker",
        default="",
        metavar="NAME",
        help="Only tasks that were with this worker: its id, name.number, or its supervisor.",
    )
    parser.add_argument(
        "--by",
        default="",
        metavar="NAME",
        help="Only what this person or supervisor did: name, or name@host.",
    )
    parser.add_argument(
        "--action",
        choices=LedgerEntry.Action.values,
        default="",
        metavar="WORD",
        help=f"Only this kind of act: {', '.join(LedgerEntry.Action.values)}.",
    )
    add_backend(parser)
    parser.add_argument(
        "--acts",
        action="store_true",
        help="Acts on queues, workers and findings; narrowed by --since, --by and --limit.",
    )
    parser.add_argument(
        "--limit", type=count, default=50, metavar="N", help="At most so many (default: 50)."
    )
    add_json(parser, "history")


def run(context: Context, options: dict[str, Any]) -> int:
    """Show it."""
    using, most = context.using, options["limit"]
    since = db_now(using) - timedelta(seconds=options["since"]) if options["since"] else None
    if options["acts"]:
        return _show_acts(context, options, since)
    meant = _resolve(options["task"], using) if options["task"] else None
    query = Query(
        task_id=meant.task_id if meant is not None else None,
        since=since,
        worker=options["worker"],
        by=options["by"],
        action=options["action"],
        backend=known_backend(options["backend"]),
    )
    entries = list(query.rows(using)[: most + 1])
    more, entries = len(entries) > most, entries[:most]
    now = present.look(query.task_id, using) if query.task_id is not None else None
    if options["json"]:
        context.json(
            {
                "kind": "argus_maint.history",
                "version": 1,
                "task": now.as_dict() if now is not None else None,
                "entries": history.as_dicts(entries),
                "truncated": more,
            }
        )
    elif meant is not None:
        context.show(_in_full(meant, now, entries, using))
    else:
        context.show(page(entries, more, using, context.out.width))
    return 0


def _show_acts(context: Context, options: dict[str, Any], since: datetime | None) -> int:
    for name in ("task", "worker", "action", "backend"):
        if options[name]:
            raise CommandError(f"--{name} is about tasks: leave out --acts.", returncode=2)
    most = options["limit"]
    found = acts.last_acts(context.using, most + 1, since, options["by"])
    more, found = len(found) > most, found[:most]
    if options["json"]:
        context.json(
            {
                "kind": "argus_maint.history",
                "version": 1,
                "task": None,
                "entries": [],
                "acts": [acts.as_dict(each) for each in found],
                "truncated": more,
            }
        )
        return 0
    columns = [Column("when"), Column("act"), Column("what", least=12)]
    columns += [Column("by", least=8), Column("why", least=12)]
    cells: list[list[Cell]] = [
        [moment(each.acted_at), each.verb, each.subject, each.by, _shortened(each.why)]
        for each in found
    ]
    lines = table(columns, cells, context.out.width, indent=0)
    if more:
        lines.append(styled(f"there are more than these {most:,}: --limit shows them", DIM))
    context.show(lines if found else [styled("nothing on record", DIM)])
    return 0


@dataclass(frozen=True, slots=True)
class _Meant:
    """The task that is meant: its id in our tables, and where else it may be."""

    task_id: uuid.UUID
    key: str = ""  # its own id, on another backend than the task table
    alias: str = ""


def _resolve(token: str, using: str) -> _Meant:
    """One of the ledger's, one that is still in the table, or one of another backend."""
    found: dict[uuid.UUID, str] = {}
    if re.fullmatch(r"[\da-fA-F]+", token):
        found = dict(history.tasks_with_prefix(token, using, RIVALS + 1))
        rows = search.by_prefix(token, using, RIVALS + 1)
        found |= {row.attempt.task_id: row.attempt.task_path for row in rows}
    if len(found) > 1:
        raise CommandError(ambiguous(token, list(found.items())))
    task_id = next(iter(found), ledger_id(token))
    entries = LedgerEntry.objects.using(using).filter(task_id=task_id)
    known = entries.order_by("-pk").values_list("task_key", "backend_name").first()
    if known is not None:
        return _Meant(task_id, known[0] or str(task_id), known[1])
    if found:
        return _Meant(task_id)
    others, targets = Others(using), Targets()
    if not others.add(token, targets):
        raise CommandError(f"{others.none_of(token)} The ledger has none either.")
    (place,) = targets.elsewhere
    return _Meant(ledger_id(place.task_id), place.task_id, place.adapter.alias)


def page(entries: list[LedgerEntry], more: bool, using: str, width: int | None) -> list[Text]:
    """One line an entry."""
    if not entries:
        return [styled("nothing on record", DIM)]
    short = search.short_ids([entry.task_id for entry in entries], using)
    columns = [
        Column(f"when ({timezone.get_current_timezone_name()})" if settings.USE_TZ else "when"),
        *ACT_COLUMNS,
        Column("by", least=8),
        Column("why", least=12),
    ]
    rows: list[list[Cell]] = [
        [
            moment(entry.acted_at),
            *act_cells(entry, entry.task_key or short[entry.task_id]),
            entry.noticed_by,
            _shortened(why_of(entry)),
        ]
        for entry in entries
    ]
    lines = table(columns, rows, width, indent=0)
    if more:
        lines.append(styled(f"there are more than these {len(rows):,}: --limit shows them", DIM))
    return lines


def moment(value: datetime, *, zone: bool = False) -> str:
    """A time in the site's zone."""
    local = timezone.localtime(value) if timezone.is_aware(value) else value
    return f"{local:%Y-%m-%d %H:%M:%S}" + (f" {local:%Z}" if zone and local.tzinfo else "")


def why_of(entry: LedgerEntry) -> str:
    """The reason that a person gave with --why."""
    manual = entry.verdict == LedgerEntry.Verdict.MANUAL
    return entry.evidence.partition(" Why: ")[2] if manual else ""


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_WHY else text[: LONGEST_WHY - 1] + "…"


def _in_full(
    meant: _Meant, now: Present | None, entries: list[LedgerEntry], using: str
) -> list[Text]:
    """What the task is now, then each act on it."""
    other = present.elsewhere(meant.key, meant.alias, using) if now is None else None
    told: Any = now.row.attempt if now is not None else entries[0] if entries else None
    path, queue = (told.task_path, told.queue_name) if told is not None else ("", "")
    if other is not None and told is None:
        path, queue = other.path, other.queue
    name = styled(str(meant.task_id) if other is None else meant.key, HEAD)
    lines = [join(name, f"  {path}  queue {queue}")]
    if now is not None:
        lines += _now(now)
    elif other is not None:
        lines += [_fact("now", other.words), *_indented(other.traceback)]
    else:
        lines.append(_fact("now", "gone: its row was deleted"))
    if not entries:
        lines += [Text(), styled("nothing on record: nobody had to act on it", DIM)]
    for entry in entries:
        lines += [Text(), *_block(entry)]
    return lines


def _now(now: Present) -> list[Text]:
    """Its state, and why it is FAILED; never its arguments, which may be secret."""
    attempt, row = now.row.attempt, now.row
    state = attempt.status + (f" with {row.exception}" if row.exception else "")
    since = f" since {moment(now.since, zone=True)}" if now.since is not None else ""
    due = f", due {moment(row.run_after, zone=True)}" if row.run_after is not None else ""
    lines = [_fact("now", state + since + (due if attempt.status == READY else ""))]
    if attempt.number:
        lines.append(_fact("attempt", f"{attempt.number}, with worker {attempt.owner}"))
    return lines + _indented(now.traceback)


def _fact(name: str, value: str) -> Text:
    return join(styled(f"  {name:<11}", DIM), value)


def _indented(text: str) -> list[Text]:
    return [Text("    " + clean(line.expandtabs())) for line in text.splitlines()]


def _block(entry: LedgerEntry) -> list[Text]:
    """All that is known of one act."""
    cause = cause_of(entry)
    if entry.reason not in cause:
        cause += f", {entry.reason}"
    lines = [
        join(
            moment(entry.acted_at, zone=True),
            "  ",
            action(entry),
            f"  {cause}, attempt {entry.attempt}",
        )
    ]
    where = f" on {entry.host}" if entry.host else ""
    facts = [
        ("worker", f"{entry.worker_id}{where}" if entry.worker_id else ""),
        ("noticed by", entry.noticed_by),
        ("last alive", _last_alive(entry)),
        ("losses", str(entry.losses) if entry.losses else ""),
        ("runs again", f"after {entry.delay:g} s" if entry.delay else ""),
    ]
    lines += [_fact(name, value) for name, value in facts if value]
    first, _, rest = entry.evidence.partition("\n")
    return [*lines, _fact("evidence", first), *_indented(rest)]


def _last_alive(entry: LedgerEntry) -> str:
    if entry.last_proof_of_life is None:
        return ""
    return f"{moment(entry.last_proof_of_life, zone=True)}, {after(entry)} before"
