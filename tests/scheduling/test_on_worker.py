"""``"run_on": "worker"``: a scheduled run goes through the task queue, and comes to its end."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django_tasks_db.models import DBTaskResult

from argus_maint.conf import get_settings
from argus_maint.models import Run
from argus_maint.scheduling import ledger
from tests import rows
from tests.lab import Lab, until

pytestmark = pytest.mark.django_db(transaction=True)


def cron_line() -> None:
    call_command("maint", "run", "history", "--scheduled")


@pytest.fixture
def handed(lab: Lab, settings: Any) -> Run:
    """A tick of ``history`` that was handed to the queue by a crontab line."""
    sections = {"RESCUE": {"*": {"backoff": [0, 0]}}, "JOBS": {"history": {"run_on": "worker"}}}
    lab.setting(**sections)
    settings.ARGUS_MAINT = sections
    tick = get_settings().jobs["history"].schedule.latest(ledger.utc_now("default"))
    rows.ran("history", tick - timedelta(days=1))
    cron_line()
    return Run.objects.get(state="running")


def ended(run: Run) -> Any:
    return until(lambda: Run.objects.filter(pk=run.pk).exclude(state="running").first())


def test_a_worker_takes_it_and_writes_down_what_became_of_it(lab: Lab, handed: Run) -> None:
    assert handed.process is None
    lab.worker().ready()
    run = ended(handed)
    assert (run.state, run.driver, run.attempt) == ("done", "worker", 1)
    assert run.report["rows"] == 0


def test_while_the_task_waits_the_run_is_not_lost_and_when_it_is_gone_it_is(
    lab: Lab, handed: Run
) -> None:
    host = rows.this_host()
    assert ledger.lost("default", host) == []
    DBTaskResult.objects.all().delete()
    assert [run.pk for run in ledger.lost("default", host)] == [handed.pk]
    cron_line()  # and it is handed over once more
    (again,) = Run.objects.filter(state="running")
    assert (again.pk, again.attempt) == (handed.pk, 2)
    lab.worker().ready()
    assert ended(again).state == "done"


def test_a_task_whose_run_was_taken_for_lost_does_nothing(lab: Lab, handed: Run) -> None:
    Run.objects.filter(pk=handed.pk).update(attempt=2)
    lab.worker().ready()
    task = DBTaskResult.objects.get()
    row = lab.until_status(task, "SUCCESSFUL")
    assert row.return_value == "not its run any more"
    assert Run.objects.get(pk=handed.pk).state == "running"
