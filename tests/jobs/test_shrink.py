"""A real SQLite file shrinks, in short steps, while others write to it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import override_settings
from django_tasks_db.models import DBTaskResult

from argus_maint.backends import space
from argus_maint.clock import now
from argus_maint.indexes import FINISHED
from argus_maint.jobs import storage
from argus_maint.jobs.acts import Act, Outcome
from argus_maint.jobs.storage import Errand, Report
from tests.jobs.space import MIB, auto_vacuum, execute, fill

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "sqlite", reason="about SQLite's file"),
]


def _run(errand: Errand | None = None, **setting: Any) -> Report:
    with override_settings(ARGUS_MAINT={"STORAGE": {"min_size": 0, "duty": 1, **setting}}):
        return storage.make(errand or Errand("default"))


def _acts(report: Report, act: str) -> list[Act]:
    return [each for each in report.acts if each.act == act]


def _pruned(rows: int = 20_000) -> None:
    """Much free space, and rows all over the file, so that some must move."""
    fill(rows)
    execute("DELETE FROM django_tasks_database_dbtaskresult WHERE rowid % 20 <> 0")
    execute("PRAGMA wal_checkpoint(TRUNCATE)")


# Another process: writes until its input ends, then says how often, and the longest wait.
WRITER = """
import select, sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
waits = []
while not select.select([sys.stdin], [], [], 0.002)[0]:
    began = time.monotonic()
    database.execute("BEGIN IMMEDIATE")
    database.execute("UPDATE probe SET n = n + 1")
    database.execute("COMMIT")
    waits.append(time.monotonic() - began)
    if len(waits) == 1:
        print("writing", flush=True)
print(len(waits), max(waits))
"""


@pytest.mark.slow
def test_the_file_shrinks_in_bounded_steps_while_another_process_writes() -> None:
    with auto_vacuum(2) as path:
        _pruned()
        execute("CREATE TABLE probe (n INTEGER)")
        execute("INSERT INTO probe VALUES (0)")
        rows, before = DBTaskResult.objects.count(), path.stat().st_size
        command = [sys.executable, "-c", WRITER, str(path)]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as writer:
            assert writer.stdout and writer.stdout.readline() == "writing\n"
            report = _run(target=0.02, duty=0.5)
            writes, longest = map(float, writer.communicate()[0].split())
        (act,) = _acts(report, "incremental_vacuum")
        assert act.outcome is Outcome.DONE, act
        steps = int(act.detail.split()[0])
        assert steps > 5, act
        assert writes > steps
        assert longest < 1.0  # a machine under load may hold up any process for a while
        # A writer may have kept the last checkpoint from reaching the end.
        execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert path.stat().st_size < before / 4
        assert act.bytes_after is not None and act.bytes_after < before / 4
        assert execute("PRAGMA freelist_count") == [(0,)]
        assert execute("PRAGMA integrity_check") == [("ok",)]
        assert DBTaskResult.objects.count() == rows
        execute("DROP TABLE probe")


def test_what_min_size_allows_stays_free_for_new_rows() -> None:
    with auto_vacuum(2) as path:
        _pruned(8000)
        before, free = path.stat().st_size, space.look("default").free_bytes
        assert free and free > 3 * MIB
        report = _run(min_size="2M")
        assert report.after.free_bytes == pytest.approx(2 * MIB, abs=64 * 1024)
        assert path.stat().st_size < before
        assert _acts(_run(min_size="2M"), "incremental_vacuum") == []


@pytest.mark.slow
def test_a_pass_stops_in_time_and_the_next_one_goes_on() -> None:
    with auto_vacuum(2):
        _pruned()
        began = now()
        report = _run(Errand("default", max_seconds=0.3), target=0.002, duty=0.02)
        assert now() - began < 2
        (act,) = _acts(report, "incremental_vacuum")
        assert act.outcome is Outcome.LATER
        assert report.could_not == []
        left = report.after.free_bytes
        assert left and report.before.free_bytes and 0 < left < report.before.free_bytes
        assert _run().after.free_bytes == 0


@pytest.mark.slow
def test_a_writer_that_never_lets_go_blocks_it_and_it_gives_up() -> None:
    with auto_vacuum(2) as path:
        _pruned(8000)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            report = _run(Errand("default", max_seconds=30))
        finally:
            other.execute("ROLLBACK")
            other.close()
        outcomes = {each.act: each.outcome for each in report.could_not}
        assert outcomes["incremental_vacuum"] is Outcome.BLOCKED
        assert outcomes["sample"] is Outcome.BLOCKED
        assert report.after.free_bytes == report.before.free_bytes


def test_a_dry_run_says_how_much_it_would_give_back() -> None:
    with auto_vacuum(2) as path:
        _pruned(8000)
        before = path.stat().st_size
        report = _run(Errand("default", dry_run=True))
        (act,) = _acts(report, "incremental_vacuum")
        assert act.outcome is Outcome.WOULD
        assert act.bytes_before and act.bytes_after and act.bytes_after < act.bytes_before / 3
        assert path.stat().st_size == before


@pytest.mark.slow
def test_without_auto_vacuum_it_says_what_a_person_can_do_and_that_works(tmp_path: Path) -> None:
    with auto_vacuum(0) as path:
        _pruned(8000)
        before = path.stat().st_size
        report = _run()
        assert _acts(report, "incremental_vacuum") == []
        assert path.stat().st_size == before
        (line,) = report.advice
        command = "PRAGMA auto_vacuum=2; VACUUM;"
        assert "stop the queue" in line and f"manage.py dbshell -- '{command}'" in line
        # What the command runs, without the sqlite3 program.
        connection.close()
        database = sqlite3.connect(path, isolation_level=None)
        database.executescript(command)
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.close()
        assert path.stat().st_size < before / 4
        file = space.look("default").sqlite
        assert file is not None and file.auto_vacuum == "incremental"
        assert _run().advice == []


def test_the_wal_is_emptied_unless_a_reader_is_in_the_way() -> None:
    with auto_vacuum(0) as path:
        fill(2000)
        wal = Path(f"{path}-wal")
        assert wal.stat().st_size > MIB
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT COUNT(*) FROM django_tasks_database_dbtaskresult").fetchall()
        fill(100)
        try:
            (act,) = _acts(_run(), "checkpoint")
        finally:
            reader.execute("ROLLBACK")
            reader.close()
        assert "a reader still needs" in act.detail or "in use" in act.detail
        assert wal.stat().st_size > MIB
        (act,) = _acts(_run(), "checkpoint")
        assert "the WAL is empty" in act.detail
        assert wal.stat().st_size < MIB


def test_statistics_are_renewed_and_the_plans_stay_as_they_should() -> None:
    fill(2000)
    try:
        (act,) = _acts(_run(), "optimize")
        assert act.outcome is Outcome.DONE
        connection.close()  # a new session reads them
        finished = DBTaskResult.objects.filter(status="FAILED", finished_at__lt="2026-01-01T00:00Z")
        assert FINISHED.name in finished.order_by("finished_at", "id").explain()
        assert "tasks_db_new_ordering_idx" in DBTaskResult.objects.ready().explain()
        assert "argus_maint_running_idx" in DBTaskResult.objects.filter(status="RUNNING").explain()
    finally:
        execute("DELETE FROM sqlite_stat1")


def test_a_file_too_big_for_dbstat_is_measured_as_a_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill(2000)
    monkeypatch.setattr(space.sqlite, "READ_WHOLE", MIB // 2)
    whole = space.look("default")
    assert (whole.measured, whole.indexes, whole.index_bytes) == ("file", [], 0)
    assert whole.rows == 2000 and whole.rows_source == "upper bound, by rowids"
    assert "those of the whole file" in whole.unknown[0]


def test_the_command_shows_the_steps(capsys: pytest.CaptureFixture[str]) -> None:
    with auto_vacuum(2):
        _pruned(8000)
        with override_settings(ARGUS_MAINT={"STORAGE": {"min_size": 0, "duty": 1}}):
            call_command("maint", "storage", "--run")
        shown = capsys.readouterr()
        assert shown.err.splitlines() == ["giving free pages back"]
        assert "incremental vacuum" in shown.out and " steps, the longest held" in shown.out
