"""Each code: what it sees in real rows and processes, and what it leaves alone."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection, connections
from django.test import override_settings

from argus_maint.backends import locks, space
from argus_maint.conf_findings import CODES
from argus_maint.exceptions import JobError, TaskDiscarded, TaskQuarantined
from argus_maint.findings import book
from argus_maint.findings.observation import Observation
from argus_maint.jobs import detect
from argus_maint.jobs.detect import storage
from argus_maint.models import Finding, Pause, Process, Run
from tests import rows
from tests.lab import Lab, until

pytestmark = pytest.mark.django_db(transaction=True)

SQLITE, POSTGRES, MARIADB = (
    pytest.mark.skipif(connection.vendor != each, reason=f"about {each}")
    for each in ("sqlite", "postgresql", "mysql")
)


def look(code: str, **options: Any) -> list[Observation]:
    """What a look sees of one code, with these thresholds."""
    patience = options.pop("patience", 0.05)
    with override_settings(ARGUS_MAINT={"FINDINGS": {code: options}}):
        seen = detect.observe("default", patience=patience, codes=[code])
    assert not seen.errors
    assert all(each.code == code for each in seen.observations)
    return seen.observations


def objects(code: str, **options: Any) -> list[str]:
    return [each.object for each in look(code, **options)]


def one(code: str, **options: Any) -> Observation:
    (found,) = look(code, **options)
    return found


def ended(name: str, **values: Any) -> Process:
    """A process that has ended a minute ago."""
    values = {"kind": "worker", "reason": "crashed", "exit_signal": "SIGKILL", **values}
    values.setdefault("ended_at", rows.db_now("default") - timedelta(seconds=60))
    return rows.process(name, state="ended", number=values.pop("number", 1), **values)


def resolved(code: str, object: str) -> None:
    """A person has seen to it."""
    book.record([Observation(code, object)] * 1, {code}, "me", "default")
    Finding.objects.filter(code=code).update(state="open")
    assert book.resolve(code, object, "me@h", "seen to", "default")


def test_every_code_has_a_detector() -> None:
    assert set(detect.DETECTORS) == set(CODES)


def test_an_empty_site_has_nothing() -> None:
    assert detect.observe("default").observations == []


def test_a_healthy_site_has_nothing() -> None:
    rows.process("w", queues=("*",))
    rows.process("w", 0, kind="supervisor")
    for status in ("READY", "SUCCESSFUL", "FAILED"):
        for _ in range(5):
            rows.task(status, age=30)
    assert detect.observe("default").observations == []


def test_what_fails_stops_no_other_and_closes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(look: Any) -> list[Observation]:
        raise ValueError("oh")

    book.record([Observation("PoisonTask", "a.b")], {"PoisonTask"}, "me", "default")
    monkeypatch.setitem(detect.DETECTORS, "PoisonTask", broken)
    rows.task(age=1000)
    with pytest.raises(JobError, match="could not look for PoisonTask: ValueError: oh") as error:
        detect.make("default", "me")
    assert error.value.report["errors"] == {"PoisonTask": "ValueError: oh"}
    states = dict(Finding.objects.values_list("code", "state"))
    assert states == {"PoisonTask": "open", "NoWorkers": "pending"}


@override_settings(ARGUS_MAINT={"FINDINGS": {"NoWorkers": {"enabled": False}}})
def test_a_code_that_is_off_sees_nothing_and_closes() -> None:
    rows.task(age=1000)
    seen = detect.observe("default")
    assert "NoWorkers" not in {each.code for each in seen.observations}
    assert "NoWorkers" in seen.looked_for


# -- processes --------------------------------------------------------------------------


def test_dead_worker_is_a_supervisor_that_died_without_an_heir() -> None:
    ended("w1", kind="supervisor", number=0, pid=77, verdict="expired")
    ended("w2", kind="supervisor", number=0, reason="stopped")
    found = one("DeadWorker")
    host = found.evidence["host"]
    assert found.object == f"w1@{host}"
    assert (found.evidence["worker"], found.evidence["pid"]) == ("w1", 77)
    rows.process("w1", 5, kind="supervisor", host=rows.elsewhere())  # of its name
    assert objects("DeadWorker") == []


@pytest.mark.parametrize("reason", ["buried", "stopped", "shutdown"])
def test_dead_worker_is_not_one_that_somebody_ended(reason: str) -> None:
    ended("w1", kind="supervisor", number=0, reason=reason)
    assert objects("DeadWorker") == []


def test_dead_worker_is_also_one_whose_death_nobody_has_noted() -> None:
    rows.process("w1", 0, kind="supervisor", pid=rows.dead_pid())
    found = one("DeadWorker")
    assert found.object.startswith("w1@")


def test_dead_worker_is_also_one_whose_workers_keep_dying() -> None:
    rows.process("w1", 0, kind="supervisor")
    for number in range(1, 6):
        ended("w1", number=number)
    assert "died 5 times within 10m: SIGKILL" in one("DeadWorker").summary
    assert objects("DeadWorker", deaths=6) == []
    assert objects("DeadWorker", within=30) == []
    resolved("DeadWorker", one("DeadWorker").object)
    assert objects("DeadWorker") == []


def test_dead_worker_counts_no_end_that_was_meant() -> None:
    rows.process("w1", 0, kind="supervisor")
    for number, reason in enumerate(["stopped", "shutdown", "manual", "lost", "stopped"], 1):
        ended("w1", number=number, reason=reason)
    assert objects("DeadWorker") == []


def pool(busy: int, **values: Any) -> Process:
    """A process that ran tasks in its own memory, and has died a minute ago."""
    queues = {"default": {"ready": 1, "busy": busy, "finished": 9, "failed": 0, "oldest": None}}
    if not busy:
        queues["default"]["ready"] = 0
    pools = {"threads": {"queues": queues, "tasks": {"shop.mail": busy}, "size": 4}}
    values = {"kind": "pool", "reason": "lost", "exit_signal": "", **values}
    return ended(f"pool-{os.urandom(3).hex()}", info={"pools": pools}, **values)


def test_dead_worker_is_also_a_pool_that_took_tasks_with_it() -> None:
    first = pool(2)
    pool(0)  # it held none
    pool(2, reason="stopped")
    pool(2, ended_at=rows.db_now("default") - timedelta(hours=2))
    found = one("DeadWorker")
    assert found.object == f"{first.name}@{first.hostname}"
    assert "3 tasks died with 1 process" in found.summary and "2 shop.mail" in found.summary
    assert (found.evidence["tasks"], found.evidence["backend"]) == (3, "threads")
    resolved("DeadWorker", found.object)
    assert objects("DeadWorker") == []


def test_unregistered_worker_runs_tasks_for_long() -> None:
    for seconds in (10, 200):
        rows.seen(rows.task("RUNNING", workers=("stock",)), seconds)
    found = one("UnregisteredWorker")
    assert (found.object, found.evidence["worker"], found.evidence["tasks"]) == (
        *("stock", "stock"),
        2,
    )
    assert objects("UnregisteredWorker", seen=300) == []


def test_scheduler_down() -> None:
    ended("s", kind="scheduler", info={"driver": "crontask"}, reason="lost", number=0)
    assert one("SchedulerDown").object == ""
    rows.process("s2", 0, kind="scheduler", info={"driver": "apscheduler"})
    assert objects("SchedulerDown") == []


# -- queues -----------------------------------------------------------------------------


def test_no_workers_where_tasks_wait_or_a_worker_was_there() -> None:
    assert objects("NoWorkers") == []
    rows.task()
    assert one("NoWorkers").evidence["tasks"] == 1
    rows.DBTaskResult.objects.all().delete()
    ended("w1", reason="stopped")
    found = one("NoWorkers")
    assert (found.object, found.evidence["worker"]) == ("default", "w1")
    rows.process("w2", queues=("other",))
    assert objects("NoWorkers") == []


def test_no_workers_is_no_matter_of_those_that_come_and_go() -> None:
    info = {"backend": "default", "queues": ["*"], "excluded": [], "batch": True}
    ended("w1", reason="stopped", info=info)
    assert objects("NoWorkers") == []


def test_no_workers_is_told_of_each_backend_in_the_database() -> None:
    database, dummy = (
        settings.TASKS["default"]["BACKEND"],
        "django.tasks.backends.dummy.DummyBackend",
    )
    tasks = {"default": {"BACKEND": database}, "x": {"BACKEND": database}, "y": {"BACKEND": dummy}}
    rows.process("w1")
    rows.task(backend_name="x")
    rows.task(backend_name="y")
    with override_settings(TASKS=tasks):
        assert objects("NoWorkers") == ["x"]


def test_unattended_queue_has_tasks_and_no_worker() -> None:
    rows.process("w1", queues=("default",))
    rows.task(queue_name="bulk", age=300)
    found = one("UnattendedQueue")
    assert (found.object, found.evidence["queue"], found.evidence["tasks"]) == ("bulk", "bulk", 1)
    assert objects("UnattendedQueue", unattended=400) == []
    Pause.objects.create(queue_name="bulk", backend_name="default", since=rows.ago(9))
    assert objects("UnattendedQueue") == []
    Pause.objects.update(until=rows.ago(5))  # over
    assert objects("UnattendedQueue") == ["bulk"]
    rows.process("w2", 2, queues=("bulk",))
    assert objects("UnattendedQueue") == []
    Pause.objects.create(worker="w2", since=rows.ago(9))  # drained
    assert objects("UnattendedQueue") == ["bulk"]


def test_unattended_queue_is_not_told_beside_no_workers() -> None:
    rows.task(queue_name="bulk", age=300)
    assert objects("UnattendedQueue") == []
    assert objects("NoWorkers") == ["default"]


def test_unattended_queue_of_another_backend_is_named_with_it() -> None:
    rows.process("w1", info={"backend": "x", "queues": ["a"], "excluded": []})
    rows.task(backend_name="x", queue_name="b", age=300)
    with override_settings(TASKS={"x": settings.TASKS["default"]}):
        assert objects("UnattendedQueue") == ["x/b"]


def test_a_task_that_was_enqueued_long_ago_for_now_has_not_waited() -> None:
    rows.process("w1", queues=("default",))
    rows.task(queue_name="bulk", age=30_000, run_after=rows.ago(5))
    assert objects("UnattendedQueue") == []
    assert objects("QueueBacklog") == []


def test_queue_backlog_is_many_that_wait_or_one_that_waits_long() -> None:
    rows.process("w1")
    for _ in range(5):
        rows.task(age=400)
    found = one("QueueBacklog", ready=4)
    assert (found.object, found.evidence["why"], found.evidence["tasks"]) == (
        *("default", "ready"),
        5,
    )
    assert objects("QueueBacklog", ready=5) == []
    assert objects("QueueBacklog", ready=4, waits=500) == []
    assert one("QueueBacklog", oldest=300).evidence["why"] == "oldest"
    Pause.objects.create(queue_name="default", backend_name="default", since=rows.ago(9))
    assert objects("QueueBacklog", oldest=300) == []


def test_queue_backlog_is_also_a_queue_whose_workers_are_all_held() -> None:
    worker = rows.process("w1")
    rows.task("RUNNING", workers=(worker.worker_id,), age=1000)
    rows.task(age=950)
    found = one("QueueBacklog", oldest=2000)
    assert found.evidence["why"] == "stalled"
    assert "every worker has been at one task for over 15m" in found.summary


def test_queue_backlog_is_not_told_of_a_queue_without_a_worker() -> None:
    rows.task(age=5000)
    assert objects("QueueBacklog") == []


# -- tasks ------------------------------------------------------------------------------


@override_settings()
def test_stuck_task_is_past_its_limit() -> None:
    worker = rows.process("w1")
    row = rows.task("RUNNING", workers=(worker.worker_id,), age=100)
    assert objects("StuckTask") == []
    rows.entry(row, verdict="overdue", action="reported")
    found = one("StuckTask")
    assert found.object == found.evidence["task_id"] == str(row.pk)
    assert (found.evidence["worker"], found.evidence["why"]) == ("w1", "overdue")


def test_stuck_task_is_lost_and_nobody_rescues_it() -> None:
    row = rows.lost()
    assert objects("StuckTask") == []
    Process.objects.update(state="ended", ended_at=rows.db_now("default") - timedelta(seconds=130))
    found = one("StuckTask")
    assert (found.object, found.evidence["why"]) == (str(row.pk), "lost")
    assert objects("StuckTask", lost=200) == []


def poison(path: str, **values: Any) -> Any:
    name = f"{TaskQuarantined.__module__}.{TaskQuarantined.__qualname__}"
    row = rows.task("FAILED", path=path, exception_class_path=name)
    rows.entry(row, action="quarantined", **values)
    return row


def test_poison_task_until_nobody_is_in_quarantine() -> None:
    first, last = poison("a.b", since=60), poison("a.b", since=5)
    found = one("PoisonTask")
    assert (found.object, found.evidence["tasks"], found.evidence["task_id"]) == (
        *("a.b", 2),
        str(last.pk),
    )
    rows.DBTaskResult.objects.filter(pk=last.pk).update(status="READY")
    discarded = f"{TaskDiscarded.__module__}.{TaskDiscarded.__qualname__}"
    rows.DBTaskResult.objects.filter(pk=first.pk).update(exception_class_path=discarded)
    assert objects("PoisonTask") == []


def test_rescue_loop_is_many_losses_of_one_kind() -> None:
    for since in range(5):
        rows.entry(rows.task(path="a.b"), since=since)
    rows.entry(rows.task(path="c.d"))
    found = one("RescueLoop")
    assert (found.object, found.evidence["losses"]) == ("a.b", 5)
    assert "SIGKILL 5" in found.summary
    assert objects("RescueLoop", losses=6) == []
    resolved("RescueLoop", "a.b")
    assert objects("RescueLoop") == []
    for _ in range(5):
        rows.entry(rows.task(path="a.b"), acted_at=rows.db_now("default") + timedelta(seconds=1))
    assert objects("RescueLoop") == ["a.b"]


def test_what_went_down_with_one_supervisor_is_one_loss() -> None:
    for number in range(8):
        row = rows.task(workers=(f"w1.{rows.INCARNATION}.{number}",))
        rows.entry(row, reason="lost", exit_signal="")
    assert objects("RescueLoop") == []


def test_losses_that_do_not_count_make_no_loop() -> None:
    for _ in range(8):
        rows.entry(rows.task(), counted=False, reason="shutdown")
    assert objects("RescueLoop") == []


def test_failure_spike_is_a_kind_of_task_of_which_most_fail() -> None:
    for _ in range(20):
        rows.task("FAILED", path="a.b")
    for _ in range(20):
        rows.task("SUCCESSFUL", path="a.b")
    for _ in range(19):
        rows.task("FAILED", path="c.d")
    found = one("FailureSpike")
    assert (found.object, found.evidence["tasks"], found.evidence["total"]) == ("a.b", 20, 40)
    assert found.evidence["exception"] == "builtins.ValueError"
    rows.task("SUCCESSFUL", path="a.b")
    assert objects("FailureSpike") == []  # less than half
    assert objects("FailureSpike", failures=19) == ["c.d"]
    resolved("FailureSpike", "c.d")
    assert objects("FailureSpike", failures=19) == []


def test_failure_spike_forgets_what_is_old_or_was_discarded() -> None:
    discarded = f"{TaskDiscarded.__module__}.{TaskDiscarded.__qualname__}"
    for _ in range(30):
        rows.task("FAILED", exception_class_path=discarded)
        rows.task("FAILED", path="c.d", age=700)
    assert objects("FailureSpike") == []


def test_zombie_write_names_the_worker() -> None:
    row = rows.task(workers=(f"w1.{rows.INCARNATION}.2",))
    rows.entry(row, verdict="zombie", action="refused", counted=False, since=100)
    found = one("ZombieWrite")
    assert (found.object, found.evidence["worker"]) == ("w1", "w1")
    assert found.evidence["task_id"] == str(row.pk)
    assert objects("ZombieWrite", within=60) == []
    resolved("ZombieWrite", "w1")
    assert objects("ZombieWrite") == []


# -- jobs -------------------------------------------------------------------------------


def test_missed_tick_is_one_that_nobody_claimed() -> None:
    assert objects("MissedTick") == []  # no job ever ran
    rows.ran("rescue", rows.ago(1800).replace(second=0, microsecond=0))
    found = one("MissedTick")
    assert (found.object, found.evidence["job"]) == ("rescue", "rescue")
    assert objects("MissedTick", late=3600) == []


@pytest.mark.parametrize(
    ("state", "says"),
    [("running", "has been running for 2d"), ("failed", "oh"), ("lost", "was lost with")],
)
def test_job_failed_by_its_last_run_behind_ticks_that_were_skipped(state: str, says: str) -> None:
    at = rows.ago(180_000)
    Run.objects.create(job="storage", tick=at, state=state, started_at=at, error="oh", host="h")
    for minutes in (2, 1):
        at = rows.ago(60 * minutes)
        Run.objects.create(job="storage", tick=at, state="skipped", started_at=at)
    found = one("JobFailed")
    assert (found.object, found.evidence["host"], says in found.summary) == ("storage", "h", True)
    Run.objects.create(job="storage", state="done", started_at=rows.ago(5))
    assert objects("JobFailed") == []


@override_settings(ARGUS_MAINT={"PRUNE": {"archive": "/proc/nowhere"}})
def test_archive_failed_is_what_a_prune_that_cannot_archive_comes_to() -> None:
    from argus_maint.jobs import passes

    rows.task("SUCCESSFUL", age=30 * 86_400)
    with pytest.raises(JobError) as error:
        passes.prune(passes.Pass("default", "me"))
    at = rows.ago(9)
    Run.objects.create(
        job="prune",
        state="failed",
        started_at=at,
        report=error.value.report,
        error=str(error.value),
    )
    found = one("ArchiveFailed")
    assert (found.object, found.evidence["folder"]) == ("", "/proc/nowhere")
    assert "/proc/nowhere" in found.summary
    assert objects("JobFailed") == []


# -- storage ----------------------------------------------------------------------------


def test_prune_behind_is_a_task_long_past_its_retention() -> None:
    rows.task("SUCCESSFUL", age=15 * 86_400)
    rows.task("FAILED", age=50 * 86_400)
    assert objects("PruneBehind") == []
    rows.task("SUCCESSFUL", age=17 * 86_400, queue_name="bulk")
    found = one("PruneBehind")
    assert (found.object, found.evidence["queue"]) == ("", "bulk")
    assert objects("PruneBehind", behind="4d") == []


def test_prune_behind_is_not_about_what_is_to_be_kept() -> None:
    poison("a.b")
    rows.DBTaskResult.objects.update(finished_at=rows.ago(800 * 86_400))
    rows.task("SUCCESSFUL", age=30 * 86_400, queue_name="audit")
    setting = {"RETENTION": {"queues": {"audit": {"successful": None}}}}
    with override_settings(ARGUS_MAINT=setting):
        assert detect.observe("default", codes=["PruneBehind"]).observations == []
    assert objects("PruneBehind") == [""]


def test_table_bloat_by_the_databases_own_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = space.glance("default")
    assert (seen.vendor, seen.bytes >= 0, 0 <= seen.empty <= 1) == (connection.vendor, True, True)
    assert objects("TableBloat") == []
    bloated = space.Glance(connection.vendor, "table", 2**30, 0.8, "dead rows")
    monkeypatch.setattr(storage, "glance", lambda using: bloated)
    assert "80% of the 1.0 GiB of table are dead rows" in one("TableBloat").summary


@SQLITE
def test_table_bloat_of_a_file_whose_rows_were_deleted() -> None:
    with connection.cursor() as cursor:
        cursor.execute("VACUUM")  # what earlier tests have left free
    for _ in range(500):
        rows.task("SUCCESSFUL", traceback="x" * 4000)
    assert objects("TableBloat", size="1M") == []
    rows.DBTaskResult.objects.all().delete()
    assert "free pages" in one("TableBloat", size="1M").summary


@POSTGRES
def test_table_bloat_of_a_table_whose_rows_were_deleted() -> None:
    for _ in range(300):
        rows.task("SUCCESSFUL", traceback="x" * 1000)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE django_tasks_database_dbtaskresult")
    assert objects("TableBloat", size="8K") == []
    keep = rows.task("SUCCESSFUL", traceback="x" * 1000)
    rows.DBTaskResult.objects.exclude(pk=keep.pk).delete()
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE django_tasks_database_dbtaskresult")
    assert one("TableBloat", size="8K").evidence["database"] == "postgresql"


# -- the database -----------------------------------------------------------------------


@contextlib.contextmanager
def another_session() -> Iterator[Any]:
    """A session that is in a transaction."""
    other = connections["default"].copy()
    other.inc_thread_sharing()
    try:
        other.ensure_connection()
        other.set_autocommit(False)
        with other.cursor() as cursor:
            yield cursor
    finally:
        with contextlib.suppress(Exception):
            other.rollback()
        other.close()


@POSTGRES
def test_database_locked_by_who_locks_the_table_and_the_look_does_not_hang() -> None:
    rows.task()
    with another_session() as cursor:
        cursor.execute("LOCK TABLE django_tasks_database_dbtaskresult IN ACCESS EXCLUSIVE MODE")
        cursor.execute("SELECT pg_backend_pid()")
        pid = cursor.fetchone()[0]
        assert objects("DatabaseLocked") == []
        found = until(lambda: look("DatabaseLocked", held=0.2))[0]
        assert (found.evidence["pid"], found.severity) == (pid, "")
        with override_settings(ARGUS_MAINT={"FINDINGS": {"DatabaseLocked": {"held": 0.2}}}):
            seen = detect.observe("default")
            outcome = book.record(seen.observations, seen.looked_for, "me", "default")
    assert "NoWorkers" in seen.errors
    assert "NoWorkers" not in seen.looked_for
    assert [str(each) for each in outcome.opened] == ["DatabaseLocked"]
    assert objects("DatabaseLocked", held=0.2) == []


@POSTGRES
def test_database_locked_is_a_warning_where_rows_are_locked_and_nobody_works() -> None:
    rows.task()
    with another_session() as cursor:
        cursor.execute("SELECT id FROM django_tasks_database_dbtaskresult FOR UPDATE")
        found = until(lambda: look("DatabaseLocked", held=0.2))[0]
        assert (found.severity, "idle in transaction" in found.summary) == ("warning", True)


@POSTGRES
def test_database_locked_is_not_one_that_reads_or_works_elsewhere() -> None:
    rows.task()
    with another_session() as reading, another_session() as working:
        reading.execute("SELECT count(*) FROM django_tasks_database_dbtaskresult")
        working.execute("CREATE TEMPORARY TABLE t (x int)")
        until(lambda: _oldest_transaction() > 0.3)
        assert objects("DatabaseLocked", held=0.2) == []


def _oldest_transaction() -> float:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXTRACT(EPOCH FROM clock_timestamp() - min(xact_start))::float"
            " FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        return float(cursor.fetchone()[0] or 0)


@pytest.mark.skipif(connection.vendor == "sqlite", reason="has no rows that are locked")
def test_database_locked_by_who_makes_another_wait() -> None:
    row = rows.task()
    table = "django_tasks_database_dbtaskresult"
    key = row.pk.hex if connection.vendor == "mysql" else str(row.pk)
    with another_session() as holder:
        holder.execute(f"UPDATE {table} SET priority = 1 WHERE id = %s", [key])

        def wait() -> None:
            with another_session() as waiter, contextlib.suppress(Exception):
                waiter.execute(f"UPDATE {table} SET priority = 2 WHERE id = %s", [key])

        thread = threading.Thread(target=wait)
        thread.start()
        # MariaDB answers from a copy that it renews only 0.1 s after the last who read it.
        found = until(lambda: time.sleep(0.2) or look("DatabaseLocked", held=1))[0]
        holder.execute("ROLLBACK")
        thread.join(20)
    assert (found.evidence["waiting"], found.severity) == (1, "")
    assert found.evidence["pid"]


WRITER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def writer() -> Iterator[int]:
    """Another process that has SQLite's write lock."""
    path = str(connection.settings_dict["NAME"])
    command = [sys.executable, "-c", WRITER, path]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        try:
            yield process.pid
        finally:
            process.kill()


@SQLITE
@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_database_locked_names_the_process_that_writes(mode: str) -> None:
    rows.task()
    with connection.cursor() as cursor:
        # A thread of an earlier test may still have it open.
        until(lambda: cursor.execute(f"PRAGMA journal_mode = {mode}"), what=mode)
    try:
        assert objects("DatabaseLocked") == []
        with writer() as pid:
            found = one("DatabaseLocked")
        assert found.evidence["pid"] == pid
        assert found.evidence["who"].startswith(sys.executable)
        assert objects("DatabaseLocked") == []
    finally:
        connection.close()
        with sqlite3.connect(str(connection.settings_dict["NAME"])) as raw:
            raw.execute("PRAGMA journal_mode = WAL")


@SQLITE
def test_who_has_locked_a_file_of_the_same_number_on_another_disk_is_not_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pid is one that the runbook kills."""
    file = tmp_path / "db"
    file.touch()
    number, device = file.stat().st_ino, locks._device(file.stat())
    listed = tmp_path / "locks"
    monkeypatch.setattr(locks, "_LOCKS", listed)

    def named(pid: int, device: str) -> list[int]:
        span = f"{locks._RESERVED} {locks._RESERVED}"
        listed.write_text(f"1: POSIX  ADVISORY  WRITE {pid} {device}:{number} {span}\n")
        return list(locks._writers(str(file)))

    with subprocess.Popen(["sleep", "60"]) as other:
        try:
            assert named(other.pid, device) == [other.pid]
            assert named(other.pid, "ff:fff") == []
        finally:
            other.kill()
    with file.open():  # some file systems tell the kernel another device than everybody else
        assert named(os.getpid(), "ff:fff") == [os.getpid()]


@SQLITE
def test_database_locked_waits_as_long_as_a_transaction_may_take() -> None:
    began = rows.ago(0)
    with writer():
        assert look("DatabaseLocked", held=0.5, patience=None)
    assert (rows.ago(0) - began).total_seconds() >= 0.5


def test_clock_skew_of_who_claims_or_enqueues_in_the_future() -> None:
    assert objects("ClockSkew") == []
    worker = rows.process("w1", host=rows.elsewhere())
    rows.task("RUNNING", workers=(worker.worker_id,), age=-60)
    rows.task(age=-30)
    found = {each.object: each for each in look("ClockSkew")}
    assert set(found) == {"far", "task table"}
    assert 50 < found["far"].evidence["seconds"] < 61
    assert (found["far"].evidence["worker"], found["far"].evidence["pid"]) == ("w1", worker.pid)
    assert "ahead of the database's" in found["far"].summary
    assert objects("ClockSkew", skew="2m") == []


def test_a_beat_that_is_to_come_is_a_wrong_clock_and_no_death() -> None:
    rows.process("w1", host=rows.elsewhere(), kind="supervisor", silent=-60)
    assert objects("ClockSkew") == ["far"]
    assert objects("DeadWorker") == []


def test_clock_skew_of_this_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database's answer is set back; that a host's clock is wrong looks the same."""
    from argus_maint.jobs.detect import database

    for seconds, word in ((-60, "ahead of"), (60, "behind")):
        moment = rows.ago(-seconds)
        monkeypatch.setattr(database, "db_now", lambda using, moment=moment: moment)
        assert word in one("ClockSkew").summary


# -- the site ---------------------------------------------------------------------------


def test_misconfigured_is_an_error_of_our_checks() -> None:
    assert objects("Misconfigured") == []
    wrong = {"prune": {"schedule": "61 * * * *"}, "x": {"command": "chek", "schedule": "* * * * *"}}
    with override_settings(ARGUS_MAINT={"JOBS": wrong}):
        seen = detect.observe("default", codes=["Misconfigured"]).observations
    (found,) = seen
    assert (found.object, found.evidence["check"]) == ("E004", "E004")
    assert "(and 1 more)" in found.summary


def test_misconfigured_is_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    with override_settings(ARGUS_MAINT={}):  # W001
        assert detect.observe("default", codes=["Misconfigured"]).observations == []


def test_misconfigured_is_a_migration_that_was_not_applied() -> None:
    from django.db.migrations.recorder import MigrationRecorder

    recorder = MigrationRecorder(connection)
    recorder.record_unapplied("argus_maint", "0007_findings")
    try:
        found = one("Misconfigured")
    finally:
        recorder.record_applied("argus_maint", "0007_findings")
    assert found.object == "migration"
    assert "argus_maint.0007_findings not applied: run manage.py migrate" in found.summary


# -- with real processes ----------------------------------------------------------------


def test_a_killed_supervisor_is_a_dead_worker_until_its_name_is_back(lab: Lab) -> None:
    worker = lab.worker(name="w1").ready()
    assert detect.observe("default").observations == []
    for pid in worker.tree():
        os.kill(pid, signal.SIGKILL)
    worker.wait()
    rows.task(age=300)
    both = {"DeadWorker", "NoWorkers"}  # the workers' ends are noticed one after the other
    until(lambda: {each.code for each in detect.observe("default").observations} == both)
    lab.worker(name="w1").ready()
    assert until(lambda: not detect.observe("default").observations)
