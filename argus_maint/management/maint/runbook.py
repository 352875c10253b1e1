"""``maint runbook``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.db import Error, connections

from argus_maint.conf_findings import CODES
from argus_maint.database import in_plain_words
from argus_maint.dbtime import db_now
from argus_maint.findings.book import is_acked
from argus_maint.management.maint import guide, live
from argus_maint.management.maint.arguments import Arguments, add_json, finding_code
from argus_maint.management.maint.context import Context
from argus_maint.management.maint.history import moment
from argus_maint.models import Finding
from argus_maint.observe.book import clock_time
from argus_maint.observe.findings import SEVERITY_STYLES
from argus_maint.observe.history import iso
from argus_maint.observe.screen import (
    BAD,
    DIM,
    HEAD,
    WARN,
    Cell,
    Column,
    clean,
    join,
    styled,
    table,
)
from argus_maint.runbooks import places, subject
from argus_maint.runbooks.calling import Calling, pasted
from argus_maint.runbooks.errors import PageError
from argus_maint.runbooks.fence import DATABASES
from argus_maint.runbooks.fill import (
    Values,
    WrongValue,
    database_name,
    filled_command,
    filled_line,
    filled_text,
    shell_word,
    values_of,
)
from argus_maint.runbooks.matter import SUPERVISORS
from argus_maint.runbooks.page import Page

NAME = "runbook"
SUMMARY = "what to do about a finding, step by step"
OPTIONAL = "code object"
HELP = """\
Show the page for a kind of finding, filled in from the finding that is open. Without
CODE: the list of pages.

On a terminal a command begins at the left edge, so that it can be selected and
pasted as it is; in a pipe it is the page's Markdown.

With --run: go through the page step by step. Each command is shown, and you say
whether it runs; what comes is compared with the page, and the line at fault is named.
What was done is written to a file (--timeline), for maint incident report. It needs
no database, which may be what is broken: give the values with --set then.

Some steps need a judgement: whether a task may run twice, for example. With --yes these
alone are asked. Without a terminal it stops before the first of them, says what has to
be judged, and exits with 3."""
EXAMPLES = """\
examples:
  manage.py maint runbook
  manage.py maint runbook StuckTask 0f3c9a1e
  manage.py maint runbook NoWorkers --run --supervisor systemd
  manage.py maint runbook UnattendedQueue --run --set QUEUE=emails

exit status: 0 shown; with --run: all that Verify says holds at the end; 1 it does not,
or the page is not there; 2 wrong arguments; 3 with --yes: it stopped before a step that
a person has to judge; 130 interrupted"""


def add_arguments(parser: Arguments) -> None:
    """Options of this subcommand."""
    parser.add_argument("code", nargs="?", type=finding_code, metavar="CODE", help="As StuckTask.")
    parser.add_argument(
        "object",
        nargs="?",
        default="",
        metavar="OBJECT",
        help="What the finding is about, or the beginning of it, where several are open.",
    )
    parser.add_argument("--run", action="store_true", help="Go through it step by step.")
    parser.add_argument(
        "--yes",
        action="store_true",
        help="With --run: ask nothing, and stop at the first step that is not as the page says; "
        "one that has to be judged is asked all the same, or stopped before.",
    )
    parser.add_argument(
        "--supervisor",
        choices=SUPERVISORS,
        default="",
        metavar="NAME",
        help=f"Only what is for this one: {', '.join(SUPERVISORS)} (default: all; with --run it "
        "has to be given where the page depends on it).",
    )
    parser.add_argument(
        "--database",
        choices=DATABASES,
        default="",
        metavar="VENDOR",
        help=f"Only what is for this one: {', '.join(DATABASES)} (default: this site's).",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="A value that the finding does not have, as QUEUE=emails; may be repeated.",
    )
    parser.add_argument(
        "--timeline",
        default="",
        metavar="FILE",
        help="With --run: where what was done is written, or added (default: a new file here).",
    )
    add_json(parser, "runbook")


def run(context: Context, options: dict[str, Any]) -> int:
    """List the pages, show one, or go through it."""
    if options["run"] and (options["json"] or not options["code"]):
        raise CommandError("--run needs a CODE, and goes without --json.", returncode=2)
    if not options["run"] and (options["yes"] or options["timeline"]):
        raise CommandError("--yes and --timeline go with --run.", returncode=2)
    try:
        if not options["code"]:
            return _list(context, options)
        page = places.page_of(options["code"])
    except (places.NoPage, PageError) as error:
        raise CommandError(f"{error}") from error
    opened = Opened(context, page, options)
    if options["json"]:
        context.json(opened.as_dict())
        return 0
    return guide.run(context, opened, options) if options["run"] else opened.show()


def _vendor(using: str) -> str:
    """The kind of this site's database, as pages have it; empty for any other."""
    name = database_name(connections[using].vendor)
    return name if name in DATABASES else ""


def _given(options: dict[str, Any]) -> dict[str, str]:
    """What ``--set`` gives."""
    given = {}
    for text in options["set"]:
        name, mark, value = text.partition("=")
        if not mark:
            raise CommandError(f"--set takes NAME=VALUE, not {text!r}.", returncode=2)
        given[name.strip().upper()] = value
    return given


class Opened:
    """A page, the finding it is opened for, and what its variables stand for."""

    def __init__(self, context: Context, page: Page, options: dict[str, Any]) -> None:
        self.context, self.page = context, page
        self.rivals: list[Finding] = []  # where it is not said which one is meant
        self.trouble = ""  # of the database
        self.seen = ""  # what is so, and nobody can write down
        self.finding = self._find(options["object"])
        self.acked = "" if self.finding is None else _acked(self.finding, context.using)
        self.calling = Calling.here()
        self.supervisor = options["supervisor"]
        vendor = _vendor(context.using)
        self.database = options["database"] or vendor
        evidence = self.finding.evidence if self.finding else self._live()
        if not isinstance(evidence, dict):
            evidence = {}
        try:
            self.values: Values = values_of(page, {"database": vendor, **evidence}, _given(options))
        except WrongValue as error:
            raise CommandError(str(error), returncode=2) from error
        self.steps = page.steps_for(self.supervisor, self.database)

    def _find(self, object: str) -> Finding | None:
        using, code = self.context.using, self.page.name
        try:
            found = subject.open_findings(using, code)
            if object:
                return subject.about(using, code, object, found)
        except subject.NoFinding as error:
            raise CommandError(str(error), returncode=2) from error
        except (Error, ImproperlyConfigured) as error:
            self.trouble = in_plain_words(error)
            return None
        if len(found) > 1:
            self.rivals = found
            return None
        return found[0] if found else None

    def _live(self) -> Mapping[str, Any]:
        """Evidence of a locked database, which nobody can write down while it lasts."""
        if self.page.name != live.CODE or self.trouble or self.rivals:
            return {}
        seen = live.look(self.context.using)
        for each in seen.observations if seen else ():
            self.seen = each.summary
            return each.evidence
        return {}

    def show(self) -> int:
        """Print it: rendered on a terminal, as Markdown in a pipe."""
        out = self.context.out
        text = filled_text(
            self.page, self.values.known, self.calling, self.supervisor, self.database
        )
        if not out.terminal and out.plain:
            quoted = [join("> ", line) for line in self.head()]
            self.context.show([*quoted, ""] if quoted else [])
            out.out.write(text)
            out.out.flush()
            return 0
        from argus_maint.runbooks.show import show  # imports a highlighter, which takes its time

        self.context.show([*self.head(), ""])
        out.out.flush()
        show(text, out.console)
        return 0

    def head(self) -> list[Cell]:
        """What stands above the page: which finding, which values, where to run it."""
        lines: list[Cell] = []
        if self.trouble:
            lines.append(styled(f"Not filled in: {self.trouble}", WARN))
        if self.finding is not None:
            lines += _told(self.finding)
            lines += [styled(self.acked, WARN)] if self.acked else []
        elif self.rivals:
            lines.append(styled("Several findings are open; name the one that you mean:", HEAD))
            lines += [
                pasted(f"manage.py maint runbook {each.code} {shell_word(each.object)}")
                for each in self.rivals
            ]
        elif self.seen:
            lines.append(clean(f"Seen now, and not recorded: {self.seen}"))
        elif not self.trouble:
            lines.append(styled(f"No finding {self.page.name} is open now.", DIM))
        lines += [
            join(styled(f"{name:<9}", DIM), shell_word(value))
            for name, value in self.values.known.items()
        ]
        lines += [
            join(styled(f"{name:<9}", DIM), f"not known ({why}): --set {name}=...")
            for name, why in self.values.missing.items()
        ]
        if self.supervisor and self.supervisor not in self.page.matter.supervisors:
            known = ", ".join(self.page.matter.supervisors)
            line = f"The page has nothing for {self.supervisor} alone; it knows: {known}."
            lines.append(styled(line, WARN))
        if not self.calling.as_written:
            lines.append(
                join(styled(f"{'where':<9}", DIM), f"cd {shell_word(self.calling.folder)}")
            )
        return lines

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        matter, finding = self.page.matter, self.finding
        return {
            "kind": "argus_maint.runbook",
            "version": 1,
            "code": matter.alert,
            "severity": matter.severity,
            "summary": matter.summary,
            "path": str(self.page.path),
            "finding": None
            if finding is None
            else {
                "object": finding.object,
                "state": finding.state,
                "summary": finding.summary,
                "opened_at": iso(finding.opened_at),
            },
            "objects": [each.object for each in self.rivals],
            "values": dict(self.values.known),
            "missing": sorted(self.values.missing),
            "steps": [
                {
                    "section": step.section,
                    "command": filled_command(step.command, self.values.known, self.calling),
                    "expected": [filled_line(line, self.values.known) for line in step.expected],
                    "status": step.status,
                    "retry": step.retry,
                    "ask": step.ask or None,
                    "supervisor": step.supervisor or None,
                    "database": step.database or None,
                    "line": step.line,
                }
                for step in self.steps
            ],
        }


def _acked(finding: Finding, using: str) -> str:
    """By whom and until when it is acknowledged; nothing where it is not."""
    try:
        now = db_now(using)
    except (Error, ImproperlyConfigured):
        return ""
    if finding.acked_until is None or not is_acked(finding, now):
        return ""
    return clean(f"acked by {finding.acked_by} until {clock_time(finding.acked_until)}")


def _told(finding: Finding) -> list[Cell]:
    style = SEVERITY_STYLES.get(finding.severity, "")
    opened, closed = finding.opened_at, finding.closed_at
    state = f"open since {moment(opened, zone=True)}" if opened else "open"
    if finding.state == Finding.State.CLOSED and closed:
        state = f"closed {moment(closed, zone=True)}"
    return [
        join(
            styled(finding.severity, style),
            f"  {finding.code} {clean(finding.object)}".rstrip(),
            styled(f"  {state}", DIM),
        ),
        clean(finding.summary),
    ]


def _list(context: Context, options: dict[str, Any]) -> int:
    """Every code, and how many findings of it are open."""
    pages, trouble = set(places.names()), ""
    try:
        found = subject.open_findings(context.using)
    except (Error, ImproperlyConfigured) as error:
        found, trouble = [], in_plain_words(error)
    numbers = {code: sum(each.code == code for each in found) for code in CODES}
    if options["json"]:
        context.json(
            {
                "kind": "argus_maint.runbooks",
                "version": 1,
                "runbooks": [
                    {
                        "code": code.name,
                        "severity": code.severity,
                        "summary": code.summary,
                        "page": code.name in pages,
                        "open": None if trouble else numbers[code.name],
                    }
                    for code in CODES.values()
                ],
            }
        )
        return 0
    columns = [Column("code"), Column("severity"), Column("open", right=True)]
    columns.append(Column("what", least=20))
    rows: list[list[Cell]] = [
        [
            styled(code.name, HEAD) if numbers[code.name] else code.name,
            styled(code.severity, SEVERITY_STYLES.get(code.severity, "")),
            styled(str(numbers[code.name] or ""), BAD),
            code.summary if code.name in pages else f"{code.summary} (no page)",
        ]
        for code in sorted(CODES.values(), key=lambda code: not numbers[code.name])
    ]
    context.show(table(columns, rows, context.out.width, indent=0))
    if trouble:
        context.note(f"Which findings are open is not known. {trouble}")
    return 0
