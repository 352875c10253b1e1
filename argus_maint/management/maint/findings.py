"""``maint findings``, and what ``ack`` and ``resolve`` share with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError
from django.db import Error
from rich.text import Text

from argus_maint.conf_findings import WARNING
from argus_maint.database import TRANSIENT, in_plain_words, is_locked
from argus_maint.dbtime import db_now
from argus_maint.findings import book
from argus_maint.findings.book import Outcome
from argus_maint.management.maint import live
from argus_maint.management.maint.arguments import Arguments, add_json, age, finding_code, reason
from argus_maint.management.maint.context import Context
from argus_maint.management.maint.naming import SEVERAL
from argus_maint.models import Finding
from argus_maint.observe import findings as shown
from argus_maint.observe.screen import BAD, DIM, GOOD, HEAD, styled
from argus_maint.options import did_you_mean
from argus_maint.workers.identity import operator

NAME = "findings"
OPTIONAL = "code object"
SUMMARY = "what needs a person, since when, and what to do"
HELP = """\
List the findings that are open: the most urgent first, each with the command that
shows its runbook. One that is acknowledged (`maint ack`) is listed too, and does not
count for the exit status.

The job `findings` makes a pass a minute, and so does every db_worker where nobody
else does. A finding opens when so many passes in a row have seen it, and closes when
so many have not (the setting FINDINGS). --look makes a pass now, which counts.

While the database is locked no pass can write; that it is, and by whom, is looked for
and said without a pass too."""
EXAMPLES = """\
examples:
  manage.py maint findings
  manage.py maint findings --look
  manage.py maint findings UnattendedQueue --json | jq '.findings[].evidence'
  manage.py maint findings StuckTask 0f3c9a1e
  manage.py maint findings --closed --since 24h

exit status: 0 none of those asked for is open, or all that are are acknowledged; 1 some
are open, the database is locked, or it could not look; 2 wrong arguments"""
NOT_RECORDED = "seen now, and not recorded"


@dataclass(slots=True)
class Looked:
    """What a look came to. Without an outcome it was not written down, or could not be."""

    seen: Any  # argus_maint.jobs.detect.Seen
    outcome: Outcome | None
    trouble: str = ""


def add_arguments(parser: Arguments) -> None:
    """Options of this subcommand."""
    parser.add_argument(
        "code", nargs="?", type=finding_code, metavar="CODE", help="Only this code, as StuckTask."
    )
    parser.add_argument(
        "object",
        nargs="?",
        metavar="OBJECT",
        help="Only what is about this, as a queue or the id of a task, or the beginning of it.",
    )
    parser.add_argument("--look", action="store_true", help="Make a pass first.")
    parser.add_argument(
        "--closed", action="store_true", help="Those that are over instead, the last first."
    )
    parser.add_argument(
        "--since",
        type=age,
        metavar="AGE",
        help="With --closed: that closed within 24h or 7d, for example (default: 7d).",
    )
    add_json(parser, "findings")


def run(context: Context, options: dict[str, Any]) -> int:
    """List them."""
    code, object = options["code"] or "", options["object"]
    if options["since"] and not options["closed"]:
        raise CommandError("--since goes with --closed.", returncode=2)
    looked = _look(context) if options["look"] else None
    if looked is not None:
        _narrow(looked, code, object)
    using, now = context.using, db_now(context.using)
    findings = open_ = named(book.open_findings(using, code), code, object)
    if options["closed"]:
        since = now - timedelta(seconds=options["since"] or 7 * 86_400)
        findings = [
            each for each in book.closed(using, since, code) if _begins(each.object, object)
        ]
    elif looked is None and code in ("", live.CODE):
        looked = _live(context, open_)
    if options["json"]:
        context.json(document(NAME, findings, looked))
    else:
        context.show(_page(findings, looked, now, closed=options["closed"]))
    return _status(open_, looked, now)


def _look(context: Context) -> Looked:
    from argus_maint.jobs import detect

    seen = detect.observe(context.using)
    _tell_errors(context, seen)
    try:
        outcome = book.record(
            seen.observations, seen.looked_for, operator(), context.using, seen.began
        )
    except Error as error:
        if not (isinstance(error, TRANSIENT) and is_locked(error)):
            raise
        trouble = f"what follows is not recorded. {in_plain_words(error)}"
        context.note(styled(trouble, BAD))
        return Looked(seen, None, trouble)
    return Looked(seen, outcome)


def _narrow(looked: Looked, code: str, object: str | None) -> None:
    """Only what was asked for; all of it is written down by then."""
    seen = [each for each in looked.seen.observations if code in ("", each.code)]
    exact = [each for each in seen if each.object == object]
    looked.seen.observations = exact or [each for each in seen if _begins(each.object, object)]


def _begins(known: str, object: str | None) -> bool:
    """Whether an object is meant by a name, or a beginning of it; an empty one is itself alone."""
    return object is None or (known.startswith(object) if object else not known)


def named(findings: Sequence[Finding], code: str, object: str | None) -> list[Finding]:
    """Those about an object, by its name or an unmistakable beginning of it."""
    near = [each for each in findings if _begins(each.object, object)]
    exact = [each for each in near if each.object == object]
    if object is not None and not exact and len(near) > 1:
        names = ", ".join(each.object for each in near[:SEVERAL])
        raise CommandError(
            f"Several open findings of {code} begin with {object!r}: {names}", returncode=2
        )
    return exact or near


def _live(context: Context, open_: Sequence[Finding]) -> Looked | None:
    """What nobody can write down while it lasts, unless it is on record already."""
    if any(each.code == live.CODE for each in open_) or not (seen := live.look(context.using)):
        return None
    # One that is only idle keeps nobody from writing: passes see to it.
    seen.observations = [each for each in seen.observations if each.severity != WARNING]
    _tell_errors(context, seen)
    return Looked(seen, None, NOT_RECORDED) if seen.observations or seen.errors else None


def _tell_errors(context: Context, seen: Any) -> None:
    for code, error in seen.errors.items():
        context.note(styled(f"could not look for {code}: {error}", BAD))


def _status(open_: Sequence[Finding], looked: Looked | None, now: Any) -> int:
    if looked is not None and (looked.seen.errors or looked.outcome is None):
        return 1
    return int(any(not book.is_acked(each, now) for each in open_))


def document(
    kind: str,
    findings: Sequence[Finding],
    looked: Looked | None = None,
    dry_run: bool = False,
) -> dict[str, Any]:
    """The JSON form."""
    look = None
    if looked is not None:
        outcome = looked.outcome or Outcome()
        look = {
            "recorded": looked.outcome is not None,
            "trouble": looked.trouble,
            "opened": [str(each) for each in outcome.opened],
            "closed": [str(each) for each in outcome.closed],
            "seen": [shown.observation_as_dict(each) for each in looked.seen.observations],
            "errors": looked.seen.errors,
        }
    return {
        "kind": f"argus_maint.{kind}",
        "version": 1,
        "dry_run": dry_run,
        "look": look,
        "findings": [shown.as_dict(each) for each in findings],
    }


def _page(
    findings: Sequence[Finding], looked: Looked | None, now: Any, *, closed: bool
) -> list[Text]:
    lines: list[Text] = []
    if looked is not None and not closed:
        known = {each.fingerprint for each in findings} if looked.outcome is not None else set()
        for each in looked.seen.observations:
            if each.fingerprint not in known:
                lines += shown.observation_lines(each)
        if lines and looked.outcome is not None:
            lines = [styled("seen, and not open yet:", DIM), *lines, Text()]
        elif lines:
            rest = [Text()] if findings else []
            lines = [styled(f"{NOT_RECORDED.capitalize()}:", HEAD), *lines, *rest]
    if not findings and (looked is None or looked.outcome is not None):
        word = "nothing has closed" if closed else "nothing is open"
        return [*lines, styled(word, DIM if closed or lines else GOOD)]
    return lines + [line for each in findings for line in shown.lines(each, now)]


# -- ack and resolve --------------------------------------------------------------------


def add_which(parser: Arguments) -> None:
    """``CODE [OBJECT]`` and ``--why``."""
    parser.add_argument("code", type=finding_code, metavar="CODE", help="Such as StuckTask.")
    parser.add_argument(
        "object",
        nargs="?",
        metavar="OBJECT",
        help="What it is about, as `maint findings` shows it, or the beginning of it (default: "
        "all of that code).",
    )
    parser.add_argument("--why", type=reason, metavar="TEXT", help="A reason, kept on record.")
    parser.add_argument(
        "--yes",
        action="store_true",
        help="Do not ask. Without a terminal, needed for several findings without an OBJECT.",
    )


def why(options: dict[str, Any]) -> str:
    """The reason, which must be given."""
    if options["why"] is None:
        raise CommandError("Say why: --why TEXT. It is kept on record.", returncode=2)
    return str(options["why"])


def chosen(context: Context, options: dict[str, Any]) -> list[Finding]:
    """The open findings that are meant; one line where there are none."""
    code, object_ = options["code"], options["object"]
    every = book.open_findings(context.using, code)
    if found := named(every, code, object_):
        return found
    others = [each.object for each in every if each.object]
    what = code if object_ is None else f"{code} {object_}"
    line = f"No finding {what} is open."
    if others:
        line += f"{did_you_mean(object_ or '', others)} Open are: {', '.join(others)}"
    raise CommandError(line)


def make_sure(
    context: Context, options: dict[str, Any], verb: str, found: Sequence[Finding]
) -> None:
    """Say which ones, and ask, where nobody has named one of several."""
    if len(found) < 2 or options["yes"] or options.get("dry_run"):
        return
    code, number = options["code"], len(found)
    if options["json"] or not context.can_ask():
        names = ", ".join(each.object for each in found[:SEVERAL])
        more = f" and {number - SEVERAL:,} more" if number > SEVERAL else ""
        line = f"This would {verb} {number:,} findings {code}: {names}{more}."
        raise CommandError(f"{line} Name one, or add --yes.")
    for each in found:
        context.note(f"  {each}: {each.summary}")
    if not context.confirmed(f"{verb.capitalize()} these {number:,} findings?"):
        raise CommandError("Nothing was done.")
