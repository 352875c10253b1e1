"""What a storage pass has done: its acts, each with an outcome, and the time it has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from argus_maint.clock import now
from argus_maint.conf_storage import Storage
from argus_maint.log import get_logger

LOCK_WAIT = 1.0  # seconds that an act waits for a lock before it leaves it to the next pass

logger = get_logger("argus_maint.jobs.storage")


class Outcome(str, Enum):
    """What became of an act."""

    DONE = "done"
    WOULD = "would"  # in a dry run
    LATER = "later"  # out of time, or not due yet: the next pass goes on
    BLOCKED = "blocked"  # somebody else's lock or transaction was in the way
    FAILED = "failed"


TROUBLES = (Outcome.BLOCKED, Outcome.FAILED)


@dataclass(frozen=True, slots=True)
class Act:
    """One thing done to the database, or not."""

    act: str  # incremental_vacuum, checkpoint, optimize, drop_index, reindex, analyze
    outcome: Outcome
    subject: str = ""  # an index or a table; empty for the file
    detail: str = ""
    bytes_before: int | None = None
    bytes_after: int | None = None
    seconds: float = 0.0


@dataclass(slots=True)
class Round:
    """One pass under way. ``progress(what, done, total)`` is told how it goes."""

    using: str
    storage: Storage
    deadline: float  # on argus_maint.clock
    dry_run: bool = False
    progress: Callable[[str, int, int], None] = lambda what, done, total: None
    acts: list[Act] = field(default_factory=list)

    @property
    def left(self) -> float:
        """Seconds that remain."""
        return max(0.0, self.deadline - now())

    def note(self, act: str, outcome: Outcome, began: float | None = None, **values: Any) -> None:
        """Keep an act, and log it unless it was only thought of."""
        seconds = 0.0 if began is None else round(now() - began, 3)
        self.acts.append(Act(act, outcome, seconds=seconds, **values))
        if outcome is Outcome.WOULD:
            return
        loud = {Outcome.BLOCKED: logger.warning, Outcome.FAILED: logger.error}
        report = loud.get(outcome, logger.info)
        report(
            "storage.act",
            act=act,
            outcome=outcome.value,
            database=self.using,
            seconds=seconds,
            **{key: value for key, value in values.items() if value not in (None, "")},
        )
