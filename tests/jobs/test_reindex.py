"""Real PostgreSQL indexes, bloated, half built, and in somebody's way."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection
from django.test import override_settings

from argus_maint.backends import space
from argus_maint.conf_storage import Storage
from argus_maint.database import own_session
from argus_maint.jobs import reindex, storage
from argus_maint.jobs.acts import Act, Outcome
from argus_maint.jobs.storage import Errand, Report
from argus_maint.models import StorageSample
from argus_maint.observe.space import advice
from tests.jobs.space import execute, fill, open_transaction
from tests.lab import until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="about PostgreSQL's indexes"),
]
TABLE = "django_tasks_database_dbtaskresult"
PKEY = f"{TABLE}_pkey"
INVALID = "SELECT relname FROM pg_index JOIN pg_class ON oid = indexrelid WHERE NOT indisvalid"


def _run(errand: Errand | None = None, **setting: Any) -> Report:
    with override_settings(ARGUS_MAINT={"STORAGE": {"min_size": "256K", **setting}}):
        return storage.make(errand or Errand("default"))


def _of(report: Report, act: str) -> dict[str, Act]:
    return {each.subject: each for each in report.acts if each.act == act}


@pytest.fixture
def bloated() -> None:
    """Most rows are gone, autovacuum has been there, and the indexes are as big as before."""
    fill(20_000)
    execute(f"DELETE FROM {TABLE} WHERE ctid < '(700,1)'")
    _vacuum()


def _vacuum() -> None:
    # A snapshot of another test's session would keep the dead rows.
    execute(f"VACUUM (ANALYZE) {TABLE}")


@contextlib.contextmanager
def _leftover() -> Iterator[str]:
    """What a REINDEX CONCURRENTLY leaves that a lock has ended in the middle."""
    holds = open_transaction(f"LOCK TABLE {TABLE} IN ROW EXCLUSIVE MODE")
    with holds, own_session("default") as session, session.cursor() as cursor:
        cursor.execute("SET lock_timeout = 100")
        with pytest.raises(DatabaseError):
            cursor.execute(f"REINDEX INDEX CONCURRENTLY {PKEY}")
    ((name,),) = execute(INVALID)
    assert name == f"{PKEY}_ccnew"
    try:
        yield name
    finally:
        execute(f"DROP INDEX IF EXISTS {name}")


def test_a_bloated_index_is_rebuilt_and_smaller(bloated: None) -> None:
    report = _run()
    acts = _of(report, "reindex")
    act = acts[PKEY]
    assert act.outcome is Outcome.DONE, act
    assert "waste, estimated from statistics" in act.detail
    assert act.bytes_before and act.bytes_after and act.bytes_after < act.bytes_before / 2
    after = {each.name: each for each in report.after.indexes}
    assert after[PKEY].bytes == act.bytes_after
    assert all(each.valid for each in report.after.indexes)
    assert (after[PKEY].waste or 0) < 0.3  # and so is not rebuilt again
    assert StorageSample.objects.get().rebuilt[PKEY] == act.bytes_after
    assert report.could_not == []


def test_the_estimate_is_near_to_what_a_rebuild_gives_back(bloated: None) -> None:
    before = {each.name: each for each in space.look("default").indexes}
    execute(f"REINDEX TABLE {TABLE}")
    sizes = dict(
        execute(
            "SELECT i.relname, pg_relation_size(i.oid) FROM pg_index JOIN pg_class i"
            f" ON i.oid = indexrelid WHERE indrelid = '{TABLE}'::regclass"
        )
    )
    for name, each in before.items():
        if each.bytes > 100_000:
            assert each.bytes - each.wasted_bytes == pytest.approx(sizes[name], rel=0.15), name


def test_an_index_that_is_not_bloated_is_let_be() -> None:
    fill(20_000)
    execute(f"REINDEX TABLE {TABLE}")
    _vacuum()
    assert _run().acts == []


def test_a_dry_run_only_says_so(bloated: None) -> None:
    before = execute("SELECT pg_relation_filenode(%s::regclass)", PKEY)
    act = _of(_run(Errand("default", dry_run=True)), "reindex")[PKEY]
    assert act.outcome is Outcome.WOULD
    assert act.bytes_before and act.bytes_after and act.bytes_after < act.bytes_before / 2
    assert execute("SELECT pg_relation_filenode(%s::regclass)", PKEY) == before


def test_one_index_is_rebuilt_at_most_once_a_week(bloated: None) -> None:
    StorageSample.objects.create(
        taken_at=space.look("default").taken_at - storage.REST / 2,
        table_bytes=1,
        index_bytes=1,
        measured="pg_relation_size",
        rebuilt={PKEY: 1},
    )
    report = _run()
    assert _of(report, "reindex")[PKEY].outcome is Outcome.LATER
    assert report.could_not == []


def test_pgstatindex_has_the_last_word(bloated: None) -> None:
    try:
        execute("CREATE EXTENSION pgstattuple")
    except DatabaseError:
        pytest.skip("no pgstattuple here")
    try:
        # Statistics of a time when the table was empty: the estimate sees waste everywhere.
        execute(f"REINDEX TABLE {TABLE}")
        execute("UPDATE pg_class SET reltuples = 10 WHERE relname LIKE %s", f"{TABLE}%")
        assert [each for each in space.look("default").indexes if (each.waste or 0) > 0.8]
        assert _of(_run(min_size="64K"), "reindex").get(PKEY) is None
    finally:
        execute("DROP EXTENSION pgstattuple")


def test_an_open_transaction_blocks_it_before_it_begins(
    bloated: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reindex, "OLD", 0.2)
    with open_transaction("SELECT txid_current()") as pid:
        until(
            lambda: (
                execute(
                    "SELECT now() - xact_start > '0.2s' FROM pg_stat_activity WHERE pid = %s", pid
                )
                == [(True,)]
            )
        )
        report = _run()
    act = _of(report, "reindex")[PKEY]
    assert act.outcome is Outcome.BLOCKED
    assert f"pid {pid} has a transaction open" in act.detail
    assert execute(INVALID) == []
    assert report.could_not


def test_a_rebuild_that_met_a_lock_leaves_nothing_behind(
    bloated: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reindex, "OLD", 0.3)
    monkeypatch.setattr(reindex, "_old_transaction", lambda session: "")  # it began just now
    with open_transaction(f"LOCK TABLE {TABLE} IN ROW EXCLUSIVE MODE"):
        report = _run()
        act = _of(report, "reindex")[PKEY]
        assert act.outcome is Outcome.BLOCKED
        assert "lock timeout" in act.detail
    # Its leftover may have met the same lock; then it is the next pass that drops it.
    _run()
    assert execute(INVALID) == []
    assert all(each.valid for each in space.look("default").indexes)


def test_an_invalid_leftover_is_dropped() -> None:
    with _leftover() as name:
        (line,) = _run(Errand("default", dry_run=True)).advice
        assert line.startswith(f"index {name} is invalid")
        assert "maint storage --run drops it" in line
        report = _run()
        act = _of(report, "drop_index")[name]
        assert act.outcome is Outcome.DONE
        assert execute(INVALID) == []
        assert report.advice == []
        assert PKEY in [each.name for each in report.after.indexes]


def test_an_index_that_is_being_built_now_is_let_be() -> None:
    fill(100)

    def build() -> None:
        with own_session("default") as session, session.cursor() as cursor:
            cursor.execute(f"REINDEX INDEX CONCURRENTLY {PKEY}")

    builder = threading.Thread(target=build)
    with open_transaction(f"LOCK TABLE {TABLE} IN ROW EXCLUSIVE MODE"):
        builder.start()
        until(lambda: execute(INVALID) == [(f"{PKEY}_ccnew",)])
        report = _run()
        act = _of(report, "drop_index")[f"{PKEY}_ccnew"]
        assert act.outcome is Outcome.BLOCKED
        assert "builds an index" in act.detail
        assert execute(INVALID) == [(f"{PKEY}_ccnew",)]
    builder.join()
    assert execute(INVALID) == []


def test_an_invalid_index_of_another_name_is_named_and_not_dropped() -> None:
    name = "argus_maint_finished_idx"
    try:
        execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", name)
        report = _run()
        assert report.acts == []
        (line,) = report.advice
        assert line.startswith(f"index {name} is invalid") and "manage.py migrate" in line
    finally:
        execute("UPDATE pg_index SET indisvalid = true WHERE indexrelid = %s::regclass", name)


def test_a_long_transaction_is_reported_with_pid_and_age(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space.postgres, "LONG", 0.3)
    harmless = open_transaction("SELECT 1")  # it keeps no snapshot
    with harmless, open_transaction("SELECT txid_current()") as pid:
        found = until(lambda: space.look("default").long_transactions)
        report = _run()
    assert [each.pid for each in found] == [pid]
    assert 0.3 <= found[0].age < 60
    assert "idle in transaction" in found[0].what
    assert report.advice[0].startswith(f"pid {pid}: a transaction open for ")


def _with_dead_rows() -> space.Space | None:
    found = space.look("default")
    return found if found.dead_rows and found.dead_rows.dead >= 3000 else None


def test_dead_rows_and_vacuum_are_told() -> None:
    fill(3000)
    execute(f"ALTER TABLE {TABLE} SET (autovacuum_enabled = false)")
    try:
        execute(f"DELETE FROM {TABLE}")
        found = until(_with_dead_rows)
        later = replace(found, taken_at=found.taken_at + timedelta(hours=2))
        assert "dead rows wait for autovacuum" in advice(later, Storage(), "default")[0]
        _vacuum()
        until(lambda: not _with_dead_rows())
        after = space.look("default").dead_rows
        assert after is not None and after.last_vacuum is not None
    finally:
        execute(f"ALTER TABLE {TABLE} RESET (autovacuum_enabled)")


def test_through_a_pooling_proxy_nothing_is_rebuilt(
    bloated: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Such a proxy tells its clients a pid that is no backend's.
    import psycopg

    monkeypatch.setattr(psycopg.ConnectionInfo, "backend_pid", property(lambda info: 1))
    report = _run()
    assert _of(report, "reindex")[PKEY].outcome is Outcome.BLOCKED
    assert "goes through a proxy" in report.could_not[0].detail
