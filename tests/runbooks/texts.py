"""Texts of pages, made right by default and wrong in one place."""

from __future__ import annotations

from pathlib import Path

from argus_maint.runbooks.page import Page, parse_text

MATTER = """\
---
alert: NoWorkers
severity: critical
summary: No worker is running at all
fault: no-workers
variables: QUEUE, WORKER
supervisors: hand, systemd
---
"""


def text(diagnosis: str = "", mitigation: str = "", verify: str = "", matter: str = MATTER) -> str:
    """A page whose sections hold these commands."""
    return f"""{matter}
# NoWorkers

## Meaning

No worker.

## Impact

Nothing runs.

## Diagnosis

The queue is `$QUEUE`, the worker `$WORKER`.

{diagnosis or console("$ true")}

## Mitigation

{mitigation or console("$ true")}

## Verify

{verify or console("$ true")}

## Escalation

Call somebody.
"""


def console(content: str, attributes: str = "") -> str:
    """A console fence."""
    return f"```console {attributes}".rstrip() + f"\n{content}\n```"


def page(diagnosis: str = "", mitigation: str = "", verify: str = "", matter: str = MATTER) -> Page:
    """The same, read."""
    return parse_text(Path("NoWorkers.md"), text(diagnosis, mitigation, verify, matter))
