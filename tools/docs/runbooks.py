"""The runbooks, as they lie in the repository, and an index of them by severity."""

from __future__ import annotations

import re
from pathlib import Path

from argus_maint import conf_findings
from tools.docs.text import code, page, prose, table

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "runbooks"
INDEX = "runbooks/index.md"
INTRO = """\
A **finding** is a condition that needs a person. Each has a code, and each code a page here:
what it means, whom it hurts, how to see it, how to end it, and how to know that it is over.

Every command on these pages is run in tests, against the real fault. `python manage.py maint
runbook CODE` shows a page on your terminal, filled in with the names of what is wrong just now.

Lines that begin with `$` are commands, those that begin with `>` go on with one. Below stands
what to expect: `...` is anything, and `[1]` at the end is an exit status."""


def sources() -> dict[str, Path]:
    """The pages by code; a README is for who looks at the folder."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.md")) if path.name != "README.md"}


def pages() -> dict[str, str]:
    """The index, and every page there is."""
    found = sources()
    return {INDEX: _index(found)} | {f"runbooks/{name}.md": _page(found[name]) for name in found}


def _page(path: Path) -> str:
    """The page; what lies in docs/ is one folder up in the site."""
    text = path.read_text(encoding="utf-8")
    return re.sub(r"\]\(\.\./docs/", "](../", text)


def _index(found: dict[str, Path]) -> str:
    parts = ["# Runbooks", INTRO]
    for severity in conf_findings.SEVERITIES:
        rows = [
            [f"[{name}]({name}.md)" if name in found else name, prose(each.summary)]
            for name, each in conf_findings.CODES.items()
            if each.severity == severity
        ]
        if rows:
            parts += [f"## {severity.capitalize()}", table(["code", "it says"], rows)]
    critical, warning, info = conf_findings.SEVERITIES
    parts.append(
        f"`maint check` exits 2 for a finding that is {code(critical)}, 1 for one that is "
        f"{code(warning)}, and 0 where all are {code(info)}. A site may give a code another "
        "severity, and other thresholds: see [Settings](../reference/settings.md#findings)."
    )
    return page(*parts)
