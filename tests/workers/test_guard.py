"""A keeper's own pass of the job findings, where nobody else makes it."""

from __future__ import annotations

import time
from contextlib import closing
from typing import Any

import pytest
from django.db import connection
from django.test import override_settings

from argus_maint.conf import get_settings
from argus_maint.database import own_session
from argus_maint.jobs import guard
from argus_maint.jobs.guard import Guard
from argus_maint.models import Finding, Process, Run
from argus_maint.scheduling import ledger
from tests import rows
from tests.lab import Lab, gone, until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def watching(monkeypatch: pytest.MonkeyPatch) -> Guard:
    """A guard that waits for nobody else."""
    monkeypatch.setattr(guard, "AFTER", 0.0)
    monkeypatch.setattr(guard, "JITTER", 0.0)
    return Guard("default", "w1@h")


def over(watching: Guard) -> bool:
    return not watching._is_under_way(None)


def test_a_tick_that_nobody_has_claimed_is_run_in_a_child(watching: Guard) -> None:
    rows.task(age=900)
    watching.turn()
    assert watching.pid
    until(lambda: over(watching))
    (run,) = Run.objects.all()
    assert (run.job, run.driver, run.state) == ("findings", "keeper", "done")
    assert run.tick is not None
    (finding,) = Finding.objects.all()
    assert (finding.code, finding.noticed_by) == ("NoWorkers", "w1@h")
    assert not Process.objects.exists()  # it has signed off


def test_a_tick_that_somebody_has_claimed_is_left_to_them(watching: Guard) -> None:
    rows.ran("findings", get_settings().jobs["findings"].schedule.latest(ledger.utc_now("default")))
    watching.turn()
    assert (watching.pid, Run.objects.count()) == (0, 1)
    assert 0 < watching.next_look - guard.now() <= 60


def test_others_have_a_while_to_claim_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "AFTER", 300.0)
    waiting = Guard("default", "w1@h")
    waiting.turn()
    assert (waiting.pid, Run.objects.exists()) == (0, False)
    assert waiting.next_look > guard.now()


@pytest.mark.skipif(connection.vendor == "sqlite", reason="who reads waits for nobody")
def test_a_locked_ledger_does_not_hold_the_keeper_up(watching: Guard) -> None:
    """As a migration locks it: a keeper that stands still is taken for dead."""
    quote, began = connection.ops.quote_name, guard.now()
    mode = "WRITE" if connection.vendor == "mysql" else "IN ACCESS EXCLUSIVE MODE"
    with own_session("default") as other, closing(other.cursor()) as cursor:
        cursor.execute("BEGIN")
        words = "LOCK TABLES" if connection.vendor == "mysql" else "LOCK TABLE"
        cursor.execute(f"{words} {quote(Run._meta.db_table)} {mode}")
        watching.turn()
    assert (watching.pid, guard.now() - began < 10) == (0, True)
    assert 0 < watching.next_look - guard.now() <= guard.AGAIN


def test_what_is_wrong_with_the_look_does_not_end_the_keeper(
    watching: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room() -> None:
        raise OSError("no file descriptors")

    monkeypatch.setattr(guard, "get_settings", no_room)
    watching.turn()
    assert (watching.pid, Run.objects.exists()) == (0, False)
    assert watching.next_look > guard.now()


@override_settings(ARGUS_MAINT={"JOBS": {"findings": {"enabled": False}}})
def test_where_the_job_is_off_it_does_nothing(watching: Guard) -> None:
    watching.turn()
    assert watching.pid == 0


@override_settings(ARGUS_MAINT={"JOBS": {"findings": {"time_limit": 0.2}}})
def test_a_pass_that_hangs_is_ended(watching: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "run_due", lambda *given: time.sleep(600))
    watching.turn()
    pid = watching.pid

    def ended() -> bool:
        watching.turn()
        return watching.pid != pid

    until(ended)
    assert gone(pid)
    monkeypatch.setattr(guard, "LAST_WAIT", 0.0)
    watching.next_look = guard.now() + 600
    until(lambda: not watching._is_under_way(get_settings().jobs["findings"]))


def test_a_db_worker_alone_opens_findings(lab: Lab) -> None:
    """Without a scheduler, a crontab, or a worker that takes from the queue in question."""
    codes: dict[str, Any] = {"UnattendedQueue": {"unattended": "1s", "opens_after": 1}}
    lab.setting(RESCUE={}, FINDINGS=codes)
    lab.worker("--queue-name=other", name="w1").ready()
    rows.task(queue_name="mail", age=900)
    until(lambda: Finding.objects.filter(code="UnattendedQueue", state="open").exists(), 150)
    (run,) = Run.objects.filter(driver="keeper").order_by("pk")[:1]
    assert run.job == "findings"
