"""Rescue, prune and status of backends that keep their tasks elsewhere than in the table."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import override_settings

from argus_maint.backends.adapters.base import Worker
from argus_maint.jobs import detect, foreign, passes
from argus_maint.jobs.errand import Errand
from argus_maint.models import LedgerEntry
from argus_maint.policy import rescue_policy
from tests import rows
from tests.backends import shelf
from tests.commands.calls import as_json, maint, wrong

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    made = tmp_path / "shelf"
    made.mkdir()
    with override_settings(**shelf.site(made)):
        yield made


def make(**options: Any) -> foreign.Report:
    return foreign.make(Errand("default", "alice@host", **options))


# -- rescue -----------------------------------------------------------------------------


def test_a_lost_task_is_requeued_by_policy_and_is_in_the_ledger(folder: Path) -> None:
    shelf.put(folder, "Zebra7")

    report = make()

    assert not report.errors
    assert shelf.read(folder, "Zebra7") | {"status": "READY", "delay": 2} == shelf.read(
        folder, "Zebra7"
    )
    (entry,) = LedgerEntry.objects.all()
    assert (entry.action, entry.verdict, entry.losses, entry.counted) == (
        "requeued",
        "expired",
        1,
        True,
    )
    assert (entry.task_key, entry.backend_name, entry.noticed_by) == (
        "Zebra7",
        "shelf",
        "alice@host",
    )


def test_the_third_loss_is_a_quarantine(folder: Path) -> None:
    for attempt in (1, 2, 3):
        shelf.put(folder, "a", attempt=attempt)
        make()
    assert [each.action for each in LedgerEntry.objects.order_by("pk")] == [
        "requeued",
        "requeued",
        "quarantined",
    ]
    assert "TaskQuarantined" in shelf.read(folder, "a")["error"]


@rescue_policy(on_lost="fail")
def once() -> None:
    """A task that must not repeat."""


@pytest.mark.parametrize("path", [f"{__name__}.once", "shop.tasks.gone"])
def test_what_must_not_repeat_is_failed_and_so_is_what_cannot_be_asked(
    folder: Path, path: str
) -> None:
    shelf.put(folder, "a", path=path)
    make()
    assert shelf.read(folder, "a")["status"] == "FAILED"
    assert LedgerEntry.objects.get().action == "failed"


def test_what_cannot_be_told_yet_is_waited_for_and_looked_at_again(folder: Path) -> None:
    shelf.put(folder, "dead", certain_at=time.time() + 1)
    told: list[float] = []

    report = make(progress=lambda left, total: told.append(left))

    assert [entry.task_key for entry in report.acts] == ["dead"]
    assert report.waited >= 0.5
    assert told
    assert not report.unconfirmed


def test_one_that_shows_itself_alive_meanwhile_is_left_alone(folder: Path) -> None:
    shelf.put(folder, "a", certain_at=time.time() + 0.6)

    def beat(left: float, total: float) -> None:
        if shelf.read(folder, "a")["status"] == "RUNNING":
            shelf.put(folder, "a", "SUCCESSFUL")

    report = make(progress=beat)

    assert not report.acts
    assert shelf.read(folder, "a")["status"] == "SUCCESSFUL"


@pytest.mark.parametrize("how", [{"dry_run": True}, {"wait": False}])
def test_who_does_not_wait_names_it(folder: Path, how: dict[str, bool]) -> None:
    shelf.put(folder, "a", certain_at=time.time() + 60)
    report = make(**how)
    assert [(alias, lost.task_id) for alias, lost in report.unconfirmed] == [("shelf", "a")]
    assert not LedgerEntry.objects.exists()


def test_a_dry_run_says_what_it_would_do(folder: Path) -> None:
    shelf.put(folder, "a")
    assert [entry.action for entry in make(dry_run=True).acts] == ["requeued"]
    assert shelf.read(folder, "a")["status"] == "RUNNING"
    assert not LedgerEntry.objects.exists()


def test_what_has_changed_since_it_was_read_leaves_no_trace(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.put(folder, "a")
    look = shelf.Shelf.lost

    def late(self: shelf.Shelf) -> Any:
        found = look(self)
        shelf.put(folder, "a", "SUCCESSFUL")
        return found

    monkeypatch.setattr(shelf.Shelf, "lost", late)
    assert not make().acts
    assert shelf.read(folder, "a")["status"] == "SUCCESSFUL"
    assert not LedgerEntry.objects.exists()


def test_a_backend_that_is_away_is_one_line_and_spares_the_others(tmp_path: Path) -> None:
    away, there = tmp_path / "away", tmp_path / "there"
    there.mkdir()
    with override_settings(**shelf.site(away, there)):
        shelf.put(there, "a")
        row = rows.lost()
        report = passes.rescue(passes.Pass("default", "alice@host"))
        row.refresh_from_db()
    assert row.status == "READY"
    assert shelf.read(there, "a")["status"] == "READY"
    assert report["rescued"] == 2
    assert report["unreachable"] == {"away": "the shelf away is not there"}


def test_the_command_tells_of_them(folder: Path) -> None:
    shelf.put(folder, "Zebra7")
    (act,) = as_json("rescue", "rescue")["acts"]
    assert (act["task_id"], act["backend"], act["action"]) == ("Zebra7", "shelf", "requeued")
    shelf.put(folder, "Yak", certain_at=time.time() + 60)
    assert "1 task of other backends may be lost" in maint("rescue", "--no-wait")


def test_its_history_is_found_by_its_whole_id(folder: Path) -> None:
    key = "zebraYakXylophoneWolf0123456789ab"
    shelf.put(folder, key)
    maint("rescue")
    assert key in maint("history")
    out = maint("history", "--task", key)
    assert out.startswith(f"{key}  tests.tasks.sleep  queue default")
    assert "now        READY since" in out and "no dust on it" in out
    assert "only whole ids are looked for" in wrong("history", "--task", key[:-1])


# -- prune ------------------------------------------------------------------------------

DAY = 86_400


def test_what_is_past_its_retention_goes(folder: Path) -> None:
    shelf.put(folder, "old", "SUCCESSFUL", age=15 * DAY)
    shelf.put(folder, "failed", "FAILED", age=15 * DAY)
    shelf.put(folder, "runs", "RUNNING", age=400 * DAY)
    (other,) = as_json("prune", "prune", "--dry-run")["others"]
    assert other["deleted"] == {"successful": 1}
    assert (folder / "old").exists()
    report = passes.prune(passes.Pass("default", "alice@host"))
    assert report["others"][0]["deleted"] == {"successful": 1}
    assert sorted(each.name for each in folder.iterdir()) == ["failed", "runs"]


def test_filters_hold_there_too(folder: Path) -> None:
    shelf.put(folder, "a", "SUCCESSFUL", age=15 * DAY, path="shop.a")
    shelf.put(folder, "b", "SUCCESSFUL", age=15 * DAY, path="shop.b")
    rows.task("SUCCESSFUL", path="shop.a")
    maint("prune", "--task=shop.a")
    assert [each.name for each in folder.iterdir()] == ["b"]


def test_a_prune_says_what_is_of_the_table_and_what_is_not(folder: Path) -> None:
    shelf.put(folder, "a", "SUCCESSFUL", age=15 * DAY, path="shop.only_there", queue="bulk")
    out = maint("prune", "--task=shop.only_there", "--queue=bulk", "--dry-run")
    assert "nothing of the task table" in out
    assert "backend shelf: 1 successful would be deleted" in out
    out = maint("prune")
    assert "0 rows of the task table deleted" in out
    assert "backend shelf: 1 successful deleted" in out


def test_with_an_archive_they_are_left_alone_and_that_is_said(folder: Path, tmp_path: Path) -> None:
    shelf.put(folder, "old", "SUCCESSFUL", age=15 * DAY)
    out = maint("prune", f"--archive={tmp_path / 'archive'}")
    assert "backend shelf: only tasks of the task table can be archived" in out
    assert (folder / "old").exists()


# -- status -----------------------------------------------------------------------------


def test_status_has_their_queues_and_workers(folder: Path) -> None:
    shelf.put(folder, "a", "READY", queue="bulk")
    shelf.put(folder, "b", "RUNNING", queue="bulk", worker="w7")
    out = maint("status")
    assert "1 ready in bulk of backend shelf: no worker  manage.py work_shelf" in out
    assert "WORKERS OF OTHER BACKENDS" in out
    document = as_json("status", "status")
    (queue,) = [each for each in document["queues"] if each["backend"] == "shelf"]
    assert (queue["queue"], queue["ready"], queue["running"], queue["workers"]) == ("bulk", 1, 1, 0)
    (other,) = document["other_backends"]
    assert [(each["name"], each["alive"]) for each in other["workers"]] == [("w7", False)]


def test_a_dead_worker_with_nothing_in_its_place_is_a_finding(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.put(folder, "b", "RUNNING", queue="bulk", worker="w7")
    (found,) = detect.observe("default", codes=["DeadWorker"]).observations
    assert (found.object, found.evidence["backend"]) == ("w7@far", "shelf")
    assert found.summary.endswith(
        "died (no dust on it), nothing in its place: manage.py work_shelf"
    )
    look = shelf.Shelf.workers
    successor = Worker("w8", "far", 8, alive=True)
    monkeypatch.setattr(shelf.Shelf, "workers", lambda self: [*look(self), successor])
    assert detect.observe("default", codes=["DeadWorker"]).observations == []


def seen(code: str) -> list[tuple[str, Any]]:
    found = detect.observe("default", codes=[code]).observations
    return [(each.object, each.evidence.get("backend")) for each in found]


def test_a_backend_that_does_not_answer_is_a_finding(tmp_path: Path) -> None:
    away = tmp_path / "away"
    with override_settings(**shelf.site(away)):
        assert seen("BackendUnreachable") == [("away", "away")]
        away.mkdir()
        assert seen("BackendUnreachable") == []


def test_what_cannot_be_seen_is_not_closed(folder: Path) -> None:
    code = {"UnattendedQueue": {"unattended": 1, "opens_after": 1, "closes_after": 1}}
    with override_settings(ARGUS_MAINT={**settings.ARGUS_MAINT, "FINDINGS": code}):
        shelf.put(folder, "b", "READY", queue="bulk")
        assert detect.make("default", "me@here")["opened"] == ["UnattendedQueue shelf/bulk"]
        hidden = folder.rename(folder.with_name("hidden"))
        assert detect.make("default", "me@here")["closed"] == []
        hidden.rename(folder)
        shelf.put(folder, "b", "SUCCESSFUL", queue="bulk")
        assert detect.make("default", "me@here")["closed"] == ["UnattendedQueue shelf/bulk"]


def test_what_a_detector_could_not_see_is_not_closed_either(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its look comes later than that of status, and fails by itself."""
    at_once = {"opens_after": 1, "closes_after": 1}
    codes = {"StuckTask": at_once, "BackendUnreachable": {"enabled": False}}
    with override_settings(ARGUS_MAINT={**settings.ARGUS_MAINT, "FINDINGS": codes}):
        shelf.put(folder, "a", silent=600)
        assert detect.make("default", "me@here")["opened"] == ["StuckTask a"]
        with monkeypatch.context() as patched:
            patched.setattr(shelf.Shelf, "lost", lambda self: 1 / 0)
            assert detect.make("default", "me@here")["closed"] == []
        hidden = folder.rename(folder.with_name("hidden"))
        assert detect.make("default", "me@here")["closed"] == []
        hidden.rename(folder)
        shelf.put(folder, "a", "SUCCESSFUL")
        assert detect.make("default", "me@here")["closed"] == ["StuckTask a"]


def test_a_task_in_quarantine_is_a_finding_until_it_is_seen_to(folder: Path) -> None:
    for attempt in (1, 2, 3):
        shelf.put(folder, "a", attempt=attempt, path="tests.tasks.sleep")
        make()
    assert seen("PoisonTask") == [("tests.tasks.sleep", "shelf")]
    shelf.put(folder, "a", "READY")
    assert seen("PoisonTask") == []


def test_many_failures_of_one_kind_are_a_finding(folder: Path) -> None:
    for number in range(20):
        shelf.put(folder, f"f{number}", "FAILED", path="shop.bad", error="ValueError", age=30)
    for number in range(15):
        shelf.put(folder, f"s{number}", "SUCCESSFUL", path="shop.bad", age=30)
    assert seen("FailureSpike") == [("shop.bad", "shelf")]
    for number in range(15, 25):
        shelf.put(folder, f"s{number}", "SUCCESSFUL", path="shop.bad", age=30)
    assert seen("FailureSpike") == []


def test_a_lost_task_that_nobody_rescues_is_a_finding(folder: Path) -> None:
    shelf.put(folder, "a", silent=60)
    assert seen("StuckTask") == []
    shelf.put(folder, "a", silent=600)
    assert seen("StuckTask") == [("a", "shelf")]


def test_status_says_which_does_not_answer(tmp_path: Path) -> None:
    with override_settings(**shelf.site(tmp_path / "away")):
        out = maint("status")
    assert "backend away: the shelf away is not there" in out
