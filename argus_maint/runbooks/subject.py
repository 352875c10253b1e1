"""Which finding a runbook is opened for.

The open ones of its code, newest first. With an object: that finding, or the newest closed
one of it, for a person may still be reading when it closes.
"""

from __future__ import annotations

from argus_maint.findings import book
from argus_maint.models import Finding
from argus_maint.options import did_you_mean

MOST = 50  # findings of one code that are listed


class NoFinding(LookupError):
    """No finding of this code is about this object; ``str()`` is one line."""


def open_findings(using: str, code: str = "") -> list[Finding]:
    """Open findings, of one code or all, newest first."""
    rows = book.open_findings(using, code)
    return sorted(rows, key=lambda each: (each.opened_at, each.pk), reverse=True)[:MOST]


def about(using: str, code: str, object: str, open_ones: list[Finding]) -> Finding:
    """The finding about an object, by its name or an unmistakable beginning of it."""
    exact = [each for each in open_ones if each.object == object]
    near = exact or [each for each in open_ones if each.object.startswith(object)]
    if len(near) == 1:
        return near[0]
    if not near:
        rows = Finding.objects.using(using).filter(code=code, object=object)
        closed = rows.filter(state=Finding.State.CLOSED).order_by("-closed_at", "-pk").first()
        if closed is not None:
            return closed
    objects = [each.object for each in near or open_ones]
    if near:
        raise NoFinding(f"Several open findings of {code} begin with {object!r}.")
    raise NoFinding(f"No finding of {code} is about {object!r}.{did_you_mean(object, objects)}")
