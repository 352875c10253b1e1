"""The draft of a post-mortem, in Markdown: what was found, what was done, and when.

It gathers findings, acts of people, rescues and other entries of the ledger, runs that
failed, and the timeline of a runbook, and puts them in order. What only people know, cause
and consequences, is left to them under headings of its own.

``gather(window, using)`` reads the database, ``add_timeline`` a file, ``markdown`` writes.
All times are UTC: the database's, but those of a timeline are of the host that wrote it.
Values are shown as text: none of them is Markdown, nor a control character.

Errors: django.db.Error, OSError. Events: none.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from django.db.models import Q

from argus_maint.models import Act, Finding, LedgerEntry, Run
from argus_maint.observe.screen import clean, span
from argus_maint.runbooks import timeline

MOST = 2000  # rows of each kind
TO_WRITE = ("Cause", "What went well", "What went badly", "What we change")


@dataclass(frozen=True, slots=True, order=True)
class Event:
    """One line of the order of events."""

    at: datetime
    what: str


@dataclass(slots=True)
class Incident:
    """All that is known of a stretch of time."""

    since: datetime
    until: datetime
    findings: list[Finding] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    tasks: Counter[tuple[str, str]] = field(default_factory=Counter)  # action, path
    cut: set[str] = field(default_factory=set)  # of what there was too much
    notes: list[str] = field(default_factory=list)


def gather(since: datetime, until: datetime, using: str, code: str = "") -> Incident:
    """What the database knows; with a code, from that finding's first sight to its end."""
    findings = _findings(since, until, using, code)
    if code and findings:
        since = min(each.first_seen_at for each in findings)
        ends = [each.closed_at for each in findings]
        until = until if None in ends else max(end for end in ends if end is not None)
    incident = Incident(since, until, findings)
    for finding in findings:
        incident.events += _of_finding(finding, since, until)
    _add_acts(incident, using)
    _add_ledger(incident, using)
    _add_runs(incident, using)
    return incident


def _findings(since: datetime, until: datetime, using: str, code: str) -> list[Finding]:
    rows = Finding.objects.using(using).exclude(state=Finding.State.PENDING)
    rows = rows.filter(first_seen_at__lte=until)
    rows = rows.filter(Q(closed_at__isnull=True) | Q(closed_at__gte=since))
    if code:
        rows = rows.filter(code=code)
    return list(rows.order_by("first_seen_at", "pk")[:MOST])


def _of_finding(finding: Finding, since: datetime, until: datetime) -> Iterator[Event]:
    name = text(str(finding))
    happened = [
        (finding.first_seen_at, f"{name} first seen: {text(finding.summary)}"),
        (finding.opened_at, f"**{name} opened**"),
    ]
    if finding.acked_by:
        why = f": {text(finding.acked_why)}" if finding.acked_why else ""
        happened.append((finding.acked_at, f"{name} acknowledged by {text(finding.acked_by)}{why}"))
    by = f" by {text(finding.closed_by)}: {text(finding.closed_why)}" if finding.closed_by else ""
    happened.append((finding.closed_at, f"**{name} closed**{by}"))
    for moment, what in happened:
        if moment is not None and since <= moment <= until:
            yield Event(utc(moment), what)


def _add_acts(incident: Incident, using: str) -> None:
    rows = Act.objects.using(using).filter(acted_at__range=(incident.since, incident.until))
    for act in _bounded(incident, "acts", rows.order_by("acted_at", "pk")):
        why = f": {text(act.why)}" if act.why else ""
        result = ""
        if act.verb == "runbook" and isinstance(act.details, dict):
            known = [str(act.details.get(key, "")) for key in ("result", "timeline")]
            result = f" ({'; '.join(map(text, filter(None, known)))})"
        what = f"{text(act.by)}: {text(act.verb)} {text(act.subject)}{result}{why}"
        incident.events.append(Event(utc(act.acted_at), what))


def _add_ledger(incident: Incident, using: str) -> None:
    """What was done to tasks; many of one kind in one minute are one line."""
    rows = LedgerEntry.objects.using(using).filter(acted_at__range=(incident.since, incident.until))
    minutes: dict[tuple[Any, ...], list[LedgerEntry]] = {}
    for entry in _bounded(incident, "ledger entries", rows.order_by("acted_at", "pk")):
        incident.tasks[entry.action, entry.task_path] += 1
        minute = utc(entry.acted_at).replace(second=0, microsecond=0)
        key = (minute, entry.action, entry.verdict, entry.task_path, entry.noticed_by)
        minutes.setdefault(key, []).append(entry)
    for same in minutes.values():
        incident.events.append(Event(utc(same[0].acted_at), _of_entries(same)))


def _of_entries(same: list[LedgerEntry]) -> str:
    entry = same[0]
    who = f"{len(same)} tasks" if len(same) > 1 else f"task {entry.task_id}"
    worker = f", worker {text(entry.worker_id)}" if entry.worker_id and len(same) == 1 else ""
    cause = ", ".join(
        text(each) for each in (entry.verdict, entry.reason, entry.exit_signal) if each
    )
    return (
        f"{who} {text(entry.action)}: {text(entry.task_path)} ({cause}{worker}), "
        f"by {text(entry.noticed_by)}"
    )


def _add_runs(incident: Incident, using: str) -> None:
    rows = Run.objects.using(using).filter(
        started_at__range=(incident.since, incident.until),
        state__in=(Run.State.FAILED, Run.State.LOST),
    )
    for run in _bounded(incident, "failed runs", rows.order_by("started_at", "pk")):
        error = f": {text(run.error.strip().splitlines()[-1])}" if run.error.strip() else ""
        what = f"job {text(run.job)} {text(run.state)} on {text(run.host)}{error}"
        incident.events.append(Event(utc(run.finished_at or run.started_at), what))


def _bounded(incident: Incident, what: str, rows: Any) -> Iterable[Any]:
    found = list(rows[: MOST + 1])
    if len(found) > MOST:
        incident.cut.add(what)
    return found[:MOST]


def add_timeline(incident: Incident, path: Path) -> None:
    """The steps of a runbook, from the file that ``maint runbook --run`` wrote."""
    for line in timeline.read(path):
        try:
            at = utc(datetime.fromisoformat(str(line["at"])))
        except (KeyError, ValueError):
            continue
        incident.events.append(Event(at, _of_line(line)))


def _of_line(line: dict[str, Any]) -> str:
    def of(key: str) -> str:
        return text(str(line.get(key, "")))

    match line.get("event"):
        case "started":
            return f"{of('by')} began the runbook {of('code')} {of('object')}".rstrip()
        case "ended":
            return f"the runbook {of('code')} ended: {of('result')}"
        case "stopped":
            command = code(str(line.get("command", "")))
            return f"{of('section')}: stopped before {command}, to be judged: {of('ask')}"
    held = "as the page says" if line.get("held") else of("problem") or "not as the page says"
    result = held if line.get("ran") else "not run"
    return f"{of('section')}: {code(str(line.get('command', '')))} ({result})"


def markdown(incident: Incident) -> str:
    """The draft."""
    return "\n".join(_lines(incident)) + "\n"


def _lines(incident: Incident) -> Iterator[str]:
    since, until = utc(incident.since), utc(incident.until)
    took = span((until - since).total_seconds())
    yield f"# Incident of {since:%Y-%m-%d %H:%M} UTC"
    yield ""
    yield f"A draft from what was recorded between {since:%Y-%m-%d %H:%M:%S} and"
    yield f"{until:%Y-%m-%d %H:%M:%S} ({took}). Times are UTC."
    for note in incident.notes:
        yield f"\n{text(note)}"
    if incident.cut:
        yield f"\nNot whole: there were more than {MOST} {' and '.join(sorted(incident.cut))}."
    yield from ("", "## Findings", "")
    yield from _table(
        ("finding", "severity", "first seen", "closed", "lasted", "what"),
        (_finding_cells(each, incident) for each in incident.findings),
        "None was open.",
    )
    yield from ("", "## What happened", "")
    events = sorted(incident.events, key=lambda event: event.at)
    yield from (f"- {event.at:%Y-%m-%d %H:%M:%S} {event.what}" for event in events)
    if not events:
        yield "Nothing is on record."
    yield from ("", "## Tasks", "")
    yield from _table(
        ("what was done", "task", "number"),
        ((text(a), text(path), str(n)) for (a, path), n in incident.tasks.most_common(50)),
        "No task was touched.",
    )
    for heading in TO_WRITE:
        yield from ("", f"## {heading}", "", "*To be written.*")


def _finding_cells(finding: Finding, incident: Incident) -> tuple[str, ...]:
    end = utc(finding.closed_at or incident.until)
    return (
        text(str(finding)),
        text(finding.severity),
        f"{utc(finding.first_seen_at):%Y-%m-%d %H:%M:%S}",
        f"{end:%Y-%m-%d %H:%M:%S}" if finding.closed_at else "open",
        span((end - utc(finding.first_seen_at)).total_seconds()),
        text(finding.summary),
    )


def _table(titles: tuple[str, ...], rows: Iterable[tuple[str, ...]], none: str) -> Iterator[str]:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    if not lines:
        yield none
        return
    yield f"| {' | '.join(titles)} |"
    yield "|" + "---|" * len(titles)
    yield from lines


def utc(moment: datetime) -> datetime:
    """In UTC. Without a zone it is as the database holds it."""
    if moment.tzinfo is None:
        return moment.replace(tzinfo=timezone.utc)
    return moment.astimezone(timezone.utc)


def text(value: str) -> str:
    """As plain text of Markdown, on one line."""
    # An underscore within a word, as in a task's path, is no mark.
    marks = r"([\\`*\[\]<>|~&]|(?<![^\W_])_|_(?![^\W_]))"
    return re.sub(marks, r"\\\1", clean(value))


def code(value: str) -> str:
    """As code of Markdown, on one line."""
    line = clean(value)
    longest = max((len(each) for each in re.findall("`+", line)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if line[:1] == "`" or line[-1:] == "`" or not line else ""
    return f"{fence}{pad}{line}{pad}{fence}"
