"""How fast the task table grows, and when it reaches a size.

From the samples that the storage job keeps, where those of the last 14 days that were
measured as today are at least 20 hours apart: a least-squares line through all of them,
today included. Not first against last: the table rises all day and falls with each
prune, and two points would mostly tell how near to a prune each of them was taken.

Otherwise from the tasks that finished in the last 24 hours, by our index on them, times
the bytes a row takes now: a gross figure, of what comes in and not of what is pruned.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from argus_maint.backends.database import FAILED, SUCCESSFUL
from argus_maint.backends.space import Space
from argus_maint.models import StorageSample

DAYS = 14
APART = timedelta(hours=20)
MOST = 1_000_000  # finished rows counted; above it the last hour stands for the day
FAR = 100 * 365.0  # days: nobody plans further ahead
GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Growth:
    """Bytes a day, and where the figure is from: ``samples``, ``gross`` or ``unknown``."""

    source: str
    bytes_per_day: float | None = None
    samples: int = 0
    since: datetime | None = None
    finished_per_day: int | None = None
    bytes_per_row: float | None = None

    def reaches(self, size: int, space: Space) -> datetime | None:
        """When the table is that large; None for never, at this rate."""
        missing = size - space.total_bytes
        if missing <= 0:
            return space.taken_at
        if not self.bytes_per_day or self.bytes_per_day <= 0:
            return None
        days = missing / self.bytes_per_day
        return space.taken_at + timedelta(days=days) if days < FAR else None


def next_size(total: int) -> int:
    """The next of 1 GiB, 10 GiB, 100 GiB and so on."""
    size = GIB
    while size <= total:
        size *= 10
    return size


def growth(space: Space, using: str) -> Growth:
    """By samples where there are enough of them, else gross."""
    rows = StorageSample.objects.using(using).filter(
        measured=space.measured,
        taken_at__gte=space.taken_at - timedelta(days=DAYS),
        taken_at__lt=space.taken_at,
    )
    points = [
        (taken_at, table + indexes)
        for taken_at, table, indexes in rows.order_by("taken_at").values_list(
            "taken_at", "table_bytes", "index_bytes"
        )
    ]
    if not points or space.taken_at - points[0][0] < APART:
        return _gross(space, using)
    points.append((space.taken_at, space.total_bytes))
    return Growth("samples", _slope(points), samples=len(points), since=points[0][0])


def _slope(points: list[tuple[datetime, int]]) -> float:
    """Bytes a day of the line with the least squares through the points."""
    start, base = points[0]
    days = [(moment - start).total_seconds() / 86_400 for moment, _ in points]
    sizes = [float(size - base) for _, size in points]
    middle, mean = sum(days) / len(days), sum(sizes) / len(sizes)
    spread = sum((day - middle) ** 2 for day in days)
    pairs = zip(days, sizes, strict=True)
    return sum((day - middle) * (size - mean) for day, size in pairs) / spread


def _gross(space: Space, using: str) -> Growth:
    if not space.rows:
        return Growth("unknown")
    finished = _finished_per_day(using)
    row = space.used_bytes / space.rows
    return Growth("gross", finished * row, finished_per_day=finished, bytes_per_row=row)


def _finished_per_day(using: str) -> int:
    # finished_at is the time of some host; a rate may be off by how wrong its clock is.
    now = timezone.now()
    day = _finished(using, now - timedelta(days=1))
    return day if day < MOST else max(day, 24 * _finished(using, now - timedelta(hours=1)))


def _finished(using: str, since: Any) -> int:
    """Tasks that have finished since, up to ``MOST`` of each status."""
    table = DBTaskResult.objects.using(using).order_by()
    return sum(
        table.filter(status=status, finished_at__gte=since)[:MOST].count()
        for status in (SUCCESSFUL, FAILED)
    )
