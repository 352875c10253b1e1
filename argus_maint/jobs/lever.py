"""What a lever is asked for, by whom and why; and what became of one task."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from enum import Enum


class Verb(str, Enum):
    """What to do with a task."""

    REQUEUE = "requeue"
    FAIL = "fail"
    RELEASE = "release"  # a quarantined one, with a new start
    DISCARD = "discard"  # a FAILED one has been seen to
    MOVE = "move"  # a READY one, to another queue
    PRIORITY = "priority"  # of a READY one


class Outcome(str, Enum):
    """What became of one task."""

    DONE = "done"
    NOTHING = "nothing"  # it is as it was asked to be
    REFUSED = "refused"
    CHANGED = "changed"  # another was quicker
    YOUNG = "young"  # unregistered, and not seen for long enough
    LOCKED = "locked"
    ERROR = "error"
    ASKED = "asked"  # its worker is to be ended; that has not happened yet


COULD_NOT = {Outcome.REFUSED, Outcome.LOCKED, Outcome.ERROR, Outcome.ASKED}


@dataclass(frozen=True, slots=True)
class Lever:
    """What is asked for, by whom and why.

    ``unregistered_after`` allows tasks under an unknown worker that we have seen RUNNING
    for that many seconds; ``again`` allows SUCCESSFUL tasks. ``only`` names the status in
    which the tasks were found: one that has another by now is left alone. ``kill`` has the
    worker of a running task ended first. ``to`` is the queue that tasks are moved to.
    """

    verb: Verb
    using: str
    noticed_by: str
    why: str = ""
    only: str = ""
    again: bool = False
    unregistered_after: float | None = None
    dry_run: bool = False
    kill: bool = False
    to: str = ""
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one task, and why."""

    task_id: uuid.UUID | str  # a word of its own on another backend than the task table
    task_path: str
    status: str  # before
    outcome: Outcome
    message: str
