"""Rows of processes: one beat for all, an end that is final, and how long they are kept."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from argus_maint.dbtime import db_now
from argus_maint.models import Process
from argus_maint.workers import registry
from argus_maint.workers.identity import this_host
from argus_maint.workers.registry import Group
from tests import tasks

pytestmark = pytest.mark.django_db(transaction=True)
USING, WAIT = "default", 2.0


@pytest.fixture
def group() -> Group:
    return Group(uuid4(), "w", this_host(), 15.0, {})


def _register(group: Group, worker_id: str, pid: int = 1) -> bool:
    return registry.register(group, "worker", worker_id, pid, USING, WAIT)


def test_registering_twice_finds_the_first_row(group: Group) -> None:
    assert _register(group, "w.1")
    assert _register(group, "w.1")
    assert Process.objects.count() == 1


def test_what_has_ended_cannot_be_registered_again(group: Group) -> None:
    _register(group, "w.1")
    registry.end("w.1", USING, WAIT)
    assert not _register(group, "w.1")


@pytest.mark.parametrize("processes", [1, 20])
def test_one_update_beats_for_all(group: Group, processes: int) -> None:
    for number in range(processes):
        _register(group, f"w.{number}")
    with CaptureQueriesContext(connection) as queries:
        assert registry.beat(group.supervisor, USING, WAIT) == processes
    assert [query["sql"].split()[0] for query in queries].count("UPDATE") == 1
    assert set(Process.objects.values_list("beats", flat=True)) == {1}


def test_a_beat_leaves_the_rows_of_others_and_of_the_ended_alone(group: Group) -> None:
    other = Group(uuid4(), "o", this_host(), 15.0, {})
    _register(group, "w.1")
    _register(group, "w.2")
    _register(other, "o.1")
    registry.end("w.2", USING, WAIT)
    assert registry.beat(group.supervisor, USING, WAIT) == 1
    assert Process.objects.get(worker_id="o.1").beats == 0
    assert Process.objects.get(worker_id="w.2").beats == 0


def test_a_process_that_has_beaten_since_it_was_looked_at_is_not_ended(group: Group) -> None:
    _register(group, "w.1")
    registry.beat(group.supervisor, USING, WAIT)
    assert not registry.end("w.1", USING, WAIT, beats=0)
    assert registry.end("w.1", USING, WAIT, beats=1)
    assert not registry.end("w.1", USING, WAIT, beats=1)  # once only


def _ended_long_ago(worker_id: str, **since: Any) -> None:
    registry.end(worker_id, USING, WAIT)
    Process.objects.filter(worker_id=worker_id).update(ended_at=db_now(USING) - timedelta(**since))


def test_rows_of_the_dead_are_kept_for_their_retention(group: Group) -> None:
    for worker_id, days in (("w.old", 8), ("w.young", 6)):
        _register(group, worker_id)
        _ended_long_ago(worker_id, days=days)
    _register(group, "w.alive")
    assert registry.forget(USING, 7 * 86400, WAIT) == 1
    assert set(Process.objects.values_list("worker_id", flat=True)) == {"w.young", "w.alive"}


def test_the_row_of_a_process_that_still_owns_a_task_is_kept(group: Group) -> None:
    _register(group, "w.1")
    _ended_long_ago("w.1", days=30)
    result = tasks.add.enqueue(1, 2)
    DBTaskResult.objects.filter(pk=result.id).update(
        status="RUNNING", worker_ids=["w.1"], started_at=timezone.now()
    )
    assert registry.forget(USING, 7 * 86400, WAIT) == 0
