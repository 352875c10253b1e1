"""The database goes away, and comes back: nobody is taken for dead, nothing is lost."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from django.db import connection, connections
from django_tasks_db.models import DBTaskResult

from argus_maint.models import Process
from tests import tasks
from tests.faults import namespace
from tests.faults.conftest import hold, only, servers, through
from tests.faults.evidence import acts, announced, deaths, runs, undisturbed
from tests.faults.postgres import Cluster
from tests.faults.proxy import Proxy
from tests.faults.tasks import append_and_wait
from tests.lab import Lab, until

postgres = only("postgres")


@contextmanager
def stopped(cluster: Cluster, end: Callable[[], None]) -> Iterator[None]:
    """A server that is away; this process connects anew when it is back."""
    connection.close()
    end()
    try:
        yield
    finally:
        cluster.start()


def survive(
    lab: Lab,
    alone: tuple[str, ...],
    processes: int,
    lease: int,
    outage: Callable[[], None],
    **env: Any,
) -> None:
    """Two supervisors work through an outage: some tasks end in it, some outlast it."""
    options = (f"--lease={lease}", f"--processes={processes}")
    near = lab.worker(*options, name="near", **env).ready(processes)
    far = lab.worker(*options, name="far", prefix=alone, **env).ready(processes)
    out, go = lab.path("out"), lab.path("go")
    results: list[Any] = [append_and_wait.enqueue(out, f"long{n}", go) for n in range(processes)]
    results += [tasks.append.enqueue(out, f"short{n}", 3) for n in range(processes)]
    results += [tasks.append.enqueue(out, f"queued{n}") for n in range(processes * 2)]
    until(lambda: len(lab.lines("out")) >= processes * 3, what="all places taken")
    ids = sorted(Process.objects.values_list("worker_id", "pid"))

    outage()

    lab.folder.joinpath("go").touch()
    for result in results:
        undisturbed(lab, result, 90)
        assert len(runs(lab, lab.row(result).args_kwargs["args"][1])) == 1
    assert sorted(Process.objects.values_list("worker_id", "pid")) == ids
    assert (deaths(), acts()) == ([], [])
    assert namespace.stop(far) == near.stop() == 0


def last(lab: Lab, seconds: float, processes: int) -> None:
    """Keep an outage up that long, and until the short tasks are over."""
    began = time.monotonic()
    until(
        lambda: sum(line.startswith("end short") for line in lab.lines("out")) == processes,
        what="short tasks at their end",
    )
    hold(max(0.0, seconds - (time.monotonic() - began)))


def away(
    lab: Lab, cluster: Cluster, end: Callable[[], None], seconds: float, processes: int
) -> Callable[[], None]:
    def outage() -> None:
        with stopped(cluster, end):
            last(lab, seconds, processes)

    return outage


@postgres
def test_a_restart_of_postgresql_is_not_noticed_by_tasks(
    private: Lab, cluster: Cluster, alone: tuple[str, ...]
) -> None:
    survive(private, alone, 2, 5, away(private, cluster, cluster.stop, 0, 2))


@postgres
def test_a_crash_of_postgresql_is_not_noticed_by_tasks(
    private: Lab, cluster: Cluster, alone: tuple[str, ...]
) -> None:
    survive(private, alone, 2, 5, away(private, cluster, cluster.kill, 0, 2))


@postgres
def test_three_children_outlive_an_outage_of_ten_seconds(
    private: Lab, cluster: Cluster, alone: tuple[str, ...]
) -> None:
    survive(private, alone, 3, 5, away(private, cluster, cluster.stop, 10, 3))


@postgres
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_ten_children_outlive_an_outage_of_a_minute(
    private: Lab, cluster: Cluster, alone: tuple[str, ...]
) -> None:
    survive(private, alone, 5, 5, away(private, cluster, cluster.stop, 60, 5))


@postgres
@pytest.mark.timeout(180)
def test_a_failover_to_a_standby_that_takes_no_writes_is_waited_out(
    private: Lab, cluster: Cluster, alone: tuple[str, ...]
) -> None:
    """Reads go on and every write is refused: no beat, no verdict."""

    def read_only() -> None:
        connection.close()
        cluster.options["default_transaction_read_only"] = "on"
        cluster.restart()
        try:
            last(private, 8, 2)
        finally:
            del cluster.options["default_transaction_read_only"]
            connection.close()
            cluster.restart()

    survive(private, alone, 2, 5, read_only)


@servers
@pytest.mark.timeout(180)
def test_a_server_that_answers_nobody_for_ten_seconds_is_waited_out(
    lab: Lab, proxy: Proxy, alone: tuple[str, ...]
) -> None:
    """Connections are there and silent, and new ones get no further: everybody hangs."""

    def silent() -> None:
        proxy.silence()
        last(lab, 10, 2)
        proxy.restore()

    survive(lab, alone, 2, 5, silent, **through(proxy))


@servers
@pytest.mark.timeout(180)
@pytest.mark.parametrize("how", ["reads go on", "nothing goes on"])
def test_a_migration_that_locks_the_task_table_is_waited_for(
    lab: Lab, alone: tuple[str, ...], how: str
) -> None:
    """The rest of the database answers all along, so nobody may think a worker stuck."""
    table = connection.ops.quote_name(DBTaskResult._meta.db_table)
    if connection.vendor == "postgresql":
        mode = "SHARE" if how == "reads go on" else "ACCESS EXCLUSIVE"
        begin, lock, end = "BEGIN", f"LOCK TABLE {table} IN {mode} MODE", "ROLLBACK"
    else:
        mode = "READ" if how == "reads go on" else "WRITE"
        begin, lock, end = "SELECT 1", f"LOCK TABLES {table} {mode}", "UNLOCK TABLES"

    def migrate() -> None:
        other = connections.create_connection("default")
        try:
            with other.cursor() as cursor:
                cursor.execute(begin)
                cursor.execute(lock)
                last(lab, 9, 2)
                cursor.execute(end)
        finally:
            other.close()

    survive(lab, alone, 2, 4, migrate)


def writing(lab: Lab, seconds: float, processes: int) -> Callable[[], None]:
    """Somebody holds SQLite's write lock."""
    name = connection.settings_dict["NAME"]

    def outage() -> None:
        with closing(sqlite3.connect(name, timeout=30, isolation_level=None)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            last(lab, seconds, processes)
            writer.execute("ROLLBACK")

    return outage


@only("sqlite")
def test_a_writer_that_outlasts_the_lease_is_waited_for(lab: Lab, alone: tuple[str, ...]) -> None:
    survive(lab, alone, 2, 2, writing(lab, 7, 2))


@only("sqlite")
@pytest.mark.slow
def test_a_writer_that_holds_the_lock_for_twenty_seconds_is_waited_for(
    lab: Lab, alone: tuple[str, ...]
) -> None:
    survive(lab, alone, 2, 5, writing(lab, 20, 2))


@postgres
@pytest.mark.slow
def test_an_outcome_that_cannot_be_written_before_the_grace_ends_is_given_up(
    private: Lab, cluster: Cluster
) -> None:
    """It dies with its worker; the task runs again, as after any loss."""
    lab = private
    worker = lab.worker("--lease=2", "--grace=3").ready()
    result = tasks.append.enqueue(lab.path("out"), "short", 1)
    until(lambda: runs(lab, "short"))
    with stopped(cluster, cluster.stop):
        until(lambda: len(lab.lines("out")) == 2)
        hold(2.5)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 3

    assert lab.row(result).status == "RUNNING"
    lab.worker("--lease=2", name="next")
    row = lab.until_status(result, "SUCCESSFUL")
    assert len(row.worker_ids) == len(runs(lab, "short")) == 2
    (entry,) = lab.ledger(result)
    assert (entry.verdict, entry.action) == ("exited", "requeued")
    announced(lab, result)


@postgres
def test_an_outcome_that_is_held_when_told_to_stop_is_written_within_the_grace(
    private: Lab, cluster: Cluster
) -> None:
    lab = private
    worker = lab.worker("--lease=2", "--grace=30").ready()
    result = tasks.append.enqueue(lab.path("out"), "short", 1)
    until(lambda: runs(lab, "short"))
    with stopped(cluster, cluster.stop):
        until(lambda: len(lab.lines("out")) == 2)
        worker.signal(signal.SIGTERM)
        hold(3)

    assert worker.wait() == 0
    undisturbed(lab, result)
    assert not Process.objects.exclude(state="ended").exists()
