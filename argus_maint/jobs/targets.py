"""Which tasks a person means: ids, beginnings of ids, or all that fit a description.

Only ids are kept, at most ``MOST`` of them, so a description may fit any number. Tasks of the
table are named by the beginning of an id as well, those of other backends by all of it.
Raises ``WrongTarget``, one line each, for what cannot be meant.
"""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from django.db.models import QuerySet
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from argus_maint.backends import search
from argus_maint.backends.adapters import elsewhere
from argus_maint.backends.adapters.base import Adapter, Task, trouble_with
from argus_maint.backends.database import FAILED, READY, Attempt
from argus_maint.backends.search import Filter, Row
from argus_maint.exceptions import TaskDiscarded, TaskQuarantined
from argus_maint.jobs.objections import path_of
from argus_maint.observe.census import Census

T = TypeVar("T")

MOST = 100_000  # tasks of one run
SHORTEST = 4  # hex digits
RIVALS = 4  # candidates named for an ambiguous beginning


class WrongTarget(Exception):
    """What was asked for names no task, or more than one. The text may have several lines."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A task of a backend that keeps its tasks elsewhere than in the task table."""

    adapter: Adapter
    task_id: str


@dataclass(slots=True)
class Targets:
    """The tasks that are meant. ``troubles`` are backends that could not be asked."""

    ids: list[uuid.UUID] = field(default_factory=list)
    elsewhere: list[Elsewhere] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)  # what they are, for a question
    more: bool = False  # there are more than ``MOST``

    def __len__(self) -> int:
        return len(self.ids) + len(self.elsewhere)

    def add(self, attempt: Attempt, note: str = "") -> bool:
        """Add one; False when there is no room."""
        if self._room():
            self.ids.append(attempt.task_id)
            self._count(attempt.task_path, note)
        return not self.more

    def add_elsewhere(self, adapter: Adapter, task: Task) -> bool:
        """As ``add``."""
        if self._room():
            self.elsewhere.append(Elsewhere(adapter, task.handle.task_id))
            self._count(task.handle.task_path, task.error.rpartition(".")[2])
        return not self.more

    def _room(self) -> bool:
        self.more = self.more or len(self) >= MOST
        return not self.more

    def _count(self, path: str, note: str) -> None:
        self.kinds[f"{path} ({note})" if note else path] += 1


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
    targets, wrong, others = Targets(), [], Others(using)
    for token in dict.fromkeys(tokens):
        rows = _in_table(token, using)
        if len(rows) > 1:
            wrong.append(ambiguous(token, [(r.attempt.task_id, r.attempt.task_path) for r in rows]))
        elif rows and rows[0].attempt.task_id not in targets.ids:
            targets.add(rows[0].attempt)
        elif not rows and not others.add(token, targets):
            wrong.append(others.none_of(token))
    if wrong:
        raise WrongTarget("\n".join(wrong))
    return targets


def _in_table(token: str, using: str) -> list[Row]:
    try:
        return search.by_prefix(hexdigits(token), using, RIVALS + 1)
    except ValueError:
        return []


class Others:
    """The aliases of TASKS that keep their tasks elsewhere, asked for one task or for many."""

    def __init__(self, using: str, alias: str = "") -> None:
        self.adapters = elsewhere(using, alias, "tasks")
        self.troubles: list[str] = []

    def add(self, task_id: str, targets: Targets) -> bool:
        """Add the task of this id; False: nobody has it."""
        self.troubles = []
        spellings = [task_id]
        if re.fullmatch(r"[\da-f]{32}", task_id):  # typed with dashes or without
            spellings.append(str(uuid.UUID(task_id)))
        for adapter in self.adapters:
            for spelled in spellings:
                task = self._asked(adapter, partial(adapter.task, spelled))
                if task is not None:
                    targets.add_elsewhere(adapter, task)
                    return True
        return False

    def none_of(self, token: str) -> str:
        """The line for an id that nobody has."""
        try:
            line = f"No task has an id that begins with {hexdigits(token)}."
        except ValueError as error:
            line = f"{error}." if not self.adapters else f"No task has the id {token}."
        if self.adapters:
            names = ", ".join(each.alias for each in self.adapters)
            line += f" On {names} only whole ids are looked for."
        return line + "".join(f" Not asked: {each}." for each in self.troubles)

    def of_status(self, status: str, wanted: Filter) -> Iterator[tuple[Adapter, Task]]:
        """All of one status that ``wanted`` matches; who does not answer is a trouble."""
        for adapter in self.adapters:
            found = self._asked(adapter, partial(adapter.tasks, status, MOST)) or []
            yield from ((adapter, each) for each in found if _is_meant(wanted, adapter, each))

    def _asked(self, adapter: Adapter, ask: Callable[[], T]) -> T | None:
        try:
            return ask()
        except Exception as error:  # noqa: BLE001 - told
            self.troubles.append(trouble_with(adapter, error))
            return None


def _is_meant(wanted: Filter, adapter: Adapter, task: Task) -> bool:
    handle = task.handle
    return wanted.meant(handle.queue_name, adapter.alias, handle.task_path)


def ambiguous(token: str, rivals: Sequence[tuple[uuid.UUID, str]]) -> str:
    """The line for a beginning that several ids have."""
    named = ", ".join(f"{task_id} ({path})" for task_id, path in rivals[:RIVALS])
    more = ", and more" if len(rivals) > RIVALS else ""
    return f"{token} is ambiguous: {named}{more}."


def failed(using: str, wanted: Filter, since: float | None = None) -> Targets:
    """FAILED tasks, those of the last ``since`` seconds (host time) where given."""
    after = _after(since)
    targets = _all(search.finished(using, FAILED, since=after), wanted, with_exception=True)
    return _and_elsewhere(targets, using, wanted, after)


def unseen(using: str, wanted: Filter, since: float | None = None) -> Targets:
    """As ``failed``, without those that a person has given up or seen to."""
    after, given_up = _after(since), path_of(TaskDiscarded)
    rows = search.finished(using, FAILED, since=after)
    rows = rows.exclude(exception_class_path=given_up)
    targets = _all(rows, wanted, with_exception=True)
    return _and_elsewhere(targets, using, wanted, after, lambda error: error != given_up)


def quarantined(using: str, wanted: Filter) -> Targets:
    """FAILED tasks that have lost too many workers. Reads the whole table."""
    poison = path_of(TaskQuarantined)
    rows = search.finished(using, FAILED).filter(exception_class_path=poison)
    return _and_elsewhere(_all(rows, wanted), using, wanted, None, lambda error: error == poison)


def _after(since: float | None) -> datetime | None:
    return timezone.now() - timedelta(seconds=since) if since is not None else None


def _and_elsewhere(
    targets: Targets,
    using: str,
    wanted: Filter,
    after: datetime | None,
    meant: Callable[[str], bool] = lambda error: True,
) -> Targets:
    """With the FAILED tasks of other backends, by their error."""
    others = Others(using, wanted.backend)
    for adapter, task in others.of_status(FAILED, wanted):
        late = after is None or task.since is None or task.since >= after
        if late and meant(task.error) and not targets.add_elsewhere(adapter, task):
            break
    targets.troubles += others.troubles
    return targets


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
