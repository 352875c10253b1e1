"""The book of findings: opened and closed with patience, and kept as history.

Using it::

    outcome = record(observations, looked_for, "scheduler-1", using)  # one pass
    open_findings(using)                                              # the most urgent first
    acknowledge("QueueBacklog", "bulk", "alice@web1", "import runs", 7200, using)
    resolve("ZombieWrite", "w1", "alice@web1", "looked at it", using)

A condition is *pending* until ``opens_after`` passes in a row have seen it, then *open*
until ``closes_after`` passes in a row have not, then *closed*. A pending one that a pass does
not see is forgotten. A pass judges only the codes that it looked for: where a detector
failed nothing closes.

Many may write at the same time: a condition has one live row (``Finding.live`` is unique),
and a row is changed only as it was read, so one pass is not counted over another's. Each
row is a short transaction of its own.

``MOST`` objects of a code have a row of their own; what goes beyond is one row, ``OTHERS``.

Errors: those of the database, a lock included (``database.is_locked``).

Events: ``finding.opened`` (warning), ``finding.closed``, ``finding.acked``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError
from django.db.models import Max, QuerySet

from argus_maint import traces
from argus_maint.conf import get_settings
from argus_maint.conf_findings import SEVERITIES, Code
from argus_maint.database import short_transaction
from argus_maint.dbtime import DbNow, db_now
from argus_maint.findings.observation import LONGEST, Observation
from argus_maint.log import get_logger
from argus_maint.models import Finding
from argus_maint.scheduling.plain import plain

logger = get_logger(__name__)

WAIT = 1.0  # seconds for any lock
MOST = 20  # objects of one code
NAMED = 10  # of the others, by name
OTHERS = "(others)"
_ACK = ("acked_by", "acked_at", "acked_until", "acked_why")
PENDING, OPEN, CLOSED = Finding.State.PENDING, Finding.State.OPEN, Finding.State.CLOSED


@dataclass(slots=True)
class Outcome:
    """What a pass has changed. ``updated`` has what was open or pending, and was seen again."""

    opened: list[Finding] = field(default_factory=list)
    updated: list[Finding] = field(default_factory=list)
    closed: list[Finding] = field(default_factory=list)


# -- one pass ---------------------------------------------------------------------------


def record(
    observations: Iterable[Observation],
    looked_for: Collection[str],
    noticed_by: str,
    using: str,
    began: datetime | None = None,
    blind: Collection[str] = (),
) -> Outcome:
    """Write down what a pass has seen; ``looked_for`` has the codes it could judge.

    What is about a task backend in ``blind``, of which nothing could be seen, stays as it is.

    ``began`` is when it began to look, by the database's clock. What a person has resolved
    since is not opened anew by what was seen before that.
    """
    codes, outcome = get_settings().findings, Outcome()
    live = {each.fingerprint: each for each in _live(using)}
    wanted = [each for each in observations if codes[each.code].enabled]
    seen = {each.fingerprint: each for each in _bounded(wanted, live)}
    for each in seen.values():
        known = live.get(each.fingerprint)
        if known is None:
            last = _last(each.fingerprint, using)
            if not _resolved_since(last, began):
                _begin(each, codes[each.code], noticed_by, last, using, outcome)
        else:
            _see_again(known, each, codes[each.code], using, outcome)
    for fingerprint, known in live.items():
        unseen = known.evidence.get("backend") in blind
        if fingerprint not in seen and known.code in looked_for and not unseen:
            _miss(known, codes[known.code], using, outcome)
    return outcome


def _live(using: str) -> list[Finding]:
    """Pending and open ones, looked up by an index; most of the table is closed."""
    return list(Finding.objects.using(using).filter(live__gt=""))


def _bounded(observations: Sequence[Observation], live: Collection[str]) -> list[Observation]:
    """At most ``MOST`` of a code, those that have a row first, and the rest as one."""
    by_code: dict[str, dict[str, Observation]] = {}
    for each in observations:
        by_code.setdefault(each.code, {}).setdefault(each.fingerprint, each)
    kept: list[Observation] = []
    for code, found in by_code.items():
        ranked = sorted(found.values(), key=lambda each: each.fingerprint not in live)
        kept += ranked[:MOST]
        if rest := ranked[MOST:]:
            names = [each.object for each in rest[:NAMED]]
            summary = f"and {len(rest):,} more: {', '.join(names)}"
            summary += ", ..." if len(rest) > NAMED else ""
            evidence = {"more": len(rest), "objects": names}
            kept.append(Observation(code, OTHERS, summary, evidence))
    return kept


def _columns(seen: Observation, code: Code) -> dict[str, Any]:
    """What the newest sight of a condition says."""
    return {
        "severity": seen.severity or code.severity,
        "summary": " ".join(plain(seen.summary or code.summary).split()),
        "evidence": plain(dict(seen.evidence)),
    }


def _begin(
    seen: Observation,
    code: Code,
    noticed_by: str,
    last: Finding | None,
    using: str,
    outcome: Outcome,
) -> None:
    opens = code.opens_after <= 1
    finding = Finding(
        code=seen.code,
        object=seen.object[:LONGEST],
        fingerprint=seen.fingerprint,
        live=seen.fingerprint,
        state=OPEN if opens else PENDING,
        seen=1,
        first_seen_at=DbNow(),
        last_seen_at=DbNow(),
        opened_at=DbNow() if opens else None,
        noticed_by=noticed_by[:160],
        **_columns(seen, code),
        **_still_acked(last, using),
    )
    try:
        with short_transaction(using, WAIT):
            finding.save(using=using, force_insert=True)
    except IntegrityError:  # another pass was quicker: it has counted this one
        return
    if opens:
        _opened(finding, outcome)


def _last(fingerprint: str, using: str) -> Finding | None:
    """The one of this condition that was closed last."""
    rows = Finding.objects.using(using).filter(fingerprint=fingerprint, state=CLOSED)
    return rows.order_by("-closed_at").first()


def _resolved_since(last: Finding | None, began: datetime | None) -> bool:
    if last is None or last.closed_at is None or began is None:
        return False
    return bool(last.closed_by) and last.closed_at >= began


def _still_acked(last: Finding | None, using: str) -> dict[str, Any]:
    """An acknowledgement for two hours holds so long, also where it closed and is back."""
    if last is None or last.closed_by or not is_acked(last, db_now(using)):
        return {}
    return {name: getattr(last, name) for name in _ACK}


def _see_again(known: Finding, seen: Observation, code: Code, using: str, outcome: Outcome) -> None:
    values: dict[str, Any] = {**_columns(seen, code), "seen": known.seen + 1, "unseen": 0}
    opens = known.state == PENDING and known.seen + 1 >= code.opens_after
    if opens:
        values |= {"state": OPEN, "opened_at": DbNow()}
    if not _changed(known, using, last_seen_at=DbNow(), **values):
        return
    if opens:
        _opened(known, outcome)
    else:
        outcome.updated.append(known)


def _miss(known: Finding, code: Code, using: str, outcome: Outcome) -> None:
    if known.state == PENDING:
        with short_transaction(using, WAIT):
            # In one statement: where somebody listens to deletions, Django reads the rows
            # first, and deletes them by their keys, whatever has become of them.
            _as_read(known, using)._raw_delete(using)
        return
    if code.enabled and known.unseen + 1 < code.closes_after:
        _changed(known, using, seen=0, unseen=known.unseen + 1)
    elif _changed(known, using, seen=0, unseen=known.unseen + 1, **_CLOSE):
        _closed(known, outcome.closed)


_CLOSE: dict[str, Any] = {"state": CLOSED, "live": None, "closed_at": DbNow()}


def _as_read(known: Finding, using: str) -> QuerySet[Finding]:
    return Finding.objects.using(using).filter(
        pk=known.pk, state=known.state, seen=known.seen, unseen=known.unseen
    )


def _changed(known: Finding, using: str, **values: Any) -> bool:
    """Change a row if it still is as it was read, and the object with it."""
    with short_transaction(using, WAIT):
        if not _as_read(known, using).update(**values):
            return False
    for name, value in values.items():
        if not isinstance(value, DbNow):
            setattr(known, name, value)
    return True


def _opened(finding: Finding, outcome: Outcome) -> None:
    outcome.opened.append(finding)
    logger.warning(
        "finding.opened",
        code=finding.code,
        object=finding.object,
        severity=finding.severity,
        summary=finding.summary,
    )


def _closed(finding: Finding, closed: list[Finding]) -> None:
    closed.append(finding)
    logger.info("finding.closed", code=finding.code, object=finding.object, by=finding.closed_by)


# -- by hand ----------------------------------------------------------------------------


def acknowledge(
    code: str, object: str | None, by: str, why: str, seconds: float, using: str
) -> list[Finding]:
    """A person knows of it, for so long: it stays open, and no longer counts as news.

    Without an object, every open finding of the code. Returns them; none where none is open.
    """
    # By the database's clock, to which it is compared.
    until = db_now(using) + timedelta(seconds=seconds)
    values = {"acked_by": by, "acked_at": DbNow(), "acked_until": until, "acked_why": why}
    details = {"seconds": seconds}
    return _by_hand("ack", code, object, by, why, values, details, using)


def unacknowledge(code: str, object: str | None, by: str, why: str, using: str) -> list[Finding]:
    """Take an acknowledgement back."""
    values = {"acked_by": "", "acked_at": None, "acked_until": None, "acked_why": ""}
    return _by_hand("unack", code, object, by, why, values, {}, using)


def resolve(code: str, object: str | None, by: str, why: str, using: str) -> list[Finding]:
    """A person has dealt with it: it closes now.

    What lasts is seen by the next pass, and opens anew. What has happened (a refused write,
    losses, failures, deaths) counts only from now on.
    """
    values = {**_CLOSE, "closed_by": by, "closed_why": why}
    return _by_hand("resolve", code, object, by, why, values, {}, using)


def _by_hand(
    verb: str,
    code: str,
    object: str | None,
    by: str,
    why: str,
    values: dict[str, Any],
    details: dict[str, Any],
    using: str,
) -> list[Finding]:
    done: list[Finding] = []
    for each in open_findings(using, code, object):
        with short_transaction(using, WAIT):
            # A pass may see it meanwhile, which is no reason not to.
            row = Finding.objects.using(using).filter(pk=each.pk, state=OPEN)
            if not row.update(**values):
                continue
            facts = {"code": each.code, "object": each.object, **details}
            traces.leave(verb, str(each), by, why, using, **facts)
        each.refresh_from_db(using=using)
        if verb == "resolve":
            _closed(each, done)
        else:
            done.append(each)
            until = each.acked_until.isoformat() if each.acked_until else ""
            logger.info(
                "finding.acked", code=each.code, object=each.object, by=by, until=until, why=why
            )
    return done


# -- reading it -------------------------------------------------------------------------


def open_findings(using: str, code: str = "", object: str | None = None) -> list[Finding]:
    """What is open, acknowledged or not: the most urgent first, then the oldest."""
    rows = Finding.objects.using(using).filter(live__gt="", state=OPEN)
    if code:
        rows = rows.filter(code=code)
    if object is not None:
        # MariaDB's usual collations take "bulk" and "Bulk" for one object.
        exactly = object[:LONGEST]
        found = [each for each in rows.filter(object=exactly) if each.object == exactly]
        return sorted(found, key=_urgency)
    return sorted(rows, key=_urgency)


def _urgency(finding: Finding) -> tuple[int, Any, int]:
    known = finding.severity in SEVERITIES
    rank = SEVERITIES.index(finding.severity) if known else len(SEVERITIES)
    return rank, finding.first_seen_at, finding.pk


def is_acked(finding: Finding, now: datetime) -> bool:
    """Whether an acknowledgement holds at ``now``, by the database's clock."""
    return finding.acked_until is not None and finding.acked_until > now


def closed(
    using: str, since: datetime | None = None, code: str = "", most: int = 100
) -> list[Finding]:
    """What has closed, the last first."""
    rows = Finding.objects.using(using).filter(state=CLOSED, closed_at__isnull=False)
    if since is not None:
        rows = rows.filter(closed_at__gte=since)
    if code:
        rows = rows.filter(code=code)
    return list(rows.order_by("-closed_at", "-pk")[:most])


def resolved_at(code: str, since: datetime, using: str) -> dict[str, datetime]:
    """When a person last resolved a finding of this code, by its object.

    Who counts what has happened counts from there.
    """
    rows = Finding.objects.using(using).filter(state=CLOSED, code=code, closed_at__gte=since)
    last = rows.exclude(closed_by="").order_by().values_list("object")
    return dict(last.annotate(Max("closed_at")))
