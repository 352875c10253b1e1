"""Pauses as rows: who may be taken from, until when, and the trace they leave."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction

from argus_maint.database import own_session
from argus_maint.dbtime import db_now
from argus_maint.jobs import pauses
from argus_maint.jobs.pauses import Hold
from argus_maint.models import Act, Pause, Process
from argus_maint.workers import claim
from argus_maint.workers.claim import Queues
from argus_maint.workers.pauses import live
from tests import rows

ANY = Queues("default", ("*",), worker="w")
MAIL = Hold("default", "mail")


def _hold(what: Hold, until: float | None = None) -> Pause | None:
    return pauses.hold(what, "alice@host", "mail is down", until, "default")


def _claim(queues: Queues = ANY) -> Any:
    if not Process.objects.exists():
        rows.process()
    return claim.claim(queues, Process.objects.get().worker_id, "default")


@pytest.mark.django_db(transaction=True)
def test_of_a_paused_queue_nothing_is_taken_and_of_others_the_best() -> None:
    first, other = rows.task(queue_name="mail", priority=9), rows.task(queue_name="other")
    _hold(MAIL)
    assert _claim().pk == other.pk
    assert _claim() is None
    pauses.lift(MAIL, "bob@host", "", "default")
    assert _claim().pk == first.pk


@pytest.mark.django_db(transaction=True)
def test_a_pause_is_of_one_backend() -> None:
    _hold(Hold("other", "mail"))
    row = rows.task(queue_name="mail")
    assert _claim().pk == row.pk


@pytest.mark.django_db(transaction=True)
def test_a_drain_is_of_one_supervisor() -> None:
    row = rows.task()
    _hold(Hold(worker="w"))
    assert _claim() is None
    assert _claim(Queues("default", ("*",), worker="v")).pk == row.pk


@pytest.mark.django_db(transaction=True)
def test_a_worker_without_a_name_is_not_drained_by_a_pause() -> None:
    row = rows.task()
    _hold(MAIL)
    assert _claim(Queues("default", ("*",))).pk == row.pk


@pytest.mark.django_db(transaction=True)
def test_the_end_is_judged_by_the_clock_of_the_database() -> None:
    row = rows.task(queue_name="mail")
    _hold(MAIL, until=3600)
    moment = db_now("default")
    Pause.objects.update(until=moment + timedelta(seconds=60))
    assert _claim() is None and len(live("default")) == 1
    Pause.objects.update(until=moment - timedelta(milliseconds=1))
    assert live("default") == []
    assert pauses.lift(MAIL, "bob@host", "", "default") is None
    assert _claim().pk == row.pk


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("what", [MAIL, Hold(worker="w")])
def test_a_pause_between_the_look_and_the_claim_wins(
    monkeypatch: pytest.MonkeyPatch, what: Hold
) -> None:
    """SQLite's claim is two statements; elsewhere the server's one sees the pause, or is first."""
    if connection.vendor != "sqlite":
        pytest.skip("one statement")
    row = rows.task(queue_name="mail")
    take = claim._take

    def late(*arguments: Any) -> Any:
        _hold(what)
        return take(*arguments)

    monkeypatch.setattr(claim, "_take", late)
    assert _claim() is None
    row.refresh_from_db()
    assert (row.status, row.worker_ids) == ("READY", [])


@pytest.mark.django_db(transaction=True)
def test_a_pause_that_is_not_committed_keeps_no_claim_waiting() -> None:
    if connection.vendor == "sqlite":
        pytest.skip("one writer at a time, whatever it writes")
    row = rows.task(queue_name="mail")
    rows.process()
    with own_session("default") as other, closing(other.cursor()) as cursor:
        cursor.execute("BEGIN")
        quote = connection.ops.quote_name
        table = quote(Pause._meta.db_table)
        cursor.execute(
            f"INSERT INTO {table} (backend_name, queue_name, worker, {quote('by')}, why, since) "
            "VALUES ('default', 'mail', '', 'alice@host', 'why', '2026-01-01 00:00:00')"
        )
        assert _claim().pk == row.pk
        cursor.execute("ROLLBACK")


@pytest.mark.django_db
def test_each_act_leaves_a_trace() -> None:
    assert _hold(MAIL, until=60) is None
    assert pauses.lift(MAIL, "bob@host", "mail is back", "default") is not None
    _hold(Hold(worker="w"))
    pauses.lift(Hold(worker="w"), "bob@host", "", "default")
    acts = list(Act.objects.order_by("pk"))
    assert [(act.verb, act.subject, act.by, act.why) for act in acts] == [
        ("pause", "mail", "alice@host", "mail is down"),
        ("resume", "mail", "bob@host", "mail is back"),
        ("drain", "w", "alice@host", "mail is down"),
        ("undrain", "w", "bob@host", ""),
    ]
    assert set(acts[0].details) == {"backend", "queue", "until"}
    assert acts[3].details == {"worker": "w"}
    assert all(abs(act.acted_at - db_now("default")) < timedelta(seconds=30) for act in acts)


@pytest.mark.django_db
def test_a_second_pause_changes_the_reason_and_the_end_and_not_the_beginning() -> None:
    _hold(MAIL, until=60)
    (first,) = live("default")
    before = pauses.hold(MAIL, "bob@host", "still down", None, "default")
    assert before is not None and before.why == "mail is down"
    (now,) = live("default")
    assert (now.pk, now.since, now.until) == (first.pk, first.since, None)
    assert (now.by, now.why) == ("bob@host", "still down")


@pytest.mark.django_db
def test_one_that_is_over_begins_anew_and_its_row_goes() -> None:
    _hold(MAIL, until=60)
    _hold(Hold("default", "other"), until=60)
    Pause.objects.update(until=rows.ago(60), since=rows.ago(600))
    assert _hold(MAIL) is None
    assert [each.queue_name for each in Pause.objects.all()] == ["mail"]
    (now,) = live("default")
    assert abs(now.since - db_now("default")) < timedelta(seconds=30)


@pytest.mark.django_db
def test_a_failed_pause_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any, **options: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(pauses.traces, "leave", broken)
    with pytest.raises(RuntimeError), transaction.atomic():
        _hold(MAIL)
    assert live("default") == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "mysql", reason="collations of columns are MariaDB's")
@pytest.mark.parametrize("of", ["utf8mb4_unicode_ci", "utf8mb4_bin", "utf8mb3_general_ci"])
def test_tables_of_another_collation_than_the_tasks_do_not_keep_claims_from_working(
    of: str,
) -> None:
    """A server's default changes with its version, and tables keep what they were made with."""
    table = connection.ops.quote_name(Pause._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT character_set_name, collation_name FROM information_schema.columns "
            "WHERE table_schema = DATABASE() AND table_name = %s AND column_name = 'queue_name'",
            [Pause._meta.db_table],
        )
        before = cursor.fetchone()
        convert = f"ALTER TABLE {table} CONVERT TO CHARACTER SET"
        cursor.execute(f"{convert} {of.partition('_')[0]} COLLATE {of}")
        try:
            rows.task(queue_name="mail", priority=9)
            other = rows.task(queue_name="Mail")
            _hold(MAIL)
            assert _claim().pk == other.pk
            assert _claim() is None
        finally:
            cursor.execute(f"{convert} {before[0]} COLLATE {before[1]}")
