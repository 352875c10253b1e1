"""Tasks of a backend that keeps them elsewhere than in the task table: lists and levers."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError
from django.test import override_settings

from argus_maint.models import LedgerEntry
from tests import rows
from tests.backends import shelf
from tests.commands.calls import as_json, maint, wrong

pytestmark = pytest.mark.django_db(transaction=True)
ZEBRA = "Zebra7zZ34567890123456789012345X"
QUARANTINED = "argus_maint.exceptions.TaskQuarantined"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    made = tmp_path / "shelf"
    made.mkdir()
    with override_settings(**shelf.site(made)):
        yield made


def listed(*arguments: str) -> list[tuple[str, str]]:
    found = as_json("tasks", "tasks", *arguments)
    return [(each["task_id"], each["state"]) for each in found["tasks"]]


def refused(*arguments: str) -> str:
    with pytest.raises(SystemExit) as end:
        maint(*arguments)
    assert end.value.code == 1
    return ""


def test_tasks_of_every_backend_are_listed(folder: Path) -> None:
    row = rows.task()
    shelf.put(folder, "ready", "READY", age=60)
    shelf.put(folder, "later", "READY", age=-60)
    shelf.put(folder, "runs", held=True)
    shelf.put(folder, "lost")
    shelf.put(folder, "poison", "FAILED", error=QUARANTINED)
    shelf.put(folder, "failed", "FAILED", error="ValueError", path="shop.a", age=9999)
    shelf.put(folder, "done", "SUCCESSFUL")

    assert sorted(listed()) == sorted(
        [
            (str(row.pk), "ready"),
            ("ready", "ready"),
            ("later", "scheduled"),
            ("runs", "running"),
            ("lost", "running"),
        ]
    )
    assert listed("--state", "lost") == [("lost", "lost")]
    assert listed("--state", "scheduled") == [("later", "scheduled")]
    assert listed("--state", "quarantined") == [("poison", "failed")]
    assert listed("--state", "failed", "--task", "shop.*") == [("failed", "failed")]
    assert listed("--state", "failed", "--older-than", "1h") == [("failed", "failed")]
    assert listed("--state", "successful", "--backend", "shelf") == [("done", "successful")]
    assert listed("--state", "failed", "--backend", "default") == []
    page = maint("tasks", "--state", "failed")
    assert "ValueError" in page and "TaskQuarantined" in page


def test_a_backend_that_does_not_answer_keeps_nobody_from_the_rest(folder: Path) -> None:
    row = rows.task("FAILED")
    folder.rmdir()
    with pytest.raises(SystemExit) as end:
        maint("tasks")
    assert end.value.code == 1
    with pytest.raises(SystemExit) as end:
        maint("requeue", "--failed", "--task", "*", "--since", "1h")
    assert end.value.code == 1
    row.refresh_from_db()
    assert row.status == "READY"
    assert "Not asked: shelf: the shelf shelf is not there" in wrong("requeue", ZEBRA)


def test_a_failed_task_is_requeued_by_its_whole_id(folder: Path) -> None:
    shelf.put(folder, ZEBRA, "FAILED", error="ValueError")
    assert f"{ZEBRA}  would requeue" in maint("requeue", ZEBRA, "--dry-run")
    assert shelf.read(folder, ZEBRA)["status"] == "FAILED"

    (told,) = as_json("levers", "requeue", ZEBRA, "--why", "the bug is mended")["tasks"]

    assert (told["outcome"], told["message"]) == ("done", "it was FAILED with ValueError")
    assert shelf.read(folder, ZEBRA)["status"] == "READY"
    entry = LedgerEntry.objects.get()
    assert (entry.verdict, entry.action, entry.task_key, entry.backend_name) == (
        "manual",
        "requeued",
        ZEBRA,
        "shelf",
    )
    assert "the bug is mended" in entry.evidence and not entry.counted
    assert ZEBRA in maint("history", "--task", ZEBRA)
    assert "0 requeued, 1 with nothing to do" in maint("requeue", ZEBRA)


def test_an_id_that_is_a_uuid_may_be_typed_without_dashes(folder: Path) -> None:
    task_id = str(uuid.uuid4())
    shelf.put(folder, task_id, "FAILED")
    assert "1 discarded" in maint("discard", task_id.replace("-", ""), "--why", "seen to")
    assert shelf.read(folder, task_id)["error"] == "argus_maint.exceptions.TaskDiscarded"
    assert "with nothing to do" in maint("discard", task_id, "--why", "again")


def test_a_task_that_runs_is_left_alone_and_one_that_is_lost_is_not(folder: Path) -> None:
    shelf.put(folder, ZEBRA, held=True)
    refused("requeue", ZEBRA)
    shelf.put(folder, ZEBRA, certain_at=2e9)
    refused("fail", ZEBRA)
    assert not LedgerEntry.objects.exists()
    shelf.put(folder, ZEBRA)
    (told,) = as_json("levers", "fail", ZEBRA)["tasks"]
    assert told["outcome"] == "done"
    assert "no dust on it" in LedgerEntry.objects.get().evidence
    assert shelf.read(folder, ZEBRA)["error"] == "argus_maint.exceptions.TaskDiscarded"


@pytest.mark.parametrize(
    ("verb", "status", "error", "done"),
    [
        ("requeue", "SUCCESSFUL", "", False),
        ("fail", "SUCCESSFUL", "", False),
        ("fail", "READY", "", True),
        ("discard", "READY", "", False),
        ("release", "FAILED", "ValueError", False),
        ("release", "FAILED", QUARANTINED, True),
        ("move --to default", "READY", "", False),
        ("priority 5", "READY", "", False),
    ],
)
def test_what_may_be_done(folder: Path, verb: str, status: str, error: str, done: bool) -> None:
    shelf.put(folder, ZEBRA, status, error=error)
    before = shelf.read(folder, ZEBRA)
    name, *options = verb.split()
    options = [*options, ZEBRA] if name == "priority" else [ZEBRA, *options]
    if done:
        maint(name, *options)
        assert shelf.read(folder, ZEBRA) != before
    else:
        refused(name, *options)
        assert shelf.read(folder, ZEBRA) == before
    assert LedgerEntry.objects.exists() is done


def test_history_says_why_it_failed_though_nobody_acted_on_it(folder: Path) -> None:
    shelf.put(folder, ZEBRA, "FAILED", error="ValueError", path="shop.a", traceback="boom\n  there")
    out = maint("history", "--task", ZEBRA)
    assert f"{ZEBRA}  shop.a  queue default" in out
    assert "FAILED with ValueError since" in out and "there" in out
    assert "nobody had to act on it" in out
    assert as_json("history", "history", "--task", ZEBRA)["entries"] == []
    shelf.put(folder, str(uuid.UUID(int=7)), "FAILED")
    assert "FAILED" in maint("history", "--task", str(uuid.UUID(int=7)))
    assert "The ledger has none either" in wrong(
        "history", "--task", "Nobody7zZ34567890123456789012345"
    )


def test_failed_ones_by_description(folder: Path) -> None:
    row = rows.task("FAILED", path="shop.a")
    shelf.put(folder, "a", "FAILED", path="shop.a")
    shelf.put(folder, "old", "FAILED", path="shop.a", age=9999)
    shelf.put(folder, "b", "FAILED", path="shop.b")
    told = as_json("levers", "requeue", "--failed", "--task", "shop.a", "--since", "1h")
    assert {each["task_id"] for each in told["tasks"]} == {str(row.pk), "a"}
    assert told["found"] == 2
    shelf.put(folder, "p", "FAILED", error=QUARANTINED)
    rows.task("FAILED", exception_class_path=QUARANTINED)
    told = as_json("levers", "release", "--all", "--backend", "shelf")
    assert [each["task_id"] for each in told["tasks"]] == ["p"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("move", "--queue=mail", "--to=default"),
        ("priority", "5", "--queue=mail"),
        ("requeue", "--unregistered", "--older-than=1h"),
        ("fail", "--ready", "--task=*"),
    ],
)
def test_what_is_for_the_table_alone_says_so(folder: Path, arguments: tuple[str, ...]) -> None:
    assert "for the task table alone" in wrong(*arguments, "--backend=shelf")


def test_an_id_that_nobody_has(folder: Path) -> None:
    assert wrong("requeue", ZEBRA) == (
        f"No task has the id {ZEBRA}. On shelf only whole ids are looked for."
    )
    assert "begins with 0f3c" in wrong("requeue", "0f3c")
    with pytest.raises(CommandError):
        maint("requeue", "xyz")


def test_one_that_breaks_does_not_stop_the_others(folder: Path, monkeypatch: Any) -> None:
    shelf.put(folder, ZEBRA, "FAILED", error="ValueError")
    other = shelf.put(folder, "Other7zZ34567890123456789012345X", "FAILED", error="ValueError")
    requeue = shelf.Shelf.requeue

    def breaks(self: Any, lost: Any, *rest: Any) -> bool:
        if lost.task_id == ZEBRA:
            raise ValueError("a\nbad\nbook")
        return requeue(self, lost, *rest)

    monkeypatch.setattr(shelf.Shelf, "requeue", breaks)
    refused("requeue", ZEBRA, other)
    assert shelf.read(folder, other)["status"] == "READY"
