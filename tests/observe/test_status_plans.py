"""What a status costs: the plan of each of its queries, beside many rows that it is not about."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.db import connection
from django.db.models import Model
from django.test.utils import CaptureQueriesContext
from django_tasks_db.models import DBTaskResult

from argus_maint.models import LedgerEntry, Process
from argus_maint.observe.status import gather
from tests import rows

pytestmark = pytest.mark.django_db(transaction=True)


def test_no_query_reads_finished_tasks_or_past_history() -> None:
    """By the plan of each: every table is searched by an index, none is scanned."""
    rows.process()
    template = rows.task("SUCCESSFUL")
    DBTaskResult.objects.bulk_create([_copy(template) for _ in range(6000)], batch_size=1000)
    row = rows.lost()
    rows.task("RUNNING", workers=("stock",))
    LedgerEntry.objects.bulk_create([_entry(row) for _ in range(6000)], batch_size=1000)
    Process.objects.bulk_create([_ended(number) for number in range(3000)], batch_size=1000)
    _analyze()
    with CaptureQueriesContext(connection) as queries:
        gather("default")
    scans = [
        f"{sql}\n{plan}"
        for sql in _selects(queries)
        for plan in [_plan(sql)]
        if _is_scan(sql, plan)
    ]
    assert not scans, "\n\n".join(scans)


def _copy(row: DBTaskResult) -> DBTaskResult:
    values = {field.attname: getattr(row, field.attname) for field in row._meta.fields}
    return DBTaskResult(**{**values, "id": uuid4()})


def _entry(row: DBTaskResult) -> LedgerEntry:
    return LedgerEntry(
        task_id=uuid4(),
        task_path=row.task_path,
        queue_name="default",
        backend_name="default",
        attempt=1,
        verdict="manual",
        action="requeued",
        noticed_by="x",
        acted_at=rows.ago(9999),
    )


def _ended(number: int) -> Process:
    return Process(
        kind="worker",
        state="ended",
        worker_id=f"old.{number}",
        name="old",
        supervisor=uuid4(),
        host="h",
        hostname="h",
        pid=1,
        lease=15,
        registered_at=rows.ago(99999),
        last_beat_at=rows.ago(99999),
        ended_at=rows.ago(99999),
        reason="crashed",
    )


def _analyze(models: tuple[type[Model], ...] = (DBTaskResult, LedgerEntry)) -> None:
    with connection.cursor() as cursor:
        for model in models:
            verb = "ANALYZE TABLE" if connection.vendor == "mysql" else "ANALYZE"
            cursor.execute(f"{verb} {model._meta.db_table}")
            if connection.vendor == "mysql":
                cursor.fetchall()


BIG = (DBTaskResult, LedgerEntry, Process)


def _selects(queries: CaptureQueriesContext) -> list[str]:
    """Queries of the big tables, also those that PostgreSQL reads through a cursor."""
    found = []
    for query in queries:
        sql = query["sql"]
        sql = sql[sql.find("SELECT") :]
        if any(model._meta.db_table in sql for model in BIG):
            found.append(sql)
    assert len(found) >= 6
    return found


def _plan(sql: str) -> str:
    verb = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
    with connection.cursor() as cursor:
        cursor.execute(f"{verb} {sql}")
        return "\n".join(" | ".join(map(str, line)) for line in cursor.fetchall())


def _is_scan(sql: str, plan: str) -> bool:
    """Whether all rows are read. The newest by key need no index but the key, and no sort."""
    newest = "LIMIT" in sql
    if connection.vendor == "sqlite":
        return ("TEMP B-TREE" if newest else "SCAN") in plan
    if connection.vendor == "postgresql":
        return "Seq Scan" in plan
    return " | ALL | " in plan or (" | index | " in plan and not newest)
