"""Taking a task, and making sure of it.

A claim is one statement, which the server finishes whatever becomes of the client: a
worker that freezes in the middle leaves no transaction open that hides a READY row.

- PostgreSQL: ``UPDATE ... WHERE id = (SELECT ... FOR UPDATE SKIP LOCKED) RETURNING`` in
  autocommit.
- MariaDB: an anonymous block with a transaction inside (``BEGIN NOT ATOMIC``).
- SQLite: a plain SELECT and a guarded UPDATE; who loses the race looks again.

On each the UPDATE also demands that the worker's own registration has not ended,
so no task can be taken under an id that others believe dead.

What is paused is left alone by the same statement (``workers.pauses``). On SQLite, where
the two are apart, the UPDATE asks again, and for the queue too: the task may have been
moved in between.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from datetime import timezone as dt_timezone
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.db import connections
from django.db.models import Exists, Q, QuerySet
from django.utils import timezone
from django_tasks_db.models import DBTaskResult, get_date_max

from argus_maint.backends.database import READY, RUNNING
from argus_maint.models import Process
from argus_maint.workers.pauses import MayBeTaken

RACES = 20  # lost races in a row before the caller looks after its other duties


class LostRace(Exception):
    """There were tasks, and others took every one that was tried."""


@dataclass(frozen=True, slots=True)
class Queues:
    """Which tasks a worker takes. ``worker`` is its supervisor's name, which may be drained."""

    backend_name: str
    names: tuple[str, ...]
    excluded: tuple[str, ...] = ()
    worker: str = ""

    def ready(self, using: str, now: datetime | None = None) -> QuerySet[DBTaskResult]:
        """READY and due (by this host's time, as the column has it), best first."""
        due = Q(run_after=get_date_max()) | Q(run_after__lte=now or timezone.now())
        rows = DBTaskResult.objects.using(using).filter(due, status=READY)
        rows = rows.filter(backend_name=self.backend_name)
        if "*" not in self.names:
            rows = rows.filter(queue_name__in=self.names)
        if self.excluded:
            rows = rows.exclude(queue_name__in=self.excluded)
        return rows.filter(self.open)

    @property
    def open(self) -> MayBeTaken:
        """The condition that neither the queue is paused nor the worker drained."""
        return MayBeTaken(self.backend_name, self.worker)

    def best(self, using: str, *columns: str) -> tuple[str, list[Any]]:
        """SQL and parameters of the query for the best of them: its columns, or all."""
        sql, params = _compiled(self, using, columns)
        adapt = connections[using].ops.adapt_datetimefield_value
        mark, now = adapt(_mark()), adapt(timezone.now())
        return sql, [now if each == mark else each for each in params]


def _mark() -> datetime:
    """A time that no row has. It keeps the place of the present one in a compiled query."""
    return datetime(1971, 2, 3, 4, 5, 6, 7, tzinfo=dt_timezone.utc if settings.USE_TZ else None)


@lru_cache(maxsize=64)
def _compiled(queues: Queues, using: str, columns: tuple[str, ...]) -> tuple[str, tuple[Any, ...]]:
    """Only the time differs from claim to claim, and the ORM takes its time to say the rest."""
    rows = queues.ready(using, _mark())
    rows = rows.values(*columns) if columns else rows
    sql, params = rows[:1].query.get_compiler(using).as_sql()
    return sql, tuple(params)


def _registered(worker_id: str, using: str) -> Exists:
    alive = Process.objects.using(using).filter(worker_id=worker_id)
    return Exists(alive.exclude(state=Process.State.ENDED))


def claim(queues: Queues, worker_id: str, using: str) -> DBTaskResult | None:
    """Take the best READY task, or None where there is none.

    Raises LostRace when others were quicker every time. When a database error is
    raised the claim may have been committed all the same: see ``adopt``.
    """
    connection: Any = connections[using]
    connection.ensure_connection()  # or the look at its version opens one, and closes it again
    if connection.vendor == "postgresql":
        return _claim_in_one(queues, worker_id, using)
    if connection.vendor == "mysql" and connection.mysql_is_mariadb:
        return _claim_in_block(queues, worker_id, using)
    for _ in range(RACES):
        row = _claim_guarded(queues, worker_id, using)
        if row is None or row.status == RUNNING:
            return row
    raise LostRace


def _claim_in_one(queues: Queues, worker_id: str, using: str) -> DBTaskResult | None:
    table = connections[using].ops.quote_name(DBTaskResult._meta.db_table)
    ours = connections[using].ops.quote_name(Process._meta.db_table)
    chosen, params = queues.best(using, "pk")
    # The ORM refuses FOR UPDATE in autocommit, where a single statement needs no BEGIN.
    sql = (  # made of names and of the ORM's own SQL; every value is a parameter
        f"UPDATE {table} SET status = 'RUNNING', started_at = %s, "  # noqa: S608
        f"worker_ids = worker_ids || %s::jsonb "
        f"WHERE id = ({chosen} FOR UPDATE SKIP LOCKED) AND status = 'READY' "
        f"AND EXISTS (SELECT 1 FROM {ours} WHERE worker_id = %s AND state <> 'ended') "
        f"RETURNING *"
    )
    rows = DBTaskResult.objects.using(using).raw(
        sql, [timezone.now(), json.dumps([worker_id]), *params, worker_id]
    )
    return next(iter(rows), None)


def _claim_in_block(queues: Queues, worker_id: str, using: str) -> DBTaskResult | None:
    quote, features = connections[using].ops.quote_name, connections[using].features
    table, ours = quote(DBTaskResult._meta.db_table), quote(Process._meta.db_table)
    best, params = queues.best(using, "pk")
    skip = " SKIP LOCKED" if features.has_select_for_update_skip_locked else ""
    sql = (
        f"BEGIN NOT ATOMIC "  # noqa: S608
        f"DECLARE chosen TYPE OF {table}.id; "
        f"DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN ROLLBACK; RESIGNAL; END; "
        f"START TRANSACTION; "
        f"{best} INTO chosen FOR UPDATE{skip}; "
        f"UPDATE {table} SET status = 'RUNNING', started_at = %s, "
        f"worker_ids = JSON_MERGE_PRESERVE(worker_ids, %s) "
        f"WHERE id = chosen AND status = 'READY' "
        f"AND EXISTS (SELECT 1 FROM {ours} WHERE worker_id = %s AND state <> 'ended'); "
        f"IF ROW_COUNT() = 0 THEN SET chosen = NULL; END IF; "
        f"COMMIT; "
        f"SELECT * FROM {table} WHERE id = chosen; END"
    )
    rows = DBTaskResult.objects.using(using).raw(
        sql, [*params, timezone.now(), json.dumps([worker_id]), worker_id]
    )
    return next(iter(rows), None)


def _claim_guarded(queues: Queues, worker_id: str, using: str) -> DBTaskResult | None:
    """One try: the row claimed (RUNNING), the row lost to another (READY), or None."""
    row = next(iter(DBTaskResult.objects.using(using).raw(*queues.best(using))), None)
    return row and _take(row, queues, worker_id, using)


def _take(row: DBTaskResult, queues: Queues, worker_id: str, using: str) -> DBTaskResult:
    before = row.worker_ids
    values: dict[str, Any] = {
        "status": RUNNING,
        "started_at": timezone.now(),
        # What is no list becomes one, as on the other databases.
        "worker_ids": [*(before if isinstance(before, list) else [before]), worker_id],
    }
    rows = DBTaskResult.objects.using(using).filter(
        _registered(worker_id, using),
        queues.open,
        pk=row.pk,
        status=READY,
        worker_ids=before,
        queue_name=row.queue_name,
    )
    if rows.update(**values):
        for name, value in values.items():
            setattr(row, name, value)
    return row


def confirm(row: DBTaskResult, worker_id: str, using: str) -> bool:
    """Claim the same attempt once more; False when it has been given to another.

    For a claim whose reply was lost or came late. The new ``started_at`` is a new
    fencing token, so a watcher that is just about to give the task back finds the row
    changed.
    """
    started_at = timezone.now()
    rows = DBTaskResult.objects.using(using).filter(
        _registered(worker_id, using),
        pk=row.pk,
        status=RUNNING,
        worker_ids=row.worker_ids,
        started_at=row.started_at,
    )
    if not rows.update(started_at=started_at):
        return False
    row.started_at = started_at
    return True


def adopt(worker_id: str, using: str) -> DBTaskResult | None:
    """The task this worker owns without knowing, because the reply to its claim was lost.

    A worker id belongs to one incarnation of one process, so every RUNNING row it owns
    is its own.
    """
    for row in DBTaskResult.objects.using(using).filter(status=RUNNING).order_by("pk"):
        if row.worker_ids and row.worker_ids[-1] == worker_id:
            return row
    return None
