"""The beginning of the status screen: what is wrong, since when, and what to do."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from argus_maint.models import Finding
from argus_maint.observe.document import as_dict
from argus_maint.observe.render import status_page
from argus_maint.observe.status import gather
from tests import rows
from tests.observe import notes
from tests.schemas import validate

pytestmark = pytest.mark.django_db


def _page(width: int | None = None) -> list[str]:
    return [line.plain for line in status_page(gather("default"), width)]


def test_an_open_finding_comes_first_with_its_age_and_its_page() -> None:
    rows.process()
    notes.finding("JobFailed", "prune", summary="prune failed: no space left", age=180)
    notes.finding("UnattendedQueue", "mail", severity="critical", summary="3 ready in mail")
    assert _page()[:4] == [
        "UNHEALTHY  critical UnattendedQueue mail for 12m: 3 ready in mail",
        "             manage.py maint runbook UnattendedQueue mail",
        "           warning JobFailed prune for 3m: prune failed: no space left",
        "             manage.py maint runbook JobFailed prune",
    ]


def test_what_is_not_open_is_not_shown() -> None:
    rows.process()
    notes.finding("TableBloat", state=Finding.State.PENDING)
    notes.finding("ClockSkew", "web", state=Finding.State.CLOSED, live=None)
    status = gather("default")
    assert status.healthy and not status.findings


def test_an_object_that_a_shell_would_take_apart_is_quoted() -> None:
    notes.finding("UnattendedQueue", "other; rm -rf")
    notes.finding("QueueBacklog", "--all")
    page = "\n".join(_page())
    assert "maint runbook UnattendedQueue 'other; rm -rf'\n" in page
    assert "maint runbook QueueBacklog -- --all\n" in page


def test_an_acknowledged_finding_stands_apart_and_leaves_the_site_healthy() -> None:
    rows.process()
    notes.finding("TableBloat", **notes.acked())
    status = gather("default")
    page = _page()
    assert status.healthy
    assert page[0] == "HEALTHY  1 worker, 0 running, 0 ready"
    assert page[1] == "ACKNOWLEDGED"
    assert page[2].startswith("  warning TableBloat for 12m, anna@web until 20")
    assert page[2].endswith(": after the release")


def test_an_acknowledgement_that_has_run_out_no_longer_holds() -> None:
    rows.process()
    notes.finding("TableBloat", **notes.acked(until=-1))
    assert not gather("default").healthy


def test_a_finding_to_know_of_is_shown_and_is_no_alarm() -> None:
    rows.process()
    notes.finding("TableBloat", severity="info", summary="half of it is empty")
    assert _page()[:3] == [
        "HEALTHY  1 worker, 0 running, 0 ready",
        "         info TableBloat for 12m: half of it is empty",
        "           manage.py maint runbook TableBloat",
    ]


def test_a_problem_is_told_once_by_its_finding_or_else_by_itself() -> None:
    rows.process(queues=("default",))
    rows.task(queue_name="mail")
    rows.task(queue_name="bulk")
    assert [each.code for each in gather("default").news] == ["unserved", "unserved"]
    notes.finding("UnattendedQueue", "mail", severity="critical", summary="1 ready in mail")
    status = gather("default")
    assert [each.object for each in status.news] == ["bulk"]
    page = _page()
    assert page[0].startswith("UNHEALTHY  critical UnattendedQueue mail")
    assert page[2] == "           1 ready in bulk: no worker  manage.py db_worker --queue-name bulk"
    value = json.loads(json.dumps(as_dict(status)))
    validate("status", value)
    assert {each["message"]: each["told"] for each in value["problems"]} == {
        "1 ready in bulk: no worker": False,
        "1 ready in mail: no worker": True,
    }


def test_no_workers_at_all_tells_for_every_queue() -> None:
    rows.task(queue_name="mail")
    notes.finding("NoWorkers", severity="critical", **notes.acked())
    assert gather("default").healthy


def test_a_paused_queue_and_a_drained_worker_are_shown_with_who_and_why() -> None:
    rows.process("web", 0, kind="supervisor")
    rows.process("web", 1, queues=("mail",))
    rows.process("other", 1, queues=("mail",))
    rows.task(queue_name="mail")
    notes.pause("mail", until=3605)
    notes.pause(worker="web", why="kernel upgrade")
    notes.pause("gone", until=-5)
    page = _page()
    at = page.index("PAUSED")
    queue, worker = page[at + 2], page[at + 3]
    assert queue.startswith("  queue mail  2h00m ago  20") and ", in 1h00m  " in queue
    assert queue.endswith("  anna@web  the mail server is away")
    assert worker.split(maxsplit=2)[:2] == ["worker", "web"]
    assert "  undone by hand  " in worker and worker.endswith("anna@web  kernel upgrade")
    assert not any("gone" in line for line in page)
    assert [line.split()[1] for line in page if line.startswith(("  web", "    1  "))][
        0
    ] == "drained"
    (mail,) = [line for line in page if line.startswith("  mail")]
    assert mail.split()[-2:] == ["1", "paused"]  # one worker that is not drained


def test_a_paused_queue_needs_no_worker_and_is_never_stalled() -> None:
    owner = rows.process("web", 1, queues=("bulk",))
    rows.task("RUNNING", workers=(owner.worker_id,), age=4000, queue_name="bulk")
    rows.task(queue_name="bulk", age=4000)
    rows.task(queue_name="mail")
    codes = [each.code for each in gather("default").problems]
    assert codes == ["unserved", "stalled"]
    notes.pause("mail")
    notes.pause("bulk")
    status = gather("default")
    assert status.healthy
    assert _page()[0].endswith("2 ready, 2 queues paused")
    value = json.loads(json.dumps(as_dict(status)))
    validate("status", value)
    assert [each["queue"] for each in value["pauses"]] == ["bulk", "mail"]


def test_a_queue_whose_workers_are_drained_has_none() -> None:
    rows.process("web", 1, queues=("mail",))
    rows.task(queue_name="mail")
    notes.pause(worker="web")
    assert [each.code for each in gather("default").problems] == ["unserved"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"state": "failed", "error": "boom\nNo space left"},
            "job prune failed 5m ago: No space left",
        ),
        ({"state": "lost"}, "job prune was lost with its process on web 5m ago"),
        ({"state": "running", "age": 90_000}, "job prune has been running for 1d01h on web"),
        ({"state": "running"}, ""),
        ({"state": "done"}, ""),
    ],
)
def test_a_job_whose_newest_run_was_no_success(values: dict[str, Any], message: str) -> None:
    rows.process()
    notes.run("prune", age=100_000)
    notes.run("prune", **{"age": 300, **values})
    notes.run("prune", "skipped", age=10, finished_at=None)
    status = gather("default")
    assert [each.message for each in status.problems] == ([message] if message else [])
    if message:
        assert _page()[0] == f"UNHEALTHY  {message}  manage.py maint jobs --job prune"
        validate("status", json.loads(json.dumps(as_dict(status))))


def test_a_run_by_hand_after_it_makes_it_good() -> None:
    rows.process()
    notes.run("prune", "failed", age=300)
    notes.run("prune", age=100, by_hand=True)
    assert gather("default").healthy


def test_a_job_that_is_switched_off_is_not_looked_at(settings: Any) -> None:
    settings.ARGUS_MAINT = {"JOBS": {"prune": {"enabled": False}}}
    rows.process()
    notes.run("prune", "failed")
    assert gather("default").healthy


@pytest.mark.parametrize("width", [60, 80, 120])
def test_long_words_are_cut_to_the_window_and_commands_never(width: int) -> None:
    rows.process()
    task = "shop.tasks.invoices.reminders.send_every_reminder_that_is_due_today_and_tomorrow"
    notes.finding("FailureSpike", task, summary="90% of 400 failed within 10m " * 8)
    notes.finding("TableBloat", summary="x" * 300, **notes.acked())
    page = _page(width)
    command = f"manage.py maint runbook FailureSpike {task}"
    assert page[1].strip() == command
    assert all(len(line) <= width for line in page if command not in line)
    assert any(command in line for line in _page())
    assert any("90% of 400 failed within 10m " * 8 in line + " " for line in _page())


def test_control_characters_of_a_finding_never_reach_the_terminal() -> None:
    notes.finding("JobFailed", "x\x1b[2J", summary="y\x1b]0;z\x07\nw")
    assert not any("\x1b" in line or "\n" in line for line in _page())


def test_many_findings_are_counted_and_not_all_shown() -> None:
    for number in range(14):
        notes.finding("StuckTask", f"task{number}")
    page = _page()
    assert sum("maint runbook StuckTask" in line for line in page) == 10
    assert any(line.strip() == "and 4 more: manage.py maint findings" for line in page)


def test_the_json_form_has_all_of_it() -> None:
    notes.finding("StuckTask", "0f3c", severity="critical", evidence={"task_id": "0f3c", "n": [1]})
    notes.finding("TableBloat", **notes.acked())
    notes.looked()
    value = json.loads(json.dumps(as_dict(gather("default"))))
    validate("status", value)
    first, second = value["findings"]
    assert first["command"] == "manage.py maint runbook StuckTask 0f3c"
    assert (first["evidence"], first["acked"]) == ({"task_id": "0f3c", "n": [1]}, False)
    assert (second["acked_by"], second["acked_why"]) == ("anna@web", "after the release")
    assert value["version"] == 2 and 25 < value["looked_ago"] < 60


def test_the_number_of_queries_does_not_grow_with_findings_and_runs() -> None:
    with CaptureQueriesContext(connection) as few:
        gather("default")
    for number in range(10):
        notes.finding("StuckTask", f"task{number}")
        notes.pause(f"q{number}")
        notes.run("prune", "failed", age=number * 100)
    with CaptureQueriesContext(connection) as many:
        gather("default")
    assert len(many) == len(few)
