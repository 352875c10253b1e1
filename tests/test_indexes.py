"""Our index on the task table is there, is used, and comes back."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.db import connection
from django_tasks_db.models import DBTaskResult

from argus_maint import indexes

pytestmark = pytest.mark.django_db(transaction=True)


def _exists() -> bool:
    with connection.cursor() as cursor:
        table = DBTaskResult._meta.db_table
        return indexes.NAME in connection.introspection.get_constraints(cursor, table)


def test_the_migration_makes_the_index_and_its_reverse_drops_it() -> None:
    assert _exists()
    call_command("migrate", "argus_maint", "0001", verbosity=0)
    try:
        assert not _exists()
    finally:
        call_command("migrate", verbosity=0)
    assert _exists()


def test_creating_it_again_changes_nothing() -> None:
    indexes.create("default")
    assert _exists()


@pytest.mark.skipif(connection.vendor != "sqlite", reason="only SQLite makes a new table")
def test_an_index_lost_with_an_altered_table_is_restored_by_the_next_migrate() -> None:
    indexes.drop("default")
    call_command("migrate", verbosity=0)
    assert _exists()


@pytest.mark.skipif(connection.vendor != "postgresql", reason="only PostgreSQL leaves one")
def test_an_invalid_leftover_of_an_interrupted_build_is_replaced() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass(%s)",
            [indexes.NAME],
        )
    indexes.create("default")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", [indexes.NAME]
        )
        assert cursor.fetchone() == (True,)


def test_looking_for_running_tasks_uses_it() -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET enable_seqscan = off")  # an empty table would be read whole
    try:
        plan = DBTaskResult.objects.filter(status="RUNNING").order_by().explain()
    finally:
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("RESET enable_seqscan")
    if connection.vendor == "mysql":
        assert "idx" in plan or "ref" in plan
    else:
        assert indexes.NAME in plan
