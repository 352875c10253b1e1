"""Finding tasks for a person: by id, by a prefix of an id, by state, queue, path and age.

Nothing here changes a row. READY and RUNNING rows are found through their indexes;
looking for finished ones reads the whole table, so only what a person asks for does it.

Times in a ``Row`` are the neighbour's and so host time.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from datetime import timezone as dt_timezone
from fnmatch import fnmatchcase
from typing import Any

from django.conf import settings
from django.db import connections
from django.db.models import CharField, F, Lookup, Q, QuerySet, Value
from django.db.models.functions import Cast
from django.utils import timezone
from django_tasks_db.models import DBTaskResult, get_date_max

from argus_maint.backends.database import ATTEMPT_COLUMNS, READY, Attempt, read_attempt

PAGE = 2000  # rows of one look when going through the table
CHUNK = 500  # ids in one statement: SQLite bounds their number


@dataclass(frozen=True, slots=True)
class Row:
    """A task as a person wants to see it, without its arguments and its result."""

    attempt: Attempt
    enqueued_at: datetime
    finished_at: datetime | None
    run_after: datetime | None  # None: as soon as possible
    exception: str
    priority: int

    def is_scheduled(self, now: datetime) -> bool:
        """Whether it is READY but not yet due; ``now`` is this host's time."""
        return self.attempt.status == READY and self.run_after is not None and self.run_after > now


_COLUMNS = (
    *ATTEMPT_COLUMNS,
    *("enqueued_at", "finished_at", "run_after", "exception_class_path", "priority"),
)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which tasks are meant. What is left empty does not narrow."""

    queue: str = ""
    backend: str = ""
    pattern: str = ""

    def narrow(self, rows: QuerySet[DBTaskResult]) -> QuerySet[DBTaskResult]:
        """Let the database leave out what it can; ``matches`` has the last word."""
        if self.queue:
            rows = rows.filter(queue_name=self.queue)
        if self.backend:
            rows = rows.filter(backend_name=self.backend)
        if self.pattern:
            rows = rows.filter(_Like(F("task_path"), Value(_as_like(self.pattern))))
        return rows

    def matches(self, attempt: Attempt) -> bool:
        """Whether a task of the table is meant, letter by letter."""
        return self.meant(attempt.queue_name, attempt.backend_name, attempt.task_path)

    def meant(self, queue: str, backend: str, path: str) -> bool:
        """Whether any task is."""
        return (
            self.queue in ("", queue)
            and self.backend in ("", backend)
            and (not self.pattern or fnmatchcase(path, self.pattern))
        )


class _Like(Lookup):
    """SQL's LIKE, which Django offers only for fixed beginnings and ends."""

    lookup_name = "argus_like"
    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, Any]:
        left, left_params = self.process_lhs(compiler, connection)
        right, right_params = self.process_rhs(compiler, connection)
        return f"{left} LIKE {right} ESCAPE '!'", [*left_params, *right_params]


def _as_like(pattern: str) -> str:
    """A LIKE pattern that matches all that the shell pattern matches, and perhaps more."""
    out = []
    for piece in re.findall(r"\[(?:!.|[^!])[^\]]*\]|.", pattern, re.DOTALL):
        if piece == "*":
            out.append("%")
        elif piece == "?" or len(piece) > 1:  # a set stands for one character
            out.append("_")
        else:
            out.append("!" + piece if piece in "!%_" else piece)
    return "".join(out)


def rows_of(rows: QuerySet[DBTaskResult]) -> Iterator[Row]:
    """Read rows in the order of the query."""
    never = get_date_max()
    for *columns, enqueued, finished, after, error, priority in rows.values_list(*_COLUMNS):
        attempt, due = read_attempt(columns), None if after == never else after
        yield Row(attempt, enqueued, finished, due, error, priority)


def by_ids(ids: Sequence[uuid.UUID], using: str) -> list[Row]:
    """The rows of these tasks that are still there, by id."""
    found: list[Row] = []
    table = DBTaskResult.objects.using(using)
    for start in range(0, len(ids), CHUNK):
        found += rows_of(table.filter(pk__in=ids[start : start + CHUNK]).order_by("pk"))
    return found


def with_prefix(hexdigits: str, field: str, connection: Any) -> Q | Lookup:
    """A condition: this UUID column begins with these hex digits."""
    native_mariadb = connection.vendor == "mysql" and connection.features.has_native_uuid_field
    if len(hexdigits) == 32:
        return Q(**{field: uuid.UUID(hexdigits)})
    if native_mariadb:  # it sorts UUIDs from their end, so a beginning is no range
        text = Cast(F(field), CharField())
        return _Like(text, Value(_dashed(hexdigits) + "%"))
    low, high = hexdigits.ljust(32, "0"), hexdigits.ljust(32, "f")
    return Q(**{f"{field}__gte": uuid.UUID(low), f"{field}__lte": uuid.UUID(high)})


def _dashed(hexdigits: str) -> str:
    cuts = (0, 8, 12, 16, 20, 32)
    pieces = [hexdigits[a:b] for a, b in zip(cuts, cuts[1:], strict=False)]
    return "-".join(filter(None, pieces))


def by_prefix(hexdigits: str, using: str, most: int) -> list[Row]:
    """Up to ``most`` tasks whose id begins so."""
    condition = with_prefix(hexdigits, "id", connections[using])
    found = DBTaskResult.objects.using(using).filter(condition).order_by()
    # Ids alone first: MariaDB then reads a small index from end to end, and not the table.
    return by_ids(list(found.values_list("pk", flat=True)[:most]), using)


def short_ids(ids: Sequence[uuid.UUID], using: str) -> dict[uuid.UUID, str]:
    """The shortest beginning of each id, at least eight digits, that names one task only."""
    if connections[using].vendor == "mysql":  # to make sure would read the whole table there
        return {each: str(each)[:13] for each in ids}
    rivals: set[str] = {each.hex for each in ids}
    for start in range(0, len(ids), 100):
        condition = Q()
        for each in ids[start : start + 100]:
            beginning = with_prefix(each.hex[:8], "id", connections[using])
            assert isinstance(beginning, Q)
            condition |= beginning
        table = DBTaskResult.objects.using(using)
        rivals |= {pk.hex for pk in table.filter(condition).order_by().values_list("pk", flat=True)}
    order = sorted(rivals)
    return {each: str(each)[: _unique_length(each.hex, order)] for each in ids}


def _unique_length(hexdigits: str, order: list[str]) -> int:
    """How much of the dashed id is needed to tell it from its neighbours in the order."""
    place = order.index(hexdigits)
    shared = max(
        (_shared(hexdigits, each) for each in order[max(place - 1, 0) : place + 2]), default=0
    )
    return len(_dashed(hexdigits[: max(8, shared + 1)]))


def _shared(one: str, other: str) -> int:
    if one == other:
        return 0
    return next(index for index, (a, b) in enumerate(zip(one, other, strict=True)) if a != b)


def pages(rows: QuerySet[DBTaskResult]) -> Iterator[list[Row]]:
    """Go through any number of rows by primary key, a page at a time, holding no cursor."""
    rows, last = rows.order_by("pk"), None
    while True:
        page = list(rows_of((rows if last is None else rows.filter(pk__gt=last))[:PAGE]))
        if page:
            yield page
            last = page[-1].attempt.task_id
        if len(page) < PAGE:
            return


def first(rows: QuerySet[DBTaskResult], wanted: Filter, most: int) -> list[Row]:
    """The first ``most`` rows, in the order of the query, that ``wanted`` matches."""
    size = most
    while True:
        looked_at = list(rows_of(wanted.narrow(rows)[:size]))
        found = [row for row in looked_at if wanted.matches(row.attempt)]
        if len(found) >= most or len(looked_at) < size:
            return found[:most]
        size *= 4  # what the database matches and we do not is rare: case, and sets


def ready(using: str, scheduled: bool, older_than: datetime | None) -> QuerySet[DBTaskResult]:
    """READY rows that are due (or, scheduled, not yet due), longest waiting first."""
    table = DBTaskResult.objects.using(using).filter(status=READY)
    due = Q(run_after=get_date_max()) | Q(run_after__lte=timezone.now())
    rows = table.filter(~due if scheduled else due)
    if older_than is not None:
        rows = rows.filter(enqueued_at__lte=older_than)
    return rows.order_by("run_after" if scheduled else "enqueued_at", "pk")


def finished(
    using: str, status: str, since: datetime | None = None, older_than: datetime | None = None
) -> QuerySet[DBTaskResult]:
    """FAILED or SUCCESSFUL rows, newest first."""
    rows = DBTaskResult.objects.using(using).filter(status=status)
    if since is not None:
        rows = rows.filter(finished_at__gte=since)
    if older_than is not None:
        rows = rows.filter(finished_at__lte=older_than)
    return rows.order_by("-finished_at", "pk")


def has_queue(name: str, using: str) -> bool:
    """Whether the setting TASKS or any task names this queue."""
    if any(name in configured_queues(alias) for alias in getattr(settings, "TASKS", None) or {}):
        return True
    return DBTaskResult.objects.using(using).filter(queue_name=name).exists()


def configured_queues(alias: str) -> set[str]:
    """The queues that the setting TASKS names for a backend; none: any may be used."""
    backend = (getattr(settings, "TASKS", None) or {}).get(alias, {})
    return set(backend.get("QUEUES", ["default"]) or ())


def has_path(pattern: str, using: str) -> bool:
    """Whether any task's path matches. May read the whole table."""
    wanted = Filter(pattern=pattern)
    return bool(first(DBTaskResult.objects.using(using).order_by(), wanted, 1))


def as_iso(value: datetime | str) -> str:
    """A time of the neighbour's as the database gave it, as ISO 8601."""
    if isinstance(value, str):  # SQLite, where an aggregate has no type
        value = datetime.fromisoformat(value)
    if settings.USE_TZ and timezone.is_naive(value):
        value = value.replace(tzinfo=dt_timezone.utc)
    return value.isoformat()
