"""Findings as rows, and pages in a folder of the test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from argus_maint.models import Finding
from tests.observe import notes


def finding(
    object: str = "emails", *, code: str = "NoWorkers", age: float = 60, **values: Any
) -> Finding:
    """An open finding, ``age`` seconds old."""
    values = {
        "severity": "critical",
        "summary": "no worker is running",
        "evidence": {"queue": object},
        "noticed_by": "w1@host",
        **values,
    }
    return notes.finding(code, object, age=age, **values)


def put(folder: Path, source: str, code: str = "NoWorkers") -> Path:
    """A page in a folder."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{code}.md"
    path.write_text(source, encoding="utf-8")
    return path
