"""``maint incident report``."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError
from django.db import Error

from argus_maint.conf_findings import CODES
from argus_maint.database import in_plain_words
from argus_maint.dbtime import db_now
from argus_maint.management.maint.arguments import Arguments, age
from argus_maint.management.maint.context import Context
from argus_maint.observe import incident
from argus_maint.observe.incident import Incident
from argus_maint.options import did_you_mean

NAME = "incident"
SUMMARY = "the draft of a post-mortem, from what was recorded"
HELP = """\
Write a Markdown draft of a post-mortem: findings, what people did, tasks that were
rescued, runs that failed and the steps of a runbook, in the order of time (UTC).
Cause and consequences are left for people to write."""
EXAMPLES = """\
examples:
  manage.py maint incident report --since 6h
  manage.py maint incident report --finding NoWorkers --output post-mortem.md
  manage.py maint incident report --since 2h --timeline walk.jsonl

exit status: 0 written; 1 it could not be; 2 wrong arguments"""


def add_arguments(parser: Arguments) -> None:
    """Options of this subcommand."""
    parser.add_argument("what", choices=("report",), metavar="report", help="The draft.")
    parser.add_argument(
        "--since",
        type=age,
        default=86_400.0,
        metavar="AGE",
        help="What was within the last 6h or 2d, for example (default: 24h).",
    )
    parser.add_argument(
        "--finding",
        default="",
        metavar="CODE",
        help="Only findings of this code, and what happened while they lasted.",
    )
    parser.add_argument(
        "--timeline",
        action="append",
        default=[],
        metavar="FILE",
        help="The file of a runbook that was walked through; may be repeated.",
    )
    parser.add_argument(
        "--output",
        default="",
        metavar="FILE",
        help="Write a new file (default: standard output). One that is there is not touched.",
    )


def run(context: Context, options: dict[str, Any]) -> int:
    """Write it."""
    code = options["finding"]
    if code and code not in CODES:
        near = did_you_mean(code, CODES) or f" It must be one of {', '.join(CODES)}."
        raise CommandError(f"There is no finding {code!r}.{near}", returncode=2)
    found = _gather(context, options, code)
    for name in options["timeline"]:
        try:
            incident.add_timeline(found, Path(name))
        except OSError as error:
            raise CommandError(f"{name} cannot be read: {error.strerror}") from error
    draft = incident.markdown(found)
    if options["output"]:
        _write(options["output"], draft)
        context.note(f"written: {options['output']}")
    else:
        context.out.out.write(draft)
        context.out.out.flush()
    return 0


def _gather(context: Context, options: dict[str, Any], code: str) -> Incident:
    """What the database knows; where it is away, a timeline is better than nothing."""
    since = timedelta(seconds=options["since"])
    try:
        now = db_now(context.using)
        found = incident.gather(now - since, now, context.using, code)
    except Error as error:
        if not options["timeline"]:
            raise
        now = datetime.now(timezone.utc)
        note = f"From the timeline alone. {in_plain_words(error)}"
        return Incident(now - since, now, notes=[note])
    if code and not found.findings:
        raise CommandError(f"No finding {code} was open since then: give another --since.")
    return found


def _write(name: str, draft: str) -> None:
    """Into a new file, which only its maker may read: errors of jobs may hold secrets."""
    try:
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "w", encoding="utf-8") as out:
            out.write(draft)
    except FileExistsError as error:
        raise CommandError(f"{name} is there already: name another --output.") from error
    except OSError as error:
        raise CommandError(f"{name} cannot be written: {error.strerror}") from error
