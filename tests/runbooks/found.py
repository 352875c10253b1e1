"""Findings as rows, and pages in a folder of the test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from argus_maint.findings.observation import fingerprint
from argus_maint.models import Finding
from tests.rows import db_now, timedelta


def finding(
    object: str = "emails", *, code: str = "NoWorkers", age: float = 60, **values: Any
) -> Finding:
    """An open finding, ``age`` seconds old."""
    since = db_now("default") - timedelta(seconds=age)
    closed = values.get("state") == "closed"
    return Finding.objects.create(
        **{
            "code": code,
            "object": object,
            "fingerprint": fingerprint(code, object),
            "live": None if closed else fingerprint(code, object),
            "severity": "critical",
            "state": "open",
            "summary": "no worker is running",
            "evidence": {"queue": object},
            "first_seen_at": since,
            "last_seen_at": since,
            "opened_at": since,
            "closed_at": db_now("default") if closed else None,
            "noticed_by": "w1@host",
            **values,
        }
    )


def put(folder: Path, source: str, code: str = "NoWorkers") -> Path:
    """A page in a folder."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{code}.md"
    path.write_text(source, encoding="utf-8")
    return path
