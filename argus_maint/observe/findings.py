"""Findings for people and for JSON."""

from __future__ import annotations

import shlex
from datetime import datetime
from typing import Any

from django.utils import timezone
from rich.text import Text

from argus_maint.conf_findings import CRITICAL, INFO, WARNING
from argus_maint.findings.book import is_acked
from argus_maint.findings.observation import Observation
from argus_maint.models import Finding
from argus_maint.observe.history import iso
from argus_maint.observe.screen import BAD, DIM, HEAD, WARN, join, span, styled
from argus_maint.runbooks.calling import pasted

SEVERITY_STYLES = {CRITICAL: BAD, WARNING: WARN, INFO: ""}
WIDEST = len(CRITICAL)


def runbook(code: str, object: str) -> str:
    """The command that shows what to do."""
    # What begins with a dash would be taken for an option.
    words = [*(["--"] if object.startswith("-") else []), object] if object else []
    return shlex.join(["manage.py", "maint", "runbook", code, *words])


def as_dict(finding: Finding) -> dict[str, Any]:
    """One finding as ``schemas/findings.json`` has it."""
    acked = None
    if finding.acked_until is not None:
        acked = {
            "by": finding.acked_by,
            "at": iso(finding.acked_at),
            "until": iso(finding.acked_until),
            "why": finding.acked_why,
        }
    return {
        "code": finding.code,
        "object": finding.object,
        "severity": finding.severity,
        "state": str(finding.state),
        "summary": finding.summary,
        "evidence": finding.evidence,
        "first_seen_at": iso(finding.first_seen_at),
        "last_seen_at": iso(finding.last_seen_at),
        "opened_at": iso(finding.opened_at),
        "closed_at": iso(finding.closed_at),
        "closed_by": finding.closed_by,
        "closed_why": finding.closed_why,
        "noticed_by": finding.noticed_by,
        "acked": acked,
        "runbook": runbook(finding.code, finding.object),
    }


def observation_as_dict(seen: Observation) -> dict[str, Any]:
    """What one look has seen, and nobody has written down."""
    return {
        "code": seen.code,
        "object": seen.object,
        "summary": seen.summary,
        "evidence": dict(seen.evidence),
        "runbook": runbook(seen.code, seen.object),
    }


def lines(finding: Finding, now: datetime) -> list[Text]:
    """A finding for people: what, since when, and the command that comes next."""
    acked = is_acked(finding, now)
    style = DIM if acked else SEVERITY_STYLES.get(finding.severity, "")
    since = span((now - finding.first_seen_at).total_seconds())
    over = ""
    if finding.closed_at is not None:
        by = f" by {finding.closed_by}: {finding.closed_why}" if finding.closed_by else ""
        over = f"  closed {span((now - finding.closed_at).total_seconds())} ago{by}"
    head = join(
        styled(f"{finding.severity:<{WIDEST}}", style),
        "  ",
        styled(str(finding), DIM if acked else HEAD),
        styled(over or f"  since {since}", DIM),
    )
    found = [head, styled(f"    {finding.summary}", DIM if acked else "")]
    if acked and finding.acked_until is not None:
        until = timezone.localtime(finding.acked_until) if now.tzinfo else finding.acked_until
        what = f"    acked by {finding.acked_by} until {until:%Y-%m-%d %H:%M}: {finding.acked_why}"
        found.append(styled(what, DIM))
    elif not over:
        found.append(styled(f"    {pasted(runbook(finding.code, finding.object))}", DIM))
    return found


def observation_lines(seen: Observation) -> list[Text]:
    """The same of what nobody has written down."""
    return [
        styled(f"{seen.code} {seen.object}".rstrip(), HEAD),
        styled(f"    {seen.summary}", ""),
        styled(f"    {pasted(runbook(seen.code, seen.object))}", DIM),
    ]
