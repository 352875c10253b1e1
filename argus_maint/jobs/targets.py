"""Which tasks a person means: ids, beginnings of ids, or all that fit a description.

Only ids are kept, at most ``MOST`` of them, so a description may fit any number.
Raises ``WrongTarget``, one line each, for what cannot be meant.
"""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from django.db.models import QuerySet
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from argus_maint.backends import search
from argus_maint.backends.database import FAILED, READY, Attempt
from argus_maint.backends.search import Filter
from argus_maint.exceptions import TaskDiscarded, TaskQuarantined
from argus_maint.jobs.objections import path_of
from argus_maint.observe.census import Census

MOST = 100_000  # tasks of one run
SHORTEST = 4  # hex digits
RIVALS = 4  # candidates named for an ambiguous beginning


class WrongTarget(Exception):
    """What was asked for names no task, or more than one. The text may have several lines."""


@dataclass(slots=True)
class Targets:
    """The tasks that are meant."""

    ids: list[uuid.UUID] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)  # what they are, for a question
    more: bool = False  # there are more than ``MOST``

    def add(self, attempt: Attempt, note: str = "") -> bool:
        """Add one; False when there is no room."""
        if len(self.ids) >= MOST:
            self.more = True
            return False
        self.ids.append(attempt.task_id)
        self.kinds[f"{attempt.task_path} ({note})" if note else attempt.task_path] += 1
        return True


def hexdigits(token: str) -> str:
    """The hex digits of an id or its beginning. Raises ValueError."""
    digits = token.replace("-", "").lower()
    if not re.fullmatch(r"[0-9a-f]{1,32}", digits, re.ASCII):
        raise ValueError(f"{token!r} is no task id: ids are hex digits, as in 0f3c9a1e")
    if len(digits) < SHORTEST:
        raise ValueError(f"{token!r} is too short: give at least {SHORTEST} hex digits of the id")
    return digits


def by_tokens(tokens: Sequence[str], using: str) -> Targets:
    """Tasks by ids or beginnings of ids; raises with one line for each that is wrong."""
    targets, wrong = Targets(), []
    for token in dict.fromkeys(hexdigits(token) for token in tokens):
        rows = search.by_prefix(token, using, RIVALS + 1)
        if not rows:
            wrong.append(f"No task has an id that begins with {token}.")
        elif len(rows) > 1:
            wrong.append(ambiguous(token, [(r.attempt.task_id, r.attempt.task_path) for r in rows]))
        elif rows[0].attempt.task_id not in targets.ids:
            targets.add(rows[0].attempt)
    if wrong:
        raise WrongTarget("\n".join(wrong))
    return targets


def ambiguous(token: str, rivals: Sequence[tuple[uuid.UUID, str]]) -> str:
    """The line for a beginning that several ids have."""
    named = ", ".join(f"{task_id} ({path})" for task_id, path in rivals[:RIVALS])
    more = ", and more" if len(rivals) > RIVALS else ""
    return f"{token} is ambiguous: {named}{more}."


def failed(using: str, wanted: Filter, since: float | None = None) -> Targets:
    """FAILED tasks, those of the last ``since`` seconds (host time) where given."""
    after = timezone.now() - timedelta(seconds=since) if since is not None else None
    return _all(search.finished(using, FAILED, since=after), wanted, with_exception=True)


def unseen(using: str, wanted: Filter, since: float | None = None) -> Targets:
    """As ``failed``, without those that a person has given up or seen to."""
    after = timezone.now() - timedelta(seconds=since) if since is not None else None
    rows = search.finished(using, FAILED, since=after)
    rows = rows.exclude(exception_class_path=path_of(TaskDiscarded))
    return _all(rows, wanted, with_exception=True)


def quarantined(using: str, wanted: Filter) -> Targets:
    """FAILED tasks that have lost too many workers. Reads the whole table."""
    rows = search.finished(using, FAILED).filter(exception_class_path=path_of(TaskQuarantined))
    return _all(rows, wanted)


def ready(using: str, wanted: Filter, older_than: float | None) -> Targets:
    """READY tasks, due or not, enqueued at least ``older_than`` seconds ago (host time)."""
    rows = DBTaskResult.objects.using(using).filter(status=READY)
    if older_than is not None:
        rows = rows.filter(enqueued_at__lte=timezone.now() - timedelta(seconds=older_than))
    return _all(rows, wanted)


def _all(rows: QuerySet[DBTaskResult], wanted: Filter, *, with_exception: bool = False) -> Targets:
    targets = Targets()
    for page in search.pages(wanted.narrow(rows)):
        for row in page:
            note = row.exception.rpartition(".")[2] if with_exception else ""
            if wanted.matches(row.attempt) and not targets.add(row.attempt, note):
                return targets
    return targets


def unregistered(census: Census, wanted: Filter, worker: str | None = None) -> Targets:
    """Tasks that run under a worker nobody registered, young sightings included.

    ``worker``: only those of this worker id, all of it.
    """
    targets = Targets()
    for each in census.of_state("unregistered"):
        if worker is not None and each.attempt.owner != worker:
            continue
        if wanted.matches(each.attempt) and not targets.add(each.attempt):
            break
    return targets
