"""One line of ``maint doctor``: what was found, why it matters, and what to do."""

from __future__ import annotations

from dataclasses import dataclass

OK, WARN, BAD = "ok", "warn", "bad"


@dataclass(frozen=True, slots=True)
class Line:
    """What was found about one thing. One that is ``ok`` may need no reason, and no fix."""

    level: str
    topic: str
    found: str
    why: str = ""
    fix: str = ""


def ok(topic: str, found: str, why: str = "") -> Line:
    """All is well."""
    return Line(OK, topic, found, why)


def warn(topic: str, found: str, why: str, fix: str) -> Line:
    """It works, and will not work well, or not for ever."""
    return Line(WARN, topic, found, why, fix)


def bad(topic: str, found: str, why: str, fix: str) -> Line:
    """It does not work, or not as it is meant to."""
    return Line(BAD, topic, found, why, fix)
