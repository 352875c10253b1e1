"""Who died in the last hour, and who is not back."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta
from typing import Any

import pytest

from argus_maint.models import Process
from argus_maint.observe.document import as_dict
from argus_maint.observe.picture import Status
from argus_maint.observe.render import status_page
from argus_maint.observe.status import gather
from tests import rows
from tests.schemas import validate

pytestmark = pytest.mark.django_db
USING = "default"


def _page(status: Status) -> list[str]:
    return [line.plain for line in status_page(status, None)]


def test_workers_that_died_are_counted_and_clean_ends_are_not() -> None:
    rows.process()
    now = rows.db_now(USING)
    for number, reason in enumerate(["crashed", "crashed", "stopped", "shutdown", "lost"]):
        killed = "SIGKILL" if reason == "crashed" else ""
        rows.process("x", number, state="ended", reason=reason, ended_at=now, exit_signal=killed)
    rows.process("x", 9, state="ended", reason="crashed", ended_at=now - timedelta(hours=2))
    deaths = [(each.reason, each.cause, each.count) for each in gather(USING).deaths]
    assert deaths == [("crashed", "SIGKILL", 2), ("lost", "", 1)]


def test_workers_and_supervisors_that_died_are_counted_apart() -> None:
    rows.process()
    died = {"state": "ended", "reason": "lost", "ended_at": rows.db_now(USING)}
    rows.process("far", 0, kind="supervisor", host=rows.elsewhere(), **died)
    rows.process("far", 1, host=rows.elsewhere(), **died)
    rows.process("watcher", kind="watcher", **died)
    page = _page(gather(USING))
    assert "  workers that died in the last hour: 1 lost" in page
    assert "  supervisors that died in the last hour: 1 lost" in page


@pytest.mark.parametrize(
    ("values", "heir", "gone"),
    [
        ({}, {}, True),
        ({"reason": "stopped"}, {}, False),
        ({"reason": "shutdown"}, {}, False),  # it was stopping, and killed for being slow
        ({"ended_at": timedelta(hours=2)}, {}, False),
        ({}, {"name": "far"}, False),
        ({}, {"name": "far", "pid": 0}, True),  # dead itself
        ({}, {"host": True}, False),  # a new name on its host, as by default
        ({}, {"host": True, "registered_at": timedelta(days=1)}, True),  # it was there before
    ],
)
def test_a_supervisor_that_died_is_shown_until_another_is_in_its_place(
    values: dict[str, Any], heir: dict[str, Any], gone: bool
) -> None:
    now, far = rows.db_now(USING), rows.elsewhere()
    ended = now - values.get("ended_at", timedelta(minutes=5))
    died = {"state": "ended", "reason": "lost", **values, "ended_at": ended}
    rows.process("far", 0, kind="supervisor", host=far, silent=310, **died)
    pid = rows.dead_pid() if "pid" in heir else None
    born = now - heir.get("registered_at", timedelta(minutes=1))
    rows.process(
        heir.get("name", "near"),
        9,
        kind="supervisor",
        host=far if "host" in heir else None,
        pid=pid,
        registered_at=born,
    )
    rows.process()
    status = gather(USING)
    line = "  supervisor far on far died 5m ago: nothing in its place"
    assert (line in _page(status)) is gone
    assert len(as_dict(status)["supervisors_gone"]) == int(gone)
    validate("status", json.loads(json.dumps(as_dict(status))))


def test_the_head_counts_the_living_only() -> None:
    rows.process()
    rows.process("gone", pid=rows.dead_pid())
    rows.process("far", 0, kind="supervisor", host=rows.elsewhere(), silent=60)
    assert "PROCESSES  1 worker" in _page(gather(USING))


def _scheduler(driver: str, **values: Any) -> None:
    row = rows.process(f"s{uuid.uuid4().hex[:6]}", kind="scheduler", **values)
    Process.objects.filter(pk=row.pk).update(info={"driver": driver})


def _lost(minutes: int) -> dict[str, Any]:
    return {"state": "ended", "reason": "lost", "ended_at": rows.ago(60 * minutes)}


def test_a_scheduler_that_died_with_no_other_alive_is_a_problem() -> None:
    rows.process("w")
    _scheduler("crontask", **_lost(5))
    (problem,) = gather("default").problems
    assert (problem.code, problem.command) == ("no_scheduler", "manage.py crontask")
    assert "died 5m ago" in problem.message


def test_a_death_is_as_old_as_the_last_beat_however_late_it_was_noted() -> None:
    rows.process("w")
    _scheduler("crontask", silent=7200, state="ended", reason="lost", ended_at=rows.ago(1))
    far = {"kind": "supervisor", "host": rows.elsewhere(), "silent": 7200}
    rows.process("far", 0, state="ended", reason="lost", ended_at=rows.ago(1), **far)
    status = gather("default")
    (problem,) = status.problems
    assert "died 2h00m ago" in problem.message
    assert "  supervisor far on far died 2h00m ago: nothing in its place" in _page(status)


@pytest.mark.parametrize("driver", ["crontask", "apscheduler", "cron"])
def test_a_dead_scheduler_whose_death_nobody_has_noted_is_told_as_well(driver: str) -> None:
    """With the last scheduler there may be nobody left to note it."""
    rows.process("w")
    _scheduler(driver, pid=rows.dead_pid(), silent=300)
    problems = {each.code: each.message for each in gather("default").problems}
    assert ("no_scheduler" in problems) is (driver != "cron")
    assert "died 5m ago" in problems.get("no_scheduler", "died 5m ago")
    assert problems["silent"] == "1 process dead or silent"


def test_a_dead_scheduler_beside_a_living_one_is_no_lack() -> None:
    rows.process("w")
    _scheduler("crontask")
    _scheduler("crontask", pid=rows.dead_pid(), silent=300)
    assert [each.code for each in gather("default").problems] == ["silent"]


@pytest.mark.parametrize(
    ("driver", "values"),
    [
        ("crontask", {}),  # another is alive
        ("apscheduler", {"state": "ended", "reason": "stopped", "ended_at": rows.ago(60)}),
    ],
)
def test_where_another_goes_on_or_was_stopped_on_purpose_it_is_none(
    driver: str, values: dict[str, Any]
) -> None:
    rows.process("w")
    _scheduler("crontask", **_lost(5))
    _scheduler(driver, **values)
    assert gather("default").problems == []


def test_a_command_of_a_crontab_is_not_shown_as_a_scheduler() -> None:
    rows.process("w")
    _scheduler("cron")
    page = _page(gather("default"))
    assert "PROCESSES  1 worker, 1 maint command" in page
    assert [line for line in page if "scheduler" in line] == []


def test_a_command_of_a_crontab_that_was_killed_is_no_scheduler() -> None:
    rows.process("w")
    _scheduler("cron", **_lost(5))
    assert gather("default").problems == []
