"""The pruner: what goes, what stays, and that nobody notices."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from django.db import OperationalError, connection, connections
from django.test import override_settings
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from argus_maint.backends.walk import Walk
from argus_maint.conf import get_settings
from argus_maint.exceptions import TaskQuarantined
from argus_maint.jobs import prune as module
from argus_maint.jobs.expiry import Selection, finished
from argus_maint.jobs.pace import LEAST, MOST, Pace
from argus_maint.jobs.plan import plan
from argus_maint.jobs.prune import Report, order_of, prune
from argus_maint.models import LedgerEntry, Process
from argus_maint.retention import DAY, Retention
from tests import rows

pytestmark = pytest.mark.django_db(transaction=True)
QUARANTINED = f"{TaskQuarantined.__module__}.{TaskQuarantined.__qualname__}"


def now(**values: Any) -> Report:
    """One pass at full duty."""
    return prune(order_of("default", **{"duty": 1.0, **values}))


def left() -> set[Any]:
    return set(DBTaskResult.objects.values_list("pk", flat=True))


def expired(number: int = 1, age: float = 400 * DAY, **values: Any) -> list[DBTaskResult]:
    """Successful tasks past any retention, made fast; every third at the very same time."""
    moment = timezone.now() - timedelta(seconds=age)
    spare = rows.task("SUCCESSFUL", age=age, **values)
    columns = {f.attname: getattr(spare, f.attname) for f in DBTaskResult._meta.concrete_fields}
    made = []
    for n in range(number - 1):
        time = moment + timedelta(microseconds=n // 3)
        made.append(DBTaskResult(**{**columns, "id": uuid.uuid4(), "finished_at": time}))
    DBTaskResult.objects.bulk_create(made, batch_size=500)
    return [spare, *made]


def test_what_is_past_its_retention_goes_and_nothing_else() -> None:
    for status, age in (("SUCCESSFUL", 15 * DAY), ("FAILED", 91 * DAY)):
        rows.task(status, age=age)
    kept = {
        rows.task("SUCCESSFUL", age=13 * DAY).pk,
        rows.task("FAILED", age=89 * DAY).pk,
        rows.task("FAILED", age=4000 * DAY, exception_class_path=QUARANTINED).pk,
        rows.task("READY", age=4000 * DAY).pk,
        rows.task("RUNNING", age=4000 * DAY, workers=("w",)).pk,
    }
    report = now()
    assert left() == kept
    assert report.deleted == {"SUCCESSFUL": 1, "FAILED": 1}
    assert report.stopped == ""


RULES = {
    "successful": "10d",
    "quarantined": "300d",
    "queues": {"bulk": {"successful": "1d"}, "audit": {"successful": None, "failed": "400d"}},
    "tasks": {"shop.*": {"successful": "5d"}, "shop.tasks.keep": {"successful": None}},
}
CASES: list[tuple[str, float, dict[str, Any], bool]] = [
    ("SUCCESSFUL", 11, {}, True),
    ("SUCCESSFUL", 9, {}, False),
    ("SUCCESSFUL", 2, {"queue_name": "bulk"}, True),
    ("SUCCESSFUL", 0.5, {"queue_name": "bulk"}, False),
    ("SUCCESSFUL", 5000, {"queue_name": "audit"}, False),
    ("FAILED", 399, {"queue_name": "audit"}, False),
    ("FAILED", 401, {"queue_name": "audit"}, True),
    ("FAILED", 91, {}, True),
    ("FAILED", 299, {"exception_class_path": QUARANTINED}, False),
    ("FAILED", 301, {"exception_class_path": QUARANTINED}, True),
    ("SUCCESSFUL", 6, {"path": "shop.tasks.sync"}, True),
    ("SUCCESSFUL", 4, {"path": "shop.tasks.sync"}, False),
    ("SUCCESSFUL", 4, {"path": "shop.tasks.sync", "queue_name": "bulk"}, False),
    ("SUCCESSFUL", 6, {"path": "Shop.tasks.sync"}, False),
    ("SUCCESSFUL", 5000, {"path": "shop.tasks.keep"}, False),
]


@pytest.mark.parametrize("with_tasks", [True, False], ids=["by pattern", "by queue"])
def test_the_nearest_rule_decides(with_tasks: bool) -> None:
    setting = RULES if with_tasks else {k: v for k, v in RULES.items() if k != "tasks"}
    cases = [case for case in CASES if with_tasks or "path" not in case[2]]
    made = {rows.task(s, age=age * DAY, **v).pk: goes for s, age, v, goes in cases}
    with override_settings(ARGUS_MAINT={"RETENTION": setting}):
        planned = plan(order_of("default"))
        assert left() == set(made), "a plan deletes nothing"
        report = now()
    assert left() == {pk for pk, goes in made.items() if not goes}
    assert report.rows == planned.rows == sum(made.values())


def test_only_some_queues_backends_and_tasks() -> None:
    for queue, backend, path in (("a", "x", "p.one"), ("a", "y", "p.one"), ("b", "x", "p.two")):
        rows.task("SUCCESSFUL", age=99 * DAY, queue_name=queue, backend_name=backend, path=path)
    retention = Retention()
    assert now(selection=Selection(retention, "x", ("a",))).rows == 1
    assert now(selection=Selection(retention, pattern="p.tw*")).rows == 1
    assert now(selection=Selection(retention, queues=("b", "c"))).rows == 0
    assert now().rows == 1


def test_names_are_compared_letter_by_letter() -> None:
    names = ("Bulk", "b\u00fclk")
    kept = {rows.task("SUCCESSFUL", age=2 * DAY, queue_name=name).pk for name in names}
    rows.task("SUCCESSFUL", age=2 * DAY, queue_name="bulk")
    with override_settings(ARGUS_MAINT={"RETENTION": {"queues": {"bulk": {"successful": "1d"}}}}):
        assert now().rows == 1
    assert left() == kept
    all_of_them = Retention({"successful": 1.0, "failed": None, "quarantined": None})
    assert now(selection=Selection(all_of_them, "DEFAULT")).rows == 0


def test_batches_pass_every_row_once_whatever_their_times() -> None:
    made = expired(1000)
    kept = expired(20, path="shop.tasks.keep")
    walk = Walk(finished("SUCCESSFUL", "default"), timezone.now(), "default")
    seen: list[Any] = []
    more = True
    while more:
        edge = walk.edge(7)
        seen += [row[0] for row in walk.read(["id"], walk.batch(edge))]
        more, walk.after = edge is not None, edge
    assert len(seen) == len(set(seen)) == len(made) + len(kept)
    with override_settings(
        ARGUS_MAINT={"RETENTION": {"tasks": {"shop.tasks.keep": {"successful": None}}}}
    ):
        report = now()
    assert report.deleted == {"SUCCESSFUL": len(made)}
    assert left() == {row.pk for row in kept}


def test_many_rows_that_stay_do_not_make_its_batches_small() -> None:
    expired(3000, path="shop.tasks.keep")
    expired(30, age=399 * DAY)
    tasks = {"shop.tasks.keep": {"successful": None}}
    with override_settings(ARGUS_MAINT={"RETENTION": {"tasks": tasks}}):
        report = now()
    assert report.rows == 30
    assert report.batches < 20


def test_a_row_that_is_put_back_between_the_look_and_the_delete_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = expired(3)
    real = Walk.delete

    def late(self: Walk, pieces: Any) -> int:
        DBTaskResult.objects.filter(pk=made[1].pk).update(status="READY", finished_at=None)
        return real(self, pieces)

    monkeypatch.setattr(Walk, "delete", late)
    with override_settings(ARGUS_MAINT={"RETENTION": {"tasks": {"x": {"successful": "1d"}}}}):
        now()
    assert [row.status for row in DBTaskResult.objects.all()] == ["READY"]


@pytest.mark.parametrize(("bound", "value"), [("max_rows", 25), ("max_seconds", 1e-9)])
def test_it_stops_where_it_is_told_to_and_goes_on_next_time(bound: str, value: float) -> None:
    expired(60)
    report = now(**{bound: value})
    assert report.stopped == bound
    assert report.rows == (25 if bound == "max_rows" else 0)
    assert now().rows == 60 - report.rows


def test_our_own_records_have_a_retention_of_their_own() -> None:
    row = rows.task("FAILED")
    rows.entry(row, since=366 * DAY)
    recent = rows.entry(row, since=364 * DAY)
    dead, busy = rows.process("dead"), rows.process("busy")
    long_ago = rows.db_now("default") - timedelta(days=8)
    Process.objects.update(state="ended", ended_at=long_ago)
    rows.task("RUNNING", workers=(busy.worker_id,))
    report = now()
    assert set(LedgerEntry.objects.values_list("pk", flat=True)) == {recent.pk}
    assert set(Process.objects.values_list("pk", flat=True)) == {busy.pk}
    assert report.deleted == {"argus_maint_ledgerentry": 1, "argus_maint_process": 1}
    assert dead.pk != busy.pk


def test_a_clock_that_is_years_ahead_deletes_nothing_too_early(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("on SQLite there is one clock")
    rows.task("SUCCESSFUL")
    real = timezone.now
    monkeypatch.setattr(timezone, "now", lambda: real() + timedelta(days=3650))
    assert now().rows == 0


def other_connection(work: Callable[[Any], None]) -> threading.Thread:
    """Run something on a connection of another thread."""

    def run() -> None:
        with closing(connections["default"]):
            work(connections["default"])

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.parametrize("model", [DBTaskResult, LedgerEntry])
def test_what_another_transaction_holds_is_left_for_the_next_time(
    monkeypatch: pytest.MonkeyPatch, model: Any
) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite locks no rows")
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    made = expired(30)
    if model is LedgerEntry:
        made = [rows.entry(row, since=400 * DAY) for row in made]
        DBTaskResult.objects.all().delete()
    held, done = threading.Event(), threading.Event()

    def hold(other: Any) -> None:
        from django.db import transaction

        with transaction.atomic():
            model.objects.select_for_update().get(pk=made[7].pk)
            held.set()
            done.wait(60)

    thread = other_connection(hold)
    try:
        assert held.wait(10)
        report = now()
    finally:
        done.set()
        thread.join()
    assert report.rows == 29
    assert report.refused >= module.SKIP_AFTER
    assert [row.pk for row in model.objects.all()] == [made[7].pk]
    assert now().rows == 1


@pytest.mark.skipif(connection.vendor != "sqlite", reason="SQLite's one writer")
def test_a_writer_that_holds_the_database_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    expired(30)
    held, told = threading.Event(), threading.Event()

    def hold(other: Any) -> None:
        with other.cursor() as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            held.set()
            told.wait(60)
            cursor.execute("ROLLBACK")

    thread = other_connection(hold)
    real = Pace.locked

    def locked(self: Pace) -> float:
        told.set()  # it has waited in vain once
        return real(self)

    monkeypatch.setattr(Pace, "locked", locked)
    assert held.wait(10)
    report = now()
    thread.join()
    assert report.rows == 30
    assert report.refused >= 1


def test_a_missing_table_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    error = OperationalError("no such table: django_tasks_database_dbtaskresult")
    monkeypatch.setattr(Walk, "edge", Mock(side_effect=error))
    monkeypatch.setattr(module.time, "sleep", Mock(side_effect=AssertionError("it waits")))
    with pytest.raises(OperationalError, match="no such table"):
        now()


def test_the_size_of_a_batch_follows_its_time() -> None:
    pace = Pace(target=0.05, duty=0.25, size=1000)
    pace.took(1000, 0.1)
    assert pace.size == 500  # half at most, though 400 would fit
    pace.took(500, 0.02)
    assert pace.size == 1000
    assert pace.pause(0.05) == pytest.approx(0.15)
    assert [pace.locked() for _ in range(3)] == [0.2, 0.4, 0.8]
    assert pace.size == 125
    for _ in range(20):
        pace.locked()
    assert pace.size == LEAST
    assert pace.locked() == 10.0
    for _ in range(20):
        pace.took(pace.size, 1e-9)
    assert (pace.size, pace.refused) == (MOST, 0)
    assert Pace(0.05, 1.0).pause(3) == 0


def test_the_settings_say_how_gently() -> None:
    setting = {"PRUNE": {"target": "0.1", "duty": 0.5, "max_seconds": "10m"}}
    with override_settings(ARGUS_MAINT=setting):
        order = order_of("default", duty=1.0)
        assert get_settings().prune.duty == 0.5
    assert (order.target, order.duty, order.max_seconds) == (0.1, 1.0, 600.0)


@pytest.mark.skipif(connection.vendor != "sqlite", reason="only SQLite has it")
@pytest.mark.parametrize("duty", [1.0, 0.5])
def test_the_settings_of_the_connection_are_put_back(duty: float) -> None:
    def pragmas() -> list[int]:
        with connection.cursor() as cursor:
            names = ("wal_autocheckpoint", "cache_size", "busy_timeout")
            return [cursor.execute(f"PRAGMA {name}").fetchone()[0] for name in names]

    before = pragmas()
    assert before[0] > 0
    expired(2000)
    assert now(duty=duty).rows == 2000
    assert pragmas() == before
    log = Path(f"{connection.settings_dict['NAME']}-wal")
    assert log.stat().st_size < 8 * 2**20  # it was copied back as it grew
