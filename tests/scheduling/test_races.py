"""What comes in between: two who act at one moment, and jobs that leave a mess behind."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import override_settings

from argus_maint.conf_jobs import Job
from argus_maint.jobs import performing
from argus_maint.models import Run
from argus_maint.scheduling import ledger
from argus_maint.scheduling.ledger import Holder
from argus_maint.scheduling.member import Member
from argus_maint.scheduling.runner import Runner
from argus_maint.workers.identity import this_host
from tests import rows
from tests.lab import Lab
from tests.scheduling.test_claims import Host, due_once, tick

pytestmark = pytest.mark.django_db(transaction=True)
HOST = this_host()


@pytest.fixture
def host() -> Iterator[Host]:
    made = Host()
    yield made
    made.member.sign_off(keep=False)


def holder() -> Holder:
    return Holder("cron", "here", rows.uuid.uuid4())


def newest() -> Run:
    run = Run.objects.order_by("-pk").first()
    assert run is not None
    return run


# -- a worker that is quicker than the scheduler ------------------------------------------


def test_a_run_that_a_worker_takes_before_it_was_handed_over_is_not_lost(lab: Lab) -> None:
    """Its task is in the queue before the scheduler has said so, and workers wait for it."""
    from argus_maint.jobs.on_worker import run_job

    scheduler, task = holder(), rows.task("RUNNING", workers=("w",))
    run = ledger.claim("history", tick(), scheduler, "default")
    assert run is not None
    seen: list[list[Run]] = []

    def look(*_: Any) -> Any:
        def perform(job: Job, run: Run) -> dict[str, Any]:
            seen.append(ledger.lost("default", HOST))
            ledger.hand_over(claimed, str(task.pk), "default")  # too late
            seen.append(ledger.lost("default", HOST))
            return {}

        return perform

    claimed = run
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("argus_maint.jobs.on_worker.performer", look)
        context = SimpleNamespace(task_result=SimpleNamespace(id=str(task.pk)))
        given = (context,) if run_job.takes_context else ()
        assert run_job.func(*given, "history", run.pk, 1) == "done"
    assert seen == [[], []]
    assert newest().state == "done"


OTHER = {
    "default": {"BACKEND": "django.tasks.backends.dummy.DummyBackend"},
    "db": {"BACKEND": "django_tasks_db.DatabaseBackend", "QUEUES": []},
}


def test_a_run_goes_into_the_queue_of_the_database_whatever_the_default_is(lab: Lab) -> None:
    """Of any other nothing can be looked up: it would be lost, and be put in again and again."""
    pytest.importorskip("django.tasks")
    if rows.DBTaskResult.__module__ and not performing_on("django.tasks"):
        pytest.skip("the backport has backends of its own")
    member = Member("default", "cron")
    job = due_once(run_on="worker")
    with override_settings(TASKS=OTHER), member.beating():
        runner = Runner("default", member, performing.performer("default", "x", {"j": job}))
        (run,) = runner.fire(job)
        assert [task.backend_name for task in rows.DBTaskResult.objects.all()] == ["db"]
        assert ledger.lost("default", HOST) == []
    assert (newest().pk, newest().state, newest().attempt) == (run.pk, "running", 1)


def performing_on(framework: str) -> bool:
    from argus_maint.jobs.on_worker import run_job

    return type(run_job).__module__.startswith(framework)


@override_settings(TASKS={"default": OTHER["default"]})
def test_without_such_a_queue_it_says_so(host: Host) -> None:
    if not performing_on("django.tasks"):
        pytest.skip("the backport has backends of its own")
    job = due_once(run_on="worker")
    host.runner.perform = performing.performer("default", "x", {"j": job})
    (run,) = host.runner.fire(job)
    assert (run.state, run.error) == ("failed", "no backend of TASKS is a database backend")
