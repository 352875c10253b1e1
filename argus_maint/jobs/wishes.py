"""Wishes: a person wants a running attempt ended, and then its task failed or requeued.

A wish stands on the row of the worker that runs the attempt (``Process.info``), so it
reaches that worker's supervisor from any host, and outlives a keeper. The keeper's pass
finds it and marks the attempt on the board; the supervisor ends the worker, if it still
holds that very attempt; and whoever then finds the task lost does as wished, and not as
the policy says.

``record`` writes one, ``of`` reads the one about an attempt, ``apply`` puts it into a
ledger entry, ``wait`` says what became of those that were recorded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

from argus_maint.backends import database
from argus_maint.backends.database import Attempt
from argus_maint.clock import now
from argus_maint.database import short_transaction
from argus_maint.exceptions import TaskDiscarded
from argus_maint.models import LedgerEntry, Process
from argus_maint.workers.registry import ENDED

KEY = "wish"
LOOK = 0.2  # seconds between looks at what became of it


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person wants done with one attempt."""

    task_id: str
    attempt: int
    verb: str  # "fail" or "requeue"
    by: str
    why: str = ""


def record(wish: Wish, owner: Process, using: str) -> bool:
    """Put a wish on the worker's row, in place of an earlier one; False where it has ended."""
    with short_transaction(using, 1.0):
        row = Process.objects.using(using).filter(pk=owner.pk).exclude(state=ENDED)
        return bool(row.update(info={**owner.info, KEY: asdict(wish)}))


def of(owner: Process | None, attempt: Attempt) -> Wish | None:
    """The wish about this very attempt."""
    known = owner.info.get(KEY) if owner is not None else None
    try:
        wish = Wish(**known) if known else None
    except TypeError:  # written by another version
        return None
    if wish is None or (wish.task_id, wish.attempt) != (str(attempt.task_id), attempt.number):
        return None
    return wish


def apply(wish: Wish, entry: LedgerEntry) -> type | None:
    """Turn the entry of a lost attempt into that of a wish; the exception class of a failure."""
    entry.losses -= int(entry.counted)
    entry.verdict, entry.counted, entry.noticed_by = LedgerEntry.Verdict.MANUAL, False, wish.by
    failed = wish.verb == "fail"
    entry.action = LedgerEntry.Action.FAILED if failed else LedgerEntry.Action.REQUEUED
    why = f" Why: {wish.why}" if wish.why else ""
    entry.evidence = (
        f"{entry.action} by hand by {wish.by}, who had its worker ended; {entry.evidence}.{why}"
    )
    return TaskDiscarded if failed else None


def wait(
    attempts: Iterable[Attempt], using: str, seconds: float, tell: Callable[[Attempt, str], None]
) -> None:
    """Tell of each attempt once its task has moved on, and why: done, else, or not at all."""
    left, until = list(attempts), now() + seconds
    while left:
        late = now() > until
        for attempt in list(left):
            there = database.still_there(attempt, using)
            if there and not late:
                continue
            left.remove(attempt)
            tell(attempt, "" if there else "done" if _acted(attempt, using) else "else")
        time.sleep(LOOK if left else 0)


def _acted(attempt: Attempt, using: str) -> bool:
    entries = LedgerEntry.objects.using(using).filter(task_id=attempt.task_id)
    return entries.filter(attempt=attempt.number, verdict=LedgerEntry.Verdict.MANUAL).exists()
