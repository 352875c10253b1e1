"""Our indexes on the task table are there, are used, and come back."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from argus_maint import indexes
from argus_maint.backends.space import look
from argus_maint.conf_storage import Storage
from argus_maint.indexes import FINISHED, Index
from argus_maint.observe.space import advice

# MariaDB has no partial indexes, and needs no RUNNING one.
HERE = [each for each in indexes.ALL if connection.vendor != "mysql" or each is FINISHED]
INVALID = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass(%s)"
VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)"

pytestmark = pytest.mark.django_db(transaction=True)
every = pytest.mark.parametrize("index", HERE, ids=lambda index: index.name)


def _exists(index: Index) -> bool:
    with connection.cursor() as cursor:
        table = DBTaskResult._meta.db_table
        return index.name in connection.introspection.get_constraints(cursor, table)


def test_the_migrations_make_them_and_their_reverse_drops_them() -> None:
    assert [each for each in indexes.ALL if _exists(each)] == HERE
    call_command("migrate", "argus_maint", "0001", verbosity=0)
    try:
        assert not any(map(_exists, indexes.ALL))
    finally:
        call_command("migrate", verbosity=0)
    assert [each for each in indexes.ALL if _exists(each)] == HERE


@every
def test_creating_it_again_changes_nothing(index: Index) -> None:
    indexes.create(index, "default")
    assert _exists(index)


@every
def test_one_that_is_gone_is_told_of_and_restored_by_the_next_migrate(index: Index) -> None:
    assert indexes.made_on(connection.vendor) == HERE
    indexes.drop(index, "default")
    says = advice(look("default"), Storage(), "default")
    assert [line for line in says if f"index {index.name} is missing" in line]
    call_command("migrate", verbosity=0)
    assert _exists(index)
    assert not [line for line in advice(look("default"), Storage(), "default") if "index" in line]


@every
@pytest.mark.skipif(connection.vendor != "postgresql", reason="only PostgreSQL leaves one")
def test_an_invalid_leftover_of_an_interrupted_build_is_replaced(index: Index) -> None:
    with connection.cursor() as cursor:
        cursor.execute(INVALID, [index.name])
    call_command("migrate", verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute(VALID, [index.name])
        assert cursor.fetchone() == (True,)


def _plan(**conditions: object) -> str:
    rows = DBTaskResult.objects.filter(**conditions)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET enable_seqscan = off")  # an empty table would be read whole
    try:
        return rows.order_by(*(["finished_at", "id"] if len(conditions) > 1 else [])).explain()
    finally:
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("RESET enable_seqscan")


def test_looking_for_running_tasks_needs_no_scan() -> None:
    on_mariadb = "tasks_db_new_ordering_idx"  # the stock table's own
    name = on_mariadb if connection.vendor == "mysql" else indexes.RUNNING.name
    assert name in _plan(status="RUNNING")


def test_looking_for_finished_tasks_needs_no_scan() -> None:
    assert FINISHED.name in _plan(status="FAILED", finished_at__lte=timezone.now())
