"""Is the queue healthy: what the status says, what it costs, and in which form."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django_tasks_db.models import DBTaskResult

from argus_maint.models import DeclaredPolicy, Process
from argus_maint.observe.document import as_dict
from argus_maint.observe.picture import Status
from argus_maint.observe.render import status_page
from argus_maint.observe.status import gather
from argus_maint.workers import registry
from tests import rows
from tests.schemas import validate

pytestmark = pytest.mark.django_db
USING = "default"


def _codes(status: Status | None = None) -> list[str]:
    return [problem.code for problem in (status or gather(USING)).problems]


def _page(status: Status, width: int | None = None) -> list[str]:
    return [line.plain for line in status_page(status, width)]


def test_a_worker_and_an_empty_queue_are_healthy() -> None:
    rows.process()
    status = gather(USING)
    assert status.healthy
    assert _page(status)[0] == "HEALTHY  1 worker, 0 running, 0 ready"


def test_no_worker_at_all_is_not_healthy() -> None:
    status = gather(USING)
    assert _codes(status) == ["no_worker"]
    assert _page(status)[0] == "UNHEALTHY  no worker is running  manage.py db_worker"


def test_a_task_of_a_process_that_is_gone_is_lost() -> None:
    rows.process()
    row = rows.lost()
    status = gather(USING)
    (lost,) = status.census.of_state("lost")
    assert (lost.attempt.task_id, lost.verdict, lost.confirmed) == (row.pk, "exited", True)
    assert _codes(status) == ["lost"]
    assert _page(status)[0] == "UNHEALTHY  1 task lost  manage.py maint rescue"


def test_what_a_living_supervisor_is_putting_back_is_left_to_it() -> None:
    supervisor = rows.process("web", 0, kind="supervisor")
    rows.process("web", 1, supervisor=supervisor.supervisor)
    rows.lost()
    problem = gather(USING).problems[0]
    assert problem.message == "1 task lost, a supervisor is putting them back"
    assert problem.command == "manage.py maint status --watch"
    Process.objects.filter(pk=supervisor.pk).update(pid=rows.dead_pid())
    assert gather(USING).problems[0].command == "manage.py maint rescue"


def test_a_task_of_a_process_that_has_ended_is_lost_with_its_cause() -> None:
    rows.process()
    owner = rows.process("ended", state="ended", verdict="exited", exit_signal="SIGKILL")
    rows.task("RUNNING", workers=(owner.worker_id,))
    status = gather(USING)
    assert _codes(status) == ["lost"]
    assert any("SIGKILL" in line for line in _page(status))


def test_a_task_of_a_process_whose_lease_ran_out_is_lost_but_not_confirmed() -> None:
    rows.process()
    owner = rows.process("far", host=rows.elsewhere(), silent=60)
    rows.task("RUNNING", workers=(owner.worker_id,))
    (lost,) = gather(USING).census.of_state("lost")
    assert (lost.verdict, lost.confirmed) == ("expired", False)


def test_a_process_elsewhere_within_its_lease_is_alive() -> None:
    owner = rows.process("far", host=rows.elsewhere(), silent=10)
    rows.task("RUNNING", workers=(owner.worker_id,))
    assert gather(USING).healthy


def test_a_task_that_ended_between_two_looks_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    rows.process()
    row = rows.lost()
    living = registry.living

    def finish_first(using: str) -> list[Process]:
        DBTaskResult.objects.filter(pk=row.pk).update(status="SUCCESSFUL")
        return living(using)

    monkeypatch.setattr(registry, "living", finish_first)
    assert gather(USING).census.running == []


def test_a_dead_process_without_a_task_is_told_of() -> None:
    rows.process()
    rows.process("gone", pid=rows.dead_pid())
    assert _codes() == ["silent"]


@pytest.mark.parametrize(
    ("queues", "values", "codes"),
    [
        (("*",), {}, []),
        (("mail", "other"), {}, []),
        (("default",), {}, ["unserved"]),
        (("*",), {"state": "draining"}, ["unserved"]),
        (
            ("*",),
            {"info": {"queues": ["*"], "excluded": ["mail"], "backend": "default"}},
            ["unserved"],
        ),
        (("*",), {"info": {"queues": ["*"], "excluded": [], "backend": "x"}}, ["unserved"]),
    ],
)
def test_a_ready_task_that_no_worker_takes_is_told_of(
    queues: tuple[str, ...], values: dict[str, Any], codes: list[str]
) -> None:
    rows.process(queues=queues, **values)
    rows.task(queue_name="mail")
    status = gather(USING)
    assert _codes(status) == codes
    if codes:
        assert status.problems[0].command == "manage.py db_worker --queue-name mail"


@pytest.mark.parametrize(
    ("held", "waits", "codes"),
    [
        ((1000, 1000), 1000, ["stalled"]),
        ((1000, 1000), 800, []),  # it has not waited for long
        ((1000, 800), 1000, []),  # a worker has moved on
        ((1000, None), 1000, []),  # a worker is free
    ],
)
def test_a_queue_whose_workers_are_all_held_is_told_of(
    held: tuple[float | None, ...], waits: float, codes: list[str]
) -> None:
    for number, age in enumerate(held):
        owner = rows.process("web", number + 1, queues=("mail",))
        if age is not None:
            rows.task("RUNNING", workers=(owner.worker_id,), age=age)
    rows.task(queue_name="mail", age=waits)
    rows.task(queue_name="mail", run_after=rows.ago(-60), age=9999)
    status = gather(USING)
    assert _codes(status) == codes
    if codes:
        assert _page(status)[0] == (
            "UNHEALTHY  1 ready in mail for 16m: 2 workers busy with one task for over 15m"
            "  manage.py maint tasks --state running"
        )
        validate("status", json.loads(json.dumps(as_dict(status))))


def test_a_site_may_have_tasks_that_take_hours(settings: Any) -> None:
    settings.ARGUS_MAINT = {"PROCESSES": {"stalled_after": "3h"}}
    owner = rows.process()
    rows.task("RUNNING", workers=(owner.worker_id,), age=7200)
    rows.task(age=7200)
    assert gather(USING).healthy


def test_a_scheduled_task_needs_no_worker_yet() -> None:
    rows.process(queues=("default",))
    rows.task(queue_name="mail", run_after=rows.ago(-60))
    status = gather(USING)
    assert status.healthy
    counts = {queue.counts.queue_name: queue.counts for queue in status.queues}
    assert (counts["mail"].scheduled, counts["mail"].ready) == (1, 0)
    assert counts["default"].ready == 0  # a queue that a worker names is shown when empty


def test_overdue_by_report_and_by_policy() -> None:
    owner = rows.process()
    reported = rows.task("RUNNING", workers=(owner.worker_id,))
    rows.entry(reported, verdict="overdue", action="reported")
    DeclaredPolicy.objects.create(task_path="shop.slow", options={"time_limit": 10})
    late = rows.task("RUNNING", path="shop.slow", workers=(owner.worker_id,), age=60)
    rows.task("RUNNING", path="shop.slow", workers=(owner.worker_id,), age=5)
    earlier = rows.task("RUNNING", workers=(owner.worker_id, owner.worker_id))
    rows.entry(earlier, verdict="overdue", action="reported", attempt=1)

    status = gather(USING)

    overdue = status.census.of_state("overdue")
    assert {each.attempt.task_id for each in overdue} == {reported.pk, late.pk}
    assert _codes(status) == ["overdue"]


def test_a_policy_stored_by_another_version_stops_nothing() -> None:
    owner = rows.process()
    DeclaredPolicy.objects.create(task_path="shop.odd", options={"time_limit": "some day"})
    rows.task("RUNNING", path="shop.odd", workers=(owner.worker_id,), age=60)
    assert gather(USING).healthy


@pytest.mark.parametrize(("first_seen", "codes"), [(None, []), (60, []), (3700, ["unregistered"])])
def test_an_unregistered_task_is_a_problem_after_an_hour(
    first_seen: float | None, codes: list[str]
) -> None:
    rows.process()
    row = rows.task("RUNNING", workers=("stock",), age=100_000)
    if first_seen is not None:
        rows.seen(row, first_seen)
    assert _codes() == codes


def test_the_last_rescues_leave_out_what_is_none() -> None:
    row = rows.task()
    rows.entry(row, since=30)
    rows.entry(row, since=20, verdict="manual")
    rows.entry(row, since=10, verdict="zombie", action="refused")
    rows.entry(row, since=5, verdict="expired", action="quarantined")
    assert [entry.action for entry in gather(USING).rescues] == ["quarantined", "requeued"]


def test_workers_stand_under_their_supervisor_with_what_they_run() -> None:
    supervisor = uuid4()
    rows.process("web", 0, kind="supervisor", supervisor=supervisor)
    owner = rows.process("web", 1, supervisor=supervisor)
    rows.process("web", 2, supervisor=supervisor)
    rows.task("RUNNING", path="shop.tasks.send", workers=(owner.worker_id,), age=70)
    page = _page(gather(USING))
    start = page.index("PROCESSES  1 supervisor, 2 workers")
    names = [line.split()[:2] for line in page[start + 2 : start + 5]]
    assert names == [["web", "alive"], ["1", "running"], ["2", "idle"]]
    assert "shop.tasks.send" in page[start + 3]
    assert "~70s" in page[start + 3]


def _everything() -> None:
    supervisor = uuid4()
    rows.process("web", 0, kind="supervisor", supervisor=supervisor)
    owner = rows.process("web", 1, supervisor=supervisor)
    far = rows.process("far", host=rows.elsewhere(), silent=60)
    rows.process("watcher", kind="watcher")
    rows.process("x", state="ended", reason="crashed", exit_status=3, ended_at=rows.db_now(USING))
    rows.task("RUNNING", workers=(owner.worker_id,), path="shop.tasks.send_a_very_long_name" * 2)
    rows.task("RUNNING", workers=(far.worker_id,))
    rows.seen(rows.task("RUNNING", workers=("stock-worker\x1b[2J",), age=9), 4000)
    rows.entry(rows.lost(), verdict="overdue", action="reported")
    late = rows.task("RUNNING", workers=(owner.worker_id,))
    rows.entry(late, verdict="overdue", action="reported")
    rows.entry(rows.task(queue_name="mail", run_after=rows.ago(-99)), exit_status=1)
    rows.task(queue_name="other;rm", backend_name="second")


def test_the_json_form_is_as_documented() -> None:
    _everything()
    status = gather(USING)
    value = json.loads(json.dumps(as_dict(status)))
    validate("status", value)
    assert set(_codes(status)) == {"lost", "unserved", "overdue", "unregistered"}
    assert value["healthy"] is False
    assert [len(each["workers"]) for each in value["processes"]] == [1, 0, 0, 0]
    assert value["lost"]["count"] == 2
    validate("status", json.loads(json.dumps(as_dict(gather(USING, "second")))))


@pytest.mark.parametrize("width", [80, 120])
def test_the_screen_fits_the_window(width: int) -> None:
    _everything()
    page = _page(gather(USING), width)
    assert [line for line in page if len(line) > width] == []
    assert page[0].startswith("UNHEALTHY  2 tasks lost")
    assert not any("\x1b" in line for line in page)


def test_a_command_can_be_copied_whole() -> None:
    rows.process(queues=("default",))
    rows.task(queue_name="a queue with spaces", backend_name="default")
    page = "\n".join(_page(gather(USING), 60))
    assert "manage.py db_worker --queue-name 'a queue with spaces'" in page


def test_many_tasks_of_a_kind_are_counted_and_not_all_shown() -> None:
    rows.process()
    owner = rows.process("gone", pid=rows.dead_pid())
    for _ in range(30):
        rows.task("RUNNING", workers=(owner.worker_id,))
    page = _page(gather(USING))
    assert sum(" lost " in line for line in page) < 15
    assert any("and 20 more: manage.py maint tasks --state lost" in line for line in page)


def test_the_number_of_queries_does_not_grow_with_what_there_is() -> None:
    _everything()
    with CaptureQueriesContext(connection) as few:
        gather(USING)
    for number in range(30):
        owner = rows.process("many", number)
        rows.task("RUNNING", workers=(owner.worker_id,), path=f"shop.tasks.t{number}")
        rows.task("SUCCESSFUL")
        rows.entry(rows.lost())
    with CaptureQueriesContext(connection) as many:
        gather(USING)
    assert len(many) == len(few) <= 20


def test_an_empty_site_after_migrate(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("maint", "status")
    assert capsys.readouterr().out.splitlines()[0].startswith("UNHEALTHY  no worker")
