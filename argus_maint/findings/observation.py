"""What one pass has seen: the raw matter of a finding."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LONGEST = 191  # characters of an object's name


@dataclass(frozen=True, slots=True)
class Observation:
    """One condition, as it is now.

    Attributes:
        code: a name in ``conf_findings.CODES``.
        object: what it is about, in words that stay the same from pass to pass: a queue,
            a task's path or id, a worker's name, a job; empty for the site as a whole.
        summary: what is the matter, in one line with its figures.
        evidence: JSON values. The keys that a runbook's variables are filled from are in
            lower case: ``queue`` fills ``$QUEUE``, ``task_id`` fills ``$TASK_ID``.
        severity: where it differs from the code's.
    """

    code: str
    object: str = ""
    summary: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    severity: str = ""

    @property
    def fingerprint(self) -> str:
        """The same for the same condition, on every host and in every pass."""
        return fingerprint(self.code, self.object)


def fingerprint(code: str, object: str) -> str:
    """What a finding is recognised by."""
    return hashlib.sha256(f"{code}\n{object[:LONGEST]}".encode()).hexdigest()[:40]
