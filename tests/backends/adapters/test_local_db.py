"""django-tasks-local-db: left alone in all that it does itself, and stopped where it does not.

These need settings of their own, so an ordinary run starts them in a pytest of their own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.test import override_settings
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from argus_maint import backend_checks, checks
from argus_maint.backends import database
from argus_maint.backends.adapters import adapters
from argus_maint.backends.adapters.base import CAPABILITIES, Adapter
from argus_maint.backends.database import attempts, requeue
from argus_maint.exceptions import TaskQuarantined
from argus_maint.jobs import detect, on_worker, prune, rescue
from argus_maint.jobs.prune import order_of
from argus_maint.models import LedgerEntry, Sighting
from argus_maint.observe import status
from argus_maint.workers.identity import this_host
from tests import tasks
from tests.lab import Lab, until

SETTINGS = "tests.backends.adapters.settings_local_db"
HERE = "local" in settings.TASKS
own = pytest.mark.skipif(not HERE, reason=f"needs {SETTINGS}")
QUICK = {"PROCESSES": {"unregistered_after": 0.001}, "RESCUE": {"*": {"max_losses": 2}}}


@pytest.mark.skipif(HERE, reason="these are they")
@pytest.mark.timeout(400)
def test_in_a_site_of_its_own() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(
        [*command, "-m", "backends", __file__],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": SETTINGS},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=390,
    )
    assert done.returncode == 0, done.stdout


@pytest.fixture
def child_env(child_env: dict[str, str]) -> dict[str, str]:
    return {**child_env, "DJANGO_SETTINGS_MODULE": SETTINGS}


@pytest.fixture
def web(lab: Lab) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts processes that run tasks as a web process does."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.backends.adapters.local_site"],
            env={**lab.env, "ARGUS_MAINT_TEST_RUNS_TASKS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        started.append(process)
        assert process.stdout is not None and process.stdout.readline()
        return process

    try:
        yield start
    finally:
        for each in started:
            each.kill()
            each.wait(10)


def adapter() -> Adapter:
    return next(each for each in adapters("default") if each.alias == "local")


def enqueue(task: Any, *arguments: Any) -> DBTaskResult:
    return DBTaskResult.objects.get(pk=task.using(backend="local").enqueue(*arguments).id)


def started(row: DBTaskResult, times: int) -> DBTaskResult:
    """As it is after so many starts without an end."""
    row.status, row.started_at = "RUNNING", timezone.now()
    row.worker_ids = [f"web{number}" for number in range(times)]
    row.save()
    return row


def look(**view: Any) -> rescue.Report:
    return rescue.run(rescue.View("default", "me@here", this_host(), **view))


@own
@override_settings(ARGUS_MAINT=QUICK)
def test_a_lost_task_is_left_to_its_own_backend(
    web: Callable[[], subprocess.Popen[bytes]], lab: Lab
) -> None:
    first = web()
    row = enqueue(tasks.append, lab.path("out"), "x", 600)
    lab.until_status(row, "RUNNING")
    until(lambda: lab.lines("out"))
    first.kill()
    first.wait(10)
    for _ in range(3):  # the first would note it as a stranger's, the second give it back
        report = look()
        assert report.acts == [] and report.unregistered == 0 and report.running == 1
    before = lab.row(row)
    assert (before.status, len(before.worker_ids)) == ("RUNNING", 1)
    assert not Sighting.objects.exists() and not LedgerEntry.objects.exists()
    assert [each.code for each in status.gather("default").problems] == ["no_worker"]
    assert detect.observe("default").observations == []
    web()
    until(lambda: len(lab.row(row).worker_ids) == 2, what="run again by itself")
    assert look().acts == []  # once more may happen to anybody


@own
@override_settings(ARGUS_MAINT=QUICK)
def test_a_task_that_kills_its_process_is_stopped(
    web: Callable[[], subprocess.Popen[bytes]], lab: Lab
) -> None:
    row = enqueue(tasks.os_exit, 1)
    for times in (1, 2, 3):  # what restarts a web process does it for ever
        web().wait(30)
        assert len(lab.row(row).worker_ids) == times
        report = look()
        assert len(report.acts) == (times == 3)
    stopped = lab.row(row)
    assert stopped.status == "FAILED"
    assert stopped.exception_class_path.endswith(TaskQuarantined.__qualname__)
    (entry,) = lab.ledger(row)
    assert (entry.action, entry.reason, entry.losses) == ("quarantined", "rerun", 2)
    assert "started 3 times" in entry.evidence and entry.noticed_by == "me@here"
    again = enqueue(tasks.add, 1, 2)
    living = web()
    lab.until_status(again, "SUCCESSFUL")
    assert living.poll() is None and look().acts == []
    (found,) = detect.observe("default", codes=["PoisonTask"]).observations
    assert found.evidence["backend"] == "local"


@own
@pytest.mark.django_db(transaction=True)
@override_settings(ARGUS_MAINT=QUICK)
def test_the_cap_changes_nothing_in_a_dry_run_or_behind_ones_back() -> None:
    row = started(enqueue(tasks.add, 1, 2), 3)
    assert [str(each.task_id) for each in look(dry_run=True).acts] == [str(row.pk)]
    (attempt,) = database.running("default")
    entry = attempt.entry(verdict="unregistered", action="quarantined", noticed_by="me")
    started(row, 4)  # meanwhile it was started once more
    assert not database.fail(attempt, "default", entry, TaskQuarantined, "too often")
    assert not LedgerEntry.objects.exists()
    row.refresh_from_db()
    assert row.status == "RUNNING"


@own
@pytest.mark.django_db(transaction=True)
@override_settings(ARGUS_MAINT=QUICK)
def test_who_puts_it_back_by_hand_pardons_it() -> None:
    row = started(enqueue(tasks.add, 1, 2), 3)
    look()
    (attempt,) = attempts(DBTaskResult.objects.filter(pk=row.pk))
    entry = attempt.entry(verdict="manual", action="requeued", noticed_by="me")
    assert requeue(attempt, "default", entry)
    started(row, 5)
    assert look().acts == []
    started(row, 6)
    assert len(look().acts) == 1


@own
@pytest.mark.django_db(transaction=True)
def test_it_is_not_taken_for_one_of_our_own(lab: Lab) -> None:
    assert checks.database_backends() == ["default"]
    assert checks.local_database_backends() == ["local"]
    refused = lab.manage("db_worker", "--backend=local", check=False)
    assert refused.returncode == 2 and "a second time" in refused.stderr
    with override_settings(TASKS={"local": settings.TASKS["local"]}):
        assert backend_checks.check_queue(None) == []
        assert checks.check_rescue_is_set(None) == []
        assert detect.observe("default", codes=["NoWorkers"]).observations == []
        assert status.gather("default").problems == []
    task = on_worker.enqueue("prune", 1, 1)
    assert DBTaskResult.objects.get(pk=task).backend_name == "default"


@own
@pytest.mark.django_db(transaction=True)
def test_a_queue_of_its_own_needs_no_worker_of_ours() -> None:
    row = enqueue(tasks.add, 1, 2)
    DBTaskResult.objects.update(enqueued_at=timezone.now() - timedelta(hours=1))
    seen = detect.observe("default", codes=["UnattendedQueue", "NoWorkers", "QueueBacklog"])
    # That it does not move is told all the same: perhaps no web process runs.
    assert [(each.code, each.object) for each in seen.observations] == [
        ("QueueBacklog", "local/default")
    ]
    assert not seen.errors
    assert "unserved" not in {each.code for each in status.gather("default").problems}
    (queue,) = adapter().queues()
    assert (queue.counts.ready, queue.counts.backend_name) == (1, row.backend_name)


@own
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("archives", [False, True])
def test_finished_tasks_are_pruned_with_their_heartbeats(archives: bool, tmp_path: Path) -> None:
    beats = apps.get_model("django_tasks_local_db", "TaskHeartbeat")
    for _ in range(5):
        row = started(enqueue(tasks.add, 1, 2), 1)
        beats.objects.create(task_result=row, last_heartbeat_at=timezone.now())
    kept = row
    DBTaskResult.objects.exclude(pk=kept.pk).update(
        status="SUCCESSFUL", finished_at=timezone.now() - timedelta(days=400), return_value=3
    )
    archive = {"archive": str(tmp_path)} if archives else {}
    with override_settings(ARGUS_MAINT={"PRUNE": {"duty": 1, **archive}}):
        report = prune.prune(order_of("default"))
    assert (report.rows, report.left) == (4, 0)
    assert [each.pk for each in DBTaskResult.objects.all()] == [kept.pk]
    assert [each.pk for each in beats.objects.all()] == [kept.pk]


@own
def test_it_says_what_it_does_itself() -> None:
    assert adapter().name == "local-database"
    assert "on_lost" in adapter().warnings()[0]
    missing = {each for each in CAPABILITIES if not adapter().supports(each)}
    assert missing == set(adapter().why_not)
