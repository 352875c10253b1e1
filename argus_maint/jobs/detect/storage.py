"""The task table: does it grow for want of a prune, or keep space that it no longer needs?

- ``PruneBehind``: a finished task is past its retention by ``behind``.
- ``TableBloat``: the table (SQLite: the file) is at least ``size`` large, and ``share`` of it is
  empty or dead, by the database's own figures.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from django_tasks_db.models import DBTaskResult

from argus_maint.backends.space import glance
from argus_maint.conf import get_settings
from argus_maint.findings.observation import Observation
from argus_maint.jobs.detect.look import Look
from argus_maint.jobs.expiry import KINDS, kind_of, now_of
from argus_maint.observe.screen import span
from argus_maint.observe.space import humane

SAMPLE = 200  # rows that are read where some may have to go


def prune_behind(look: Look) -> Iterator[Observation]:
    """Rows that should have gone long ago: of each age, the newest that are past it."""
    now, retention = now_of(look.using), get_settings().retention
    behind = look.option("PruneBehind", "behind")
    fields = ("finished_at", "queue_name", "backend_name", "task_path", "exception_class_path")
    for status, kinds in KINDS.items():
        for age in sorted({age for kind in kinds for age in retention.all_ages(kind)}):
            rows = DBTaskResult.objects.using(look.using).filter(
                status=status, finished_at__lt=now - timedelta(seconds=age + behind)
            )
            for at, queue, backend, path, error in rows.order_by("-finished_at").values_list(
                *fields
            )[:SAMPLE]:
                if not retention.goes(age, kind_of(status, error), queue, path):
                    continue
                old = span((now - at).total_seconds())
                summary = f"a {status} task of {queue} finished {old} ago, to be kept {span(age)}"
                evidence = {"queue": queue, "backend": backend, "task": path, "job": "prune"}
                yield Observation("PruneBehind", "", summary, evidence)
                return


def table_bloat(look: Look) -> Iterator[Observation]:
    """Space that is empty or dead."""
    seen = glance(look.using)
    if seen.bytes >= look.option("TableBloat", "size") and seen.empty >= look.option(
        "TableBloat", "share"
    ):
        summary = f"{seen.empty:.0%} of the {humane(seen.bytes)} of {seen.what} are {seen.how}"
        evidence = {"database": seen.vendor, "bytes": seen.bytes, "share": round(seen.empty, 3)}
        yield Observation("TableBloat", "", summary, evidence)


DETECTORS = {"PruneBehind": prune_behind, "TableBloat": table_bloat}
