"""``maint storage``."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.core.management.base import CommandError
from django.utils import timezone
from rich.text import Text

from argus_maint.backends.space import Space, look
from argus_maint.conf import get_settings
from argus_maint.jobs import storage
from argus_maint.jobs.acts import Act, Outcome
from argus_maint.jobs.storage import Errand, Report
from argus_maint.management.maint.arguments import Arguments, add_json, age, checked
from argus_maint.management.maint.bar import shown
from argus_maint.management.maint.context import Context, term_is_an_interrupt
from argus_maint.observe.growth import Growth, growth, next_size
from argus_maint.observe.history import iso
from argus_maint.observe.screen import (
    BAD,
    DIM,
    GOOD,
    HEAD,
    WARN,
    Cell,
    Column,
    clean,
    join,
    span,
    styled,
    table,
)
from argus_maint.observe.space import advice, ago, as_dict, humane
from argus_maint.options import parse_size

NAME = "storage"
SUMMARY = "how large the task table is, how it grows, and what its space needs"
HELP = """\
Show the bytes of the task table and its indexes, what of them is free, how much it
grows a day and when it reaches a size. No row of a big table is counted: what is an
estimate says so.

With --run, do what the space needs after a prune. SQLite: give free pages back to
the disk in short steps (where auto_vacuum is INCREMENTAL), write the WAL back, renew
statistics. PostgreSQL: rebuild bloated indexes and drop invalid leftovers, both
CONCURRENTLY. MariaDB: ANALYZE, once a day. The queue goes on all the while; the
limits are in ARGUS_MAINT["STORAGE"]."""
EXAMPLES = """\
examples:
  manage.py maint storage                    figures, growth, advice
  manage.py maint storage --reaches 50G      when is it that large
  manage.py maint storage --run --dry-run    what a pass would do; writes nothing
  manage.py maint storage --run              do it
  manage.py maint storage --json | jq .growth.bytes_per_day

exit status: 0 it could look, or the pass did all there was to do or time for;
1 something could not be done, and is named; 2 wrong arguments; 130 interrupted"""

STYLES = {
    Outcome.DONE: GOOD,
    Outcome.WOULD: HEAD,
    Outcome.LATER: DIM,
    Outcome.BLOCKED: WARN,
    Outcome.FAILED: BAD,
}


def add_arguments(parser: Arguments) -> None:
    """Options of this subcommand."""
    parser.add_argument(
        "--reaches",
        type=_size,
        metavar="SIZE",
        help="When does the table reach this size, as 500M or 10G (default: the next "
        "of 1G, 10G, 100G)?",
    )
    parser.add_argument("--run", action="store_true", help="Do what the space needs.")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="With --run: say what would be done, and write nothing.",
    )
    parser.add_argument(
        "--max-seconds",
        type=age,
        metavar="N",
        help='With --run: stop after so long, as 60 or 10m (default: ARGUS_MAINT["STORAGE"]).',
    )
    add_json(parser, "storage")


@checked
def _size(text: str) -> int:
    if not (size := parse_size(text, "it")):
        raise ValueError("it must be more than 0, such as 500M or 10G")
    return size


def run(context: Context, options: dict[str, Any]) -> int:
    """Show it; with ``--run`` make the pass first."""
    for flag in ("dry_run", "max_seconds"):
        if options[flag] and not options["run"]:
            name = flag.replace("_", "-")
            raise CommandError(f"--{name} goes with --run.", returncode=2)
    using, report = context.using, None
    if options["run"]:
        with term_is_an_interrupt(), shown(context) as tell:
            report = storage.make(Errand(using, options["dry_run"], options["max_seconds"], tell))
    space = report.after if report else look(using)
    todo = report.advice if report else advice(space, get_settings().storage, using)
    rate = growth(space, using)
    size = options["reaches"] or next_size(space.total_bytes)
    if options["json"]:
        context.json(_as_dict(space, rate, size, todo, report))
    else:
        context.show(page(space, rate, size, todo, report, context.out.width))
    return int(bool(report and report.could_not))


def _as_dict(
    space: Space, rate: Growth, size: int, todo: list[str], report: Report | None
) -> dict[str, Any]:
    """The JSON form (``schemas/storage.json``)."""
    return {
        "kind": "argus_maint.storage",
        "version": 1,
        **as_dict(space),
        "growth": {**asdict(rate), "since": iso(rate.since)},
        "reaches": {"bytes": size, "at": iso(rate.reaches(size, space))},
        "advice": todo,
        "pass": {
            "dry_run": report.dry_run,
            "acts": [{**asdict(each), "outcome": each.outcome.value} for each in report.acts],
            "total_bytes_before": report.before.total_bytes,
            "free_bytes_before": report.before.free_bytes,
            "sampled": report.sampled,
            "seconds": round(report.seconds, 3),
        }
        if report
        else None,
    }


def page(
    space: Space,
    rate: Growth,
    size: int,
    todo: list[str],
    report: Report | None,
    width: int | None,
) -> list[Text]:
    """What was done, the figures, and what is left for a person."""
    lines = _acts(report, width) if report else []
    lines += _figures(space)
    lines += _indexes(space, width)
    lines += [Text(), join(styled("GROWTH", HEAD), "  ", _growth(rate))]
    lines.append(Text(f"  {_reaches(rate, size, space)}"))
    if todo:
        lines += [Text(), styled("TO DO", HEAD), *(styled(f"  {each}", WARN) for each in todo)]
    if space.unknown:
        lines += [Text(), *(styled(f"not known: {each}", DIM) for each in space.unknown)]
    return lines


def _acts(report: Report, width: int | None) -> list[Text]:
    """The pass."""
    if report.dry_run:
        head = join(styled("DRY RUN", HEAD), "  nothing done")
    else:
        head = join(styled("DONE", HEAD), f"  in {span(report.seconds)}")
    if not report.acts:
        head.append(", the space needs nothing")
    rows: list[list[Cell]] = [
        [
            styled(each.outcome.value, STYLES[each.outcome]),
            each.act.replace("_", " "),
            each.subject,
            _change(each),
            each.detail,
        ]
        for each in report.acts
    ]
    columns = [Column(""), Column(""), Column(""), Column(""), Column("", least=20)]
    return [head, *(table(columns, rows, width) if rows else []), Text()]


def _change(act: Act) -> str:
    after = f" -> {humane(act.bytes_after)}" if act.bytes_after is not None else ""
    return f"{humane(act.bytes_before)}{after}"


def _figures(space: Space) -> list[Text]:
    whole = " (the whole file)" if space.measured == "file" else ""
    head = f"  {humane(space.total_bytes)} in {space.table}{whole}"
    facts: list[tuple[str, str]] = [
        ("table", "" if whole else humane(space.table_bytes)),
        ("indexes", "" if whole else humane(space.index_bytes)),
        ("free", _with(humane(space.free_bytes), space.free_source)),
        ("rows", _with("" if space.rows is None else f"{space.rows:,}", space.rows_source)),
        *_of_vendor(space),
    ]
    return [
        join(styled("STORAGE", HEAD), head),
        *(join(styled(f"  {name:<11}", DIM), value) for name, value in facts if value),
    ]


def _with(figure: str, source: str) -> str:
    return f"{figure}  ({source})" if figure and source else figure


def _of_vendor(space: Space) -> list[tuple[str, str]]:
    if file := space.sqlite:
        wal = f", WAL {humane(file.wal_bytes)}" if file.journal_mode == "wal" else ""
        modes = f"journal {file.journal_mode}, auto_vacuum {file.auto_vacuum}"
        return [("file", f"{humane(file.file_bytes)}{wal}, {modes}")]
    if dead := space.dead_rows:
        return [
            ("dead rows", f"{dead.dead:,}"),
            ("vacuumed", ago(space, dead.vacuumed)),
            ("analyzed", ago(space, dead.last_analyze)),
        ]
    seconds = space.analyzed_ago
    return [("analyzed", f"{span(seconds)} ago" if seconds is not None else "")]


def _indexes(space: Space, width: int | None) -> list[Text]:
    rows: list[list[Cell]] = [
        [
            clean(each.name),
            humane(each.bytes),
            "" if each.waste is None else f"{each.waste:.0%}",
            "" if each.valid else styled("invalid", BAD),
        ]
        for each in space.indexes
    ]
    columns = [
        Column("index", least=16),
        Column("size", right=True),
        Column("waste", right=True),
        Column("state"),
    ]
    sources = {each.waste_source for each in space.indexes if each.waste_source}
    note = f"  waste: {', '.join(sorted(sources))}" if sources else ""
    head = join(styled("INDEXES", HEAD), styled(note, DIM))
    return [Text(), head, *table(columns, rows, width)] if rows else []


def _growth(rate: Growth) -> str:
    if rate.source == "samples" and rate.since:
        a_day = f"{humane(rate.bytes_per_day)} a day"
        return f"{a_day}, by {rate.samples} samples since {_day(rate.since)}"
    if rate.source == "gross":
        return (
            f"{humane(rate.bytes_per_day)} a day, gross: {rate.finished_per_day:,} tasks finished "
            f"in 24 hours, {humane(rate.bytes_per_row)} each, before any prune"
        )
    return "not known: no samples that are 20 hours apart, and no rows"


def _reaches(rate: Growth, size: int, space: Space) -> str:
    when = rate.reaches(size, space)
    if when == space.taken_at:
        return f"it is larger than {humane(size)} already"
    if when is None and rate.bytes_per_day is None:
        return f"so nobody can tell when it reaches {humane(size)}"
    if when is None:
        return f"at this rate it does not reach {humane(size)}"
    days = (when - space.taken_at).days
    return f"at this rate it reaches {humane(size)} on {_day(when)}, in {days:,} days"


def _day(moment: datetime) -> str:
    local = timezone.localtime(moment) if timezone.is_aware(moment) else moment
    return f"{local:%Y-%m-%d}"
