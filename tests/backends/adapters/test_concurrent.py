"""django-tasks-concurrent: its real worker, registered, killed, and its tasks rescued.

Its app needs a table of its own, so the tests that need it run in a pytest of their own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest
from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.test import override_settings
from django.utils import timezone

from argus_maint.jobs import detect, rescue
from argus_maint.models import Pause, Process, Sighting
from argus_maint.workers import registry
from argus_maint.workers.identity import this_host
from tests import tasks
from tests.lab import Lab, Supervised, until

SETTINGS = "tests.backends.adapters.settings_concurrent"
HERE = "django_tasks_concurrent" in settings.INSTALLED_APPS
own = pytest.mark.skipif(not HERE, reason=f"needs {SETTINGS}")


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


def living(kind: str = "worker") -> list[Process]:
    rows = Process.objects.filter(kind=kind, name__startswith="concurrent-")
    return list(rows.exclude(state="ended").order_by("registered_at"))


def worker(lab: Lab, *options: str, **setting: Any) -> Supervised:
    """The real command, as the package's documentation has it."""
    setting = {"PROCESSES": {"lease": 4, "beat": 1}, **setting}
    lab.setting(RESCUE={"*": {"backoff": [0, 0]}}, **setting)
    before = len(living())
    flags = ("--concurrency=2", "--interval=0.05", *options)
    started = lab.start("concurrent", "concurrent_worker", *flags)

    def registered() -> bool:
        assert started.process.poll() is None, started.log
        return len(living()) == before + 2

    until(registered)
    return started


def kill(worker: Supervised) -> None:
    worker.process.kill()
    worker.process.wait(10)


def look() -> rescue.Report:
    return rescue.run(rescue.View("default", "me@here", this_host()))


@own
def test_a_killed_worker_is_seen_and_its_tasks_run_again(lab: Lab) -> None:
    first = worker(lab)
    row = tasks.append.enqueue(lab.path("out"), "x", 600)
    owner = lab.holder(row)
    until(lambda: lab.lines("out"))
    assert owner.pid == first.pid and owner.info["command"] == "concurrent_worker"
    assert look().acts == []  # it lives
    kill(first)
    (found,) = until(lambda: detect.observe("default", codes=["DeadWorker"]).observations)
    assert found.object.startswith("concurrent-")
    report = look()
    assert [entry.action for entry in report.acts] == ["requeued"]
    (entry,) = lab.ledger(row)
    assert (entry.verdict, entry.counted, entry.worker_id) == ("exited", True, owner.worker_id)
    assert not Sighting.objects.exists()
    worker(lab)
    until(lambda: len(lab.lines("out")) == 2)
    assert len(lab.row(row).worker_ids) == 2


@own
def test_workers_look_after_each_other(lab: Lab) -> None:
    first = worker(lab)
    row = tasks.append.enqueue(lab.path("out"), "x", 600)
    lab.holder(row)
    until(lambda: lab.lines("out"))
    worker(lab)
    kill(first)
    until(lambda: len(lab.lines("out")) == 2, what="run by the other, without a person")
    (entry,) = lab.ledger(row)
    assert entry.noticed_by.startswith("concurrent-")


@own
def test_an_ordinary_end_leaves_nothing_to_do(lab: Lab) -> None:
    first = worker(lab)
    done = tasks.add.enqueue(1, 2)
    failed = tasks.fail.enqueue("on purpose")
    lab.until_status(done, "SUCCESSFUL")
    assert "on purpose" in lab.until_status(failed, "FAILED").traceback
    assert first.stop() == 0, first.log
    assert living() == [] and living("supervisor") == []
    assert {each.reason for each in Process.objects.all()} == {"stopped"}
    assert look().acts == []
    assert detect.observe("default", codes=["DeadWorker"]).observations == []


@own
def test_a_task_that_ends_its_worker_is_a_loss_that_counts(lab: Lab) -> None:
    first = worker(lab)
    row = tasks.system_exit.enqueue(3)
    first.wait(30)
    until(lambda: look().acts or lab.ledger(row))
    (entry,) = lab.ledger(row)
    assert entry.counted and entry.losses == 1


@own
def test_one_that_was_frozen_is_fenced_and_claims_under_another_id(lab: Lab) -> None:
    first = worker(lab)
    row = tasks.wait_for.enqueue(lab.path("go"))
    owner = lab.holder(row)
    first.signal(signal.SIGSTOP)
    for each in [*living(), *living("supervisor")]:  # as a watcher does at the end of its lease
        registry.end(each.worker_id, "default", 1.0, verdict="expired", reason="lost")
    assert [entry.action for entry in look().acts] == ["requeued"]
    (lab.folder / "go").touch()
    first.signal(signal.SIGCONT)
    actions = until(lambda: len(lab.ledger(row)) == 2 and lab.ledger(row))
    assert [each.action for each in actions] == ["requeued", "refused"]
    again = lab.until_status(row, "SUCCESSFUL")
    assert len(again.worker_ids) == 2 and again.worker_ids[1] != owner.worker_id
    assert first.process.poll() is None


@own
def test_a_success_that_could_not_be_written_for_a_lease_is_no_failure(lab: Lab) -> None:
    """The package fails a task whose success raised; the database was only away."""
    worker(lab)
    row = tasks.wait_for.enqueue(lab.path("go"))
    lab.holder(row)
    with transaction.atomic():
        Process.objects.update(beats=F("beats"))  # SQLite: nobody else writes meanwhile
        (lab.folder / "go").touch()
        time.sleep(6)  # longer than its lease
    until(lambda: lab.row(row).status in ("SUCCESSFUL", "FAILED"))
    assert lab.row(row).status == "SUCCESSFUL", lab.row(row).traceback


@own
def test_a_task_whose_module_is_gone_is_failed(lab: Lab) -> None:
    row = tasks.add.enqueue(1, 2)
    type(lab.row(row)).objects.filter(pk=row.id).update(task_path="tests.nowhere.task")
    first = worker(lab)
    assert "nowhere" in lab.until_status(row, "FAILED").traceback
    assert first.process.poll() is None


@own
@pytest.mark.parametrize("what", ["queue", "worker"])
def test_it_takes_nothing_that_is_paused_or_when_it_is_drained(lab: Lab, what: str) -> None:
    worker(lab)
    about = {"by": "me@here", "why": "a test", "since": timezone.now()}
    whom = {"worker": living()[0].name}
    if what == "queue":
        whom = {"backend_name": "default", "queue_name": "default"}
    pause = Pause.objects.create(**whom, **about)
    row = tasks.add.enqueue(1, 2)
    until(lambda: living()[0].beats > 3)
    assert lab.row(row).status == "READY"
    pause.delete()
    lab.until_status(row, "SUCCESSFUL")


@own
def test_task_worker_is_our_own_worker(lab: Lab) -> None:
    lab.setting(RESCUE={"*": {"backoff": [0, 0]}}, PROCESSES={"lease": 4, "beat": 1})
    command = ("task_worker", "--no-reload", "--no-scheduler")
    first = lab.start("task_worker", *command)
    row = tasks.append.enqueue(lab.path("out"), "x", 600)
    owner = lab.holder(row)
    assert owner.kind == "worker" and owner.supervisor is not None
    first.signal_tree(signal.SIGKILL)
    first.process.wait(10)
    report = until(lambda: (made := look()).acts and made)
    assert [entry.action for entry in report.acts] == ["requeued"]


def test_without_a_registered_worker_time_limits_are_left(lab: Lab) -> None:
    """As under the package's own command: a stranger, and only time counts."""
    with override_settings(ARGUS_MAINT={"PROCESSES": {"unregistered_after": 0.001}}):
        row = lab.row(tasks.add.enqueue(1, 2))
        row.status, row.worker_ids = "RUNNING", ["concurrent-abc-0"]
        row.save()
        assert look().unregistered == 1
        assert [entry.verdict for entry in look().acts] == ["unregistered"]


def test_wrong_arguments_are_one_line(lab: Lab) -> None:
    refused = lab.manage("concurrent_worker", "--concurrency=0", check=False)
    assert refused.returncode == 2
    assert refused.stderr.strip().splitlines()[-1].endswith("must be 1 or more")
