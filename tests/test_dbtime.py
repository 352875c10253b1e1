"""The database's clock is read as UTC, whatever zone the session is in."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from argus_maint.dbtime import DbNow, db_now
from argus_maint.models import Process

pytestmark = pytest.mark.django_db(transaction=True)


def test_it_agrees_with_this_hosts_utc() -> None:
    assert abs(db_now("default") - timezone.now()) < timedelta(minutes=1)


@pytest.mark.skipif(connection.vendor != "mysql", reason="Django sets the zone elsewhere")
def test_the_zone_of_the_session_changes_nothing() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET time_zone = '+9:00'")
    try:
        assert abs(db_now("default") - timezone.now()) < timedelta(minutes=1)
    finally:
        connection.close()


def test_what_is_written_with_it_reads_back_as_the_same_time() -> None:
    before = db_now("default")
    row = Process.objects.create(
        kind="worker",
        worker_id="x",
        name="x",
        pid=1,
        lease=15,
        registered_at=DbNow(),
        last_beat_at=DbNow(),
    )
    row.refresh_from_db()
    assert before <= row.last_beat_at <= db_now("default")
