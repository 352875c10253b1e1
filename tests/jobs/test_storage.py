"""The storage pass on whatever database the tests run on: samples, limits, nothing to do."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import override_settings

from argus_maint.backends.space import look
from argus_maint.database import own_session
from argus_maint.dbtime import db_now
from argus_maint.jobs import storage
from argus_maint.jobs.storage import Errand
from argus_maint.models import StorageSample
from tests.jobs.space import analyze, execute, fill

pytestmark = pytest.mark.django_db(transaction=True)


def _sample(ago: timedelta, **values: Any) -> StorageSample:
    values = {"table_bytes": 1, "index_bytes": 1, "measured": "x", **values}
    return StorageSample.objects.create(taken_at=db_now("default") - ago, **values)


def test_a_look_has_the_figures_of_table_and_indexes() -> None:
    fill(2000)
    analyze()
    space = look("default")
    # InnoDB counts a few pages it has drawn by lot, and was seen 12 % off here.
    drawn = 0.3 if connection.vendor == "mysql" else 0.1
    assert space.rows == pytest.approx(2000, rel=drawn)
    assert space.table_bytes > 2000 * 300
    assert space.index_bytes == pytest.approx(sum(each.bytes for each in space.indexes), rel=0.1)
    assert "argus_maint_finished_idx" in [each.name for each in space.indexes]
    assert abs(space.taken_at - db_now("default")) < timedelta(seconds=30)
    assert space.unknown == []


def test_a_pass_keeps_a_sample_and_no_second_one_in_the_hour() -> None:
    fill(100)
    assert storage.make(Errand("default")).sampled
    sample = StorageSample.objects.get()
    assert sample.table_bytes + sample.index_bytes > 0
    assert abs(sample.taken_at - db_now("default")) < timedelta(seconds=30)
    assert not storage.make(Errand("default")).sampled
    StorageSample.objects.update(taken_at=db_now("default") - timedelta(minutes=61))
    assert storage.make(Errand("default")).sampled


def test_a_sample_from_the_future_keeps_none_from_being_taken() -> None:
    _sample(-timedelta(days=3))
    assert storage.make(Errand("default")).sampled


def test_samples_are_kept_400_days() -> None:
    old, young = _sample(timedelta(days=401)), _sample(timedelta(days=399))
    storage.make(Errand("default"))
    assert not StorageSample.objects.filter(pk=old.pk).exists()
    assert StorageSample.objects.filter(pk=young.pk).exists()


def test_a_dry_run_writes_nothing() -> None:
    report = storage.make(Errand("default", dry_run=True))
    assert not report.sampled
    assert not StorageSample.objects.exists()


def test_a_small_table_needs_nothing_but_statistics_and_a_checkpoint() -> None:
    fill(100)
    report = storage.make(Errand("default"))
    assert {each.act for each in report.acts} <= {"checkpoint", "optimize"}
    assert report.could_not == []
    assert report.advice == []


def test_a_session_of_its_own_leaves_the_others_as_they_were() -> None:
    name = {"sqlite": "PRAGMA cache_size", "postgresql": "SHOW lock_timeout"}.get(
        connection.vendor, "SELECT @@lock_wait_timeout"
    )
    before = execute(name)
    with override_settings(ARGUS_MAINT={"STORAGE": {"min_size": 0}}):
        storage.make(Errand("default"))
    assert execute(name) == before
    with own_session("default") as session:
        assert session.connection is not connection.connection


@pytest.mark.skipif(connection.vendor != "mysql", reason="MariaDB's statistics")
def test_mariadb_analyzes_at_most_once_a_day() -> None:
    fill(100)
    stats = "mysql.innodb_table_stats WHERE database_name = DATABASE() AND table_name = %s"
    table = "django_tasks_database_dbtaskresult"
    analyze()
    assert storage.make(Errand("default")).acts == []
    execute(
        "UPDATE mysql.innodb_table_stats SET last_update = NOW() - INTERVAL 25 HOUR"
        " WHERE database_name = DATABASE() AND table_name = %s",
        table,
    )
    (would,) = storage.make(Errand("default", dry_run=True)).acts
    assert (would.act, would.outcome.value, would.subject) == ("analyze", "would", table)
    (act,) = storage.make(Errand("default")).acts
    assert (act.act, act.outcome.value) == ("analyze", "done")
    ((age,),) = execute(f"SELECT TIMESTAMPDIFF(SECOND, last_update, NOW()) FROM {stats}", table)
    assert age < 60
    assert storage.make(Errand("default")).acts == []


@pytest.mark.skipif(connection.vendor != "mysql", reason="MariaDB's rights")
def test_mariadb_figures_need_no_more_rights_than_a_site_has() -> None:
    fill(100)
    name = connection.settings_dict["NAME"]
    execute("CREATE OR REPLACE USER argus_plain@'%%' IDENTIFIED BY 'x'")
    execute(f"GRANT ALL ON `{name}`.* TO argus_plain@'%%'")
    settings = dict(connection.settings_dict)
    try:
        connection.close()
        connection.settings_dict.update(USER="argus_plain", PASSWORD="x")
        report = storage.make(Errand("default"))
    finally:
        connection.close()
        connection.settings_dict.update(settings)
        execute("DROP USER argus_plain@'%%'")
    assert report.after.table_bytes > 0 and report.after.index_bytes > 0
    assert report.after.indexes == [] and report.after.analyzed_ago is None
    assert [each.split(" (")[0] for each in report.after.unknown] == [
        "bytes by index",
        "age of the statistics",
        "long transactions",
    ]
    assert report.acts == [] and report.sampled
