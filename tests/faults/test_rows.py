"""Rows that are broken, locked, foreign or wanted by many: none of them stops a rescue."""

from __future__ import annotations

import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.db import connections, transaction
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from argus_maint.models import DeclaredPolicy, LedgerEntry, Process, Sighting
from tests import tasks
from tests.faults.conftest import servers
from tests.faults.evidence import acts, announced, deaths, runs, undisturbed
from tests.lab import Lab, until

PARKED = "--queue-name=parked"  # of a supervisor that is there to watch


def dead_worker(lab: Lab) -> str:
    """The id of a worker whose supervisor was killed; nobody has noticed yet."""
    worker = lab.worker(PARKED, name="dead").ready()
    (row,) = worker.rows()
    tree = worker.tree()
    worker.signal_tree(signal.SIGKILL)
    worker.wait()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in tree))
    return row.worker_id


def running(worker_ids: Any, path: str = "tests.tasks.add", **columns: Any) -> DBTaskResult:
    """A RUNNING row under these worker ids, as a crash leaves it."""
    result = tasks.add.enqueue(1, 2)
    values = {"status": "RUNNING", "task_path": path, "started_at": timezone.now()}
    values |= {"worker_ids": worker_ids, "queue_name": "default", **columns}
    DBTaskResult.objects.filter(pk=result.id).update(**values)
    return DBTaskResult.objects.get(pk=result.id)


def status(row: DBTaskResult) -> str:
    return DBTaskResult.objects.get(pk=row.pk).status


def reaches(row: DBTaskResult, *states: str) -> None:
    until(lambda: status(row) in states)


@contextmanager
def locked(rows: list[DBTaskResult]) -> Iterator[None]:
    """Another transaction holds these rows."""
    other = connections.create_connection("default")
    connections_of_this_thread = connections["default"]
    connections["default"] = other
    try:
        with transaction.atomic():
            found = DBTaskResult.objects.filter(pk__in=[row.pk for row in rows])
            assert len(found.select_for_update()) == len(rows)
            connections["default"] = connections_of_this_thread
            yield
            connections["default"] = other
    finally:
        connections["default"] = connections_of_this_thread
        other.close()


def test_bad_rows_stop_nobody(lab: Lab) -> None:
    dead = dead_worker(lab)
    foreign = [running(ids) for ids in ({"a": 1}, [], 7, "text", [1, 2], [None])]
    unstarted = running([dead], started_at=None)
    unknown = running([dead], path="gone.tasks.never")
    nameless = running([dead], path="")
    good = running([dead])

    worker = lab.worker("--lease=3").ready()

    until(lambda: status(good) == "SUCCESSFUL")
    until(lambda: status(unstarted) == "SUCCESSFUL")
    for row in (unknown, nameless):
        reaches(row, "FAILED")
        assert [e.action for e in LedgerEntry.objects.filter(task_id=row.pk)] == ["requeued"]
    assert [status(row) for row in foreign] == ["RUNNING"] * len(foreign)
    until(lambda: Sighting.objects.count() == len(foreign))
    undisturbed(lab, tasks.add.enqueue(1, 2))
    assert "keeper.ended" not in worker.log
    assert len(worker.rows()) == 1


def test_bad_rows_come_back_once_a_person_says_that_time_counts(lab: Lab) -> None:
    rows = [running(ids) for ids in ({"a": 1}, [], 7, "text", [1, 2], [None])]
    rows.append(running(["stock"], started_at=None))
    lab.setting(RESCUE={"*": {"backoff": [0, 0]}}, PROCESSES={"unregistered_after": 1, "lease": 2})

    lab.worker().ready()

    for row in rows:
        reaches(row, "SUCCESSFUL")
    assert acts() == [("unregistered", "requeued")] * len(rows)


def test_ready_rows_with_bad_worker_ids_are_run_or_failed_and_stop_no_worker(lab: Lab) -> None:
    results = [tasks.add.enqueue(1, n) for n in range(5)]
    for result, ids in zip(results, ({"a": 1}, 7, "text", [1], [None]), strict=True):
        DBTaskResult.objects.filter(pk=result.id).update(worker_ids=ids)
    after = tasks.add.using(priority=-1).enqueue(1, 2)

    lab.worker("--lease=3").ready()

    undisturbed(lab, after)
    for result in results:
        reaches(lab.row(result), "SUCCESSFUL", "FAILED")
    assert [row for row in deaths() if row[2] == "crashed"] == []


@servers
def test_a_row_that_somebody_holds_is_left_for_later_and_told(lab: Lab) -> None:
    dead = dead_worker(lab)
    held, others = running([dead]), [running([dead]) for _ in range(5)]
    with locked([held]):
        worker = lab.worker(PARKED, "--lease=3").ready()

        until(lambda: all(status(row) == "READY" for row in others))
        until(lambda: f"event=rescue.locked task_id={held.pk}" in worker.log)
        assert status(held) == "RUNNING"
        assert not LedgerEntry.objects.filter(task_id=held.pk).exists()

    until(lambda: status(held) == "READY")
    assert LedgerEntry.objects.filter(task_id=held.pk).count() == 1


@servers
@servers
def test_a_row_that_is_held_for_leases_while_its_outcome_is_written(lab: Lab) -> None:
    worker = lab.worker("--lease=1").ready()
    result = tasks.wait_for.enqueue(lab.path("go"))
    lab.until_status(result, "RUNNING")
    with locked([lab.row(result)]):
        Path(lab.path("go")).touch()
        (before,) = worker.rows("supervisor")
        until(lambda: worker.rows("supervisor")[0].beats > before.beats + 9)  # three leases
        assert lab.row(result).status == "RUNNING"
    undisturbed(lab, result)
    assert deaths() == []
    assert "database.lost" not in worker.log


def test_two_hundred_held_rows_do_not_starve_the_next(lab: Lab) -> None:
    dead = dead_worker(lab)
    # Rows are read in the order of their keys: the good one is the very last.
    stuck = [running([dead]) for _ in range(200)]
    good = running([dead])
    DBTaskResult.objects.filter(pk=good.pk).update(id=uuid.UUID(int=2**128 - 1))
    with locked(stuck):
        worker = lab.worker(PARKED, "--lease=3").ready()

        until(lambda: DBTaskResult.objects.get(pk=uuid.UUID(int=2**128 - 1)).status == "READY")
        (row,) = worker.rows()
        until(lambda: worker.rows()[0].beats > row.beats + 2)
        assert "keeper.ended" not in worker.log


def test_two_hundred_rows_that_cannot_be_rescued_do_not_starve_the_next(lab: Lab) -> None:
    dead = dead_worker(lab)
    bad = "tests.tasks.of_a_newer_version"
    DeclaredPolicy.objects.create(task_path=bad, options={"on_lost": "of tomorrow"})
    for _ in range(200):
        running([dead], path=bad)
    good = running([dead])
    DBTaskResult.objects.filter(pk=good.pk).update(id=uuid.UUID(int=2**128 - 1))
    worker = lab.worker(PARKED, "--lease=3").ready()

    until(lambda: DBTaskResult.objects.get(pk=uuid.UUID(int=2**128 - 1)).status == "READY")

    assert DBTaskResult.objects.filter(status="RUNNING").count() == 200
    (row,) = worker.rows()
    until(lambda: worker.rows()[0].beats > row.beats + 2)
    assert "keeper.ended" not in worker.log
    DeclaredPolicy.objects.all().delete()
    until(lambda: not DBTaskResult.objects.filter(status="RUNNING").exists())


WATCHER = """
import pathlib, sys, time, django
django.setup()
from argus_maint.jobs import rescue
from argus_maint.workers.identity import this_host
view = rescue.View(using="default", noticed_by=sys.argv[1], host=this_host())
pathlib.Path(sys.argv[2] + sys.argv[1]).touch()
while not pathlib.Path(sys.argv[2]).exists():
    time.sleep(0.001)
while rescue.run(view).running:
    pass
"""


def test_watchers_that_race_for_the_same_tasks_rescue_each_once(lab: Lab) -> None:
    dead = dead_worker(lab)
    rows = [running([dead]) for _ in range(50)]
    go, names = lab.path("go"), ("a", "b", "c")
    command = [sys.executable, "-c", WATCHER]
    watchers = [subprocess.Popen([*command, name, go], env=lab.env) for name in names]
    try:
        until(lambda: all(Path(go + name).exists() for name in names))
        Path(go).touch()
        assert [watcher.wait(60) for watcher in watchers] == [0, 0, 0]
    finally:
        for watcher in watchers:
            watcher.kill()
            watcher.wait()

    for row in rows:
        row.refresh_from_db()
        assert (row.status, row.worker_ids) == ("READY", [dead])
    entries = LedgerEntry.objects.all()
    assert sorted(entry.task_id for entry in entries) == sorted(row.pk for row in rows)
    assert set(acts()) == {("exited", "requeued")}


# -- of a stock worker ---------------------------------------------------------------


def stock(lab: Lab) -> Any:
    """A stock ``db_worker``, of which nobody knows."""
    return lab.worker(name="stock", DJANGO_SETTINGS_MODULE="tests.faults.stock")


def test_the_task_of_a_stock_worker_is_left_alone(lab: Lab) -> None:
    stock(lab)
    result = tasks.wait_for.enqueue(lab.path("go"))
    lab.until_status(result, "RUNNING")
    two_days = timezone.now() - timedelta(days=2)
    DBTaskResult.objects.filter(pk=result.id).update(started_at=two_days)
    ours = lab.worker(PARKED, "--lease=1").ready()

    (row,) = ours.rows()
    until(lambda: Sighting.objects.exists())
    until(lambda: ours.rows()[0].beats > row.beats + 5, what="several passes")

    assert (lab.row(result).status, lab.ledger(result)) == ("RUNNING", [])
    lab.folder.joinpath("go").touch()
    lab.until_status(result, "SUCCESSFUL")
    until(lambda: not Sighting.objects.exists(), what="the sighting forgotten")
    assert lab.ledger(result) == []


def test_the_task_of_a_stock_worker_is_rescued_by_the_time_we_have_seen_it(lab: Lab) -> None:
    lab.setting(RESCUE={"*": {"backoff": [0, 0]}}, PROCESSES={"unregistered_after": 3, "lease": 3})
    gone = stock(lab)
    result = tasks.append.enqueue(lab.path("out"), "a", 1)
    until(lambda: runs(lab, "a"))
    gone.signal_tree(signal.SIGKILL)
    two_days = timezone.now() - timedelta(days=2)
    DBTaskResult.objects.filter(pk=result.id).update(started_at=two_days)

    lab.worker(name="ours").ready()
    seen = until(lambda: list(Sighting.objects.all()))[0]

    row = lab.until_status(result, "SUCCESSFUL")
    (entry,) = lab.ledger(result)
    assert (entry.verdict, entry.action) == ("unregistered", "requeued")
    assert (entry.acted_at - seen.first_seen_at).total_seconds() > 3
    assert len(row.worker_ids) == 2
    announced(lab, result)
    assert not Process.objects.filter(worker_id="stock").exists()
