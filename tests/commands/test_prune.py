"""``maint prune``, ``maint archive`` and the drop-in, as a person or a crontab sees them."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.test import override_settings
from django.utils.dateparse import parse_datetime
from django_tasks_db.models import DBTaskResult

from argus_maint.exceptions import TaskQuarantined
from argus_maint.jobs.prune import Report
from argus_maint.models import LedgerEntry
from argus_maint.retention import DAY
from tests import rows
from tests.lab import Lab
from tests.schemas import validate

pytestmark = pytest.mark.django_db(transaction=True)
QUARANTINED = f"{TaskQuarantined.__module__}.{TaskQuarantined.__qualname__}"


def run(*arguments: str, command: str = "maint") -> str:
    out = io.StringIO()
    call_command(command, *arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def as_json(*arguments: str) -> Any:
    value = json.loads(run("prune", "--json", *arguments))
    validate("prune", value)
    return value


def refused(*arguments: str, command: str = "maint") -> tuple[int, str]:
    """Exit status and complaint; nothing may be deleted by it."""
    before = DBTaskResult.objects.count()
    with pytest.raises(CommandError) as error:
        run(*arguments, command=command)
    assert DBTaskResult.objects.count() == before
    assert "\n" not in str(error.value)
    return error.value.returncode, str(error.value)


@pytest.fixture
def old() -> list[Any]:
    """Three that may go."""
    return [
        rows.task("SUCCESSFUL", age=20 * DAY),
        rows.task("SUCCESSFUL", age=15 * DAY, queue_name="bulk"),
        rows.task("FAILED", age=100 * DAY, path="shop.tasks.send"),
    ]


def test_a_dry_run_says_what_would_go_and_deletes_nothing(old: list[Any]) -> None:
    out = run("prune", "--dry-run")
    assert out.startswith("DRY RUN  3 rows would be deleted, in about ")
    assert "bulk" in out
    plan = as_json("--dry-run")
    assert plan["rows"] == sum(group["rows"] for group in plan["groups"]) == 3
    assert {group["retention"] for group in plan["groups"]} == {14 * DAY, 90 * DAY}
    assert plan["seconds_approx"] is not None
    assert DBTaskResult.objects.count() == 3


def test_where_patterns_decide_a_dry_run_names_no_age(old: list[Any]) -> None:
    setting = {"RETENTION": {"tasks": {"shop.*": {"failed": "1d"}}}}
    with override_settings(ARGUS_MAINT=setting):
        ages = {each["status"]: each["retention"] for each in as_json("--dry-run")["groups"]}
        assert ages == {"successful": 14 * DAY, "failed": None}
        assert "by task" in run("prune", "--dry-run")


def test_it_tells_what_was_done(old: list[Any]) -> None:
    report = as_json("--max-rows=2")
    assert (report["rows"], report["stopped"]) == (2, "max_rows")
    out = run("prune")
    assert out.startswith("DONE  1 rows deleted in ")
    assert run("prune", "--dry-run") == "nothing to prune\n"


def test_ages_on_the_command_line_win_over_the_settings(old: list[Any]) -> None:
    setting = {"RETENTION": {"queues": {"bulk": {"successful": None}}}}
    with override_settings(ARGUS_MAINT=setting):
        assert as_json("--older-than=99d")["deleted"] == {"FAILED": 1}
        assert as_json("--successful=16d")["deleted"] == {"SUCCESSFUL": 1}
        assert as_json("--successful=1d")["deleted"] == {"SUCCESSFUL": 1}


def test_quarantined_tasks_go_only_when_that_is_said() -> None:
    rows.task("FAILED", age=4000 * DAY, exception_class_path=QUARANTINED)
    assert as_json("--older-than=1d")["rows"] == 0
    assert as_json("--quarantined=1d")["rows"] == 1


def test_our_own_records_stay_when_only_some_tasks_are_meant(old: list[Any]) -> None:
    rows.entry(old[0], since=4000 * DAY)
    run("prune", "--queue=bulk")
    assert LedgerEntry.objects.count() == 1
    run("prune")
    assert LedgerEntry.objects.count() == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--older-than=-1d"], "it must be a duration"),
        (["--older-than=0"], "it must be longer than 0"),
        (["--older-than=59m"], "shorter than an hour"),
        (["--queue=nowhere"], "there is no task of a queue 'nowhere'"),
        (["--backend=nowhere"], "TASKS has no backend 'nowhere'"),
        (["--task=no.such.*"], "no task's path matches 'no.such.*'"),
        (["--task= "], "an empty pattern"),
        (["--queue="], "argument --queue: it is empty"),
        (["--queue=,"], "argument --queue: it is empty"),
        (["--backend="], "argument --backend: it is empty"),
        (["--archive="], "argument --archive: it is empty"),
        (["--duty=0"], "'0' is not a number above 0"),
        (["--duty=nan"], "'nan' is not a number above 0"),
        (["--max-rows=0"], "'0' is not a whole number"),
        (["--archive=/proc/nowhere/at/all"], "cannot be written"),
    ],
)
def test_what_is_asked_for_wrongly_deletes_nothing(
    old: list[Any], arguments: list[str], says: str
) -> None:
    status, complaint = refused("prune", *arguments)
    assert says in complaint
    assert status == 2 or complaint.startswith("Error: ")  # argparse's own, 2 on a command line


def test_a_redaction_that_is_none_is_a_wrong_setting(old: list[Any], tmp_path: Path) -> None:
    for redact in ("no.such", "tests.tasks.__doc__"):
        setting = {"PRUNE": {"archive": str(tmp_path), "redact": redact}}
        with override_settings(ARGUS_MAINT=setting):
            assert refused("prune")[0] == 2


def test_a_setting_shorter_than_an_hour_has_to_be_forced(old: list[Any]) -> None:
    with override_settings(ARGUS_MAINT={"RETENTION": {"successful": "14m"}}):
        assert refused("prune")[0] == 2
        assert as_json("--force")["rows"] == 3


@pytest.mark.parametrize(
    "arguments", [["list", "x"], ["grep"], ["folder", "x"], ["folder", "--json"]]
)
def test_an_archive_is_asked_rightly(tmp_path: Path, arguments: list[str]) -> None:
    assert refused("archive", *arguments, f"--folder={tmp_path}")[0] == 2
    assert "there is no archive" in refused("archive", "grep", "x")[1]


def test_the_folder_is_told_as_the_settings_have_it(tmp_path: Path) -> None:
    there = str(tmp_path / "not made yet")
    with override_settings(ARGUS_MAINT={"PRUNE": {"archive": there}}):
        assert run("archive", "folder") == f"{there}\n"
    assert "there is no archive" in refused("archive", "folder")[1]


def test_archives_as_json(old: list[Any], tmp_path: Path) -> None:
    assert as_json(f"--archive={tmp_path}")["archived"] == 3
    value = json.loads(run("archive", "list", "--json", f"--folder={tmp_path}"))
    validate("archive", value)
    (file,) = value["files"]
    assert (file["tasks"], file["backend"]) == (3, "default")
    times = (old[2].finished_at, old[1].finished_at)  # of all, whatever went first
    found = (file["first_finished_at"], file["last_finished_at"])
    assert tuple(map(parse_datetime, found)) == times


@pytest.mark.parametrize(
    "arguments",
    [
        ["bulk", "--task=*", "--folder"],
        ["--task=*", "bulk", "--folder"],
        ["--task=*", "--folder", "", "bulk"],
        ["--task=*", "--folder", "", "--", "bulk"],
    ],
)
def test_the_text_of_grep_may_stand_anywhere(
    old: list[Any], tmp_path: Path, arguments: list[str]
) -> None:
    folder = str(tmp_path)
    run("prune", f"--archive={folder}")
    at = arguments.index("--folder") + 1
    out = run("archive", "grep", *arguments[:at], folder, *arguments[at + 1 :])
    assert [json.loads(line)["queue_name"] for line in out.splitlines()] == ["bulk"]
    assert refused("archive", "grep", "--task=*", f"--folder={folder}", "one", "two")[1].endswith(
        "unrecognized arguments: one two"
    )


# -- the drop-in ----------------------------------------------------------------------


@pytest.fixture
def stock(caplog: pytest.LogCaptureFixture) -> Callable[..., str]:
    """Run the drop-in; what it says, it says through the stock command's logger."""

    def call(*arguments: str) -> str:
        caplog.clear()
        with caplog.at_level("INFO"):
            run(*arguments, command="prune_db_task_results")
        (said,) = [r for r in caplog.records if r.name.startswith("django_tasks_db")]
        return said.getMessage()

    return call


def count() -> int:
    return int(DBTaskResult.objects.count())


def test_the_drop_in_has_the_flags_and_the_defaults_of_the_stock_command(
    old: list[Any], stock: Callable[..., str]
) -> None:
    quarantined = rows.task("FAILED", age=4000 * DAY, exception_class_path=QUARANTINED)
    rows.task("SUCCESSFUL", age=13 * DAY)
    assert stock("--dry-run") == "Would delete 2 task result(s)"
    assert count() == 5
    assert stock("--failed-min-age-days=101") == "Deleted 1 task result(s)"
    assert stock() == "Deleted 1 task result(s)"  # failed ones after 14 days as well
    assert stock("--queue-name=bulk,other", "--backend=default") == "Deleted 1 task result(s)"
    assert stock("--queue-name=*", "--min-age-days=0") == "Deleted 1 task result(s)"
    assert [row.pk for row in DBTaskResult.objects.all()] == [quarantined.pk]


def test_the_drop_in_refuses_what_is_wrong(old: list[Any]) -> None:
    for arguments in (["--min-age-days=-1"], ["--min-age-days=x"], ["--backend=nowhere"]):
        refused(*arguments, command="prune_db_task_results")
    queues = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend", "QUEUES": ["default"]}}
    with override_settings(TASKS=queues):
        status, says = refused("--queue-name=defualt", command="prune_db_task_results")
    assert (status, says) == (
        2,
        "backend 'default' has no queue 'defualt'. Did you mean \"default\"?",
    )


def test_the_drop_in_needs_an_age_that_a_date_can_bear(old: list[Any]) -> None:
    for flag in ("--min-age-days", "--failed-min-age-days"):
        status, says = refused(f"{flag}=99999999", command="prune_db_task_results")
        assert (status, says) == (2, "an age is at most 36500 days")


def test_the_drop_in_says_in_one_line_why_it_cannot_go_on(
    old: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(error: BaseException) -> Any:
        return lambda order: (_ for _ in ()).throw(error)

    module = "argus_maint.management.commands.prune_db_task_results.prune"
    monkeypatch.setattr(module, fails(OperationalError("connection\nrefused")))
    assert refused(command="prune_db_task_results") == (
        1,
        "The database does not answer: connection refused",
    )
    monkeypatch.setattr(module, lambda order: Report(left=2))
    assert refused(command="prune_db_task_results")[0] == 1
    monkeypatch.setattr(module, fails(KeyboardInterrupt()))
    with pytest.raises(SystemExit) as exit:
        run(command="prune_db_task_results")
    assert exit.value.code == 130


# -- real command lines ------------------------------------------------------------------


def test_in_a_pipe_there_is_a_line_a_batch_and_no_bar(lab: Lab, old: list[Any]) -> None:
    done = lab.manage("maint", "prune")
    assert done.stdout.startswith("DONE  3 rows deleted")
    assert done.stderr.count("event=prune.batch") >= 2
    assert "\x1b" not in done.stdout + done.stderr


def test_on_a_terminal_there_is_a_bar(lab: Lab, old: list[Any]) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "django", "maint", "prune"]
    env = {**lab.env, "TERM": "xterm"}
    process = subprocess.Popen(command, env=env, stdout=theirs, stderr=theirs)
    os.close(theirs)
    text = b""
    try:
        while chunk := _read(ours):
            text += chunk
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert b"pruning" in text
    assert b"rows/s" in text
    assert b"3 rows deleted" in text
    assert b"prune.batch" not in text


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 16)
    except OSError:  # Linux, at the end of a terminal
        return b""


@pytest.mark.slow
def test_where_routers_send_the_task_table_elsewhere_it_is_pruned_there(
    lab: Lab, tmp_path: Path
) -> None:
    lab.env |= {"DJANGO_SETTINGS_MODULE": "tests.routed", "ROUTED_FOLDER": str(tmp_path)}
    for name in ("default", "tasks"):
        lab.manage("migrate", "-v0", f"--database={name}")
    code = "from tests import rows; rows.task('SUCCESSFUL', age=99 * 86400); rows.task('READY')"
    lab.manage("shell", "-c", code)
    archive = tmp_path / "archive"
    report = json.loads(lab.manage("maint", "prune", "--json", f"--archive={archive}").stdout)
    assert (report["rows"], report["archived"]) == (1, 1)
    listed = lab.manage("maint", "archive", "list", "--json", f"--folder={archive}").stdout
    assert [file["tasks"] for file in json.loads(listed)["files"]] == [1]
    lab.manage("maint", "storage", "--run")
