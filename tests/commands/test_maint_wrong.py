"""``manage.py maint`` where it cannot do what it is asked: one line, and an exit status."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from argus_maint.management.commands.maint import SUBCOMMANDS
from tests.commands.calls import shell, wrong

pytestmark = pytest.mark.django_db
AWAY = "/nowhere/at/all.sqlite3"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "name a subcommand: status, check,"),
        (["staus"], "there is no 'staus'; Did you mean \"status\"?"),
        (["tasks", "--state", "stuck"], "it must be one of ready, scheduled"),
        (["tasks", "--task", " "], "an empty pattern matches no task"),
        (["tasks", "--limit", "0"], "at least 1"),
        (["tasks", "--older-than", "soon"], "must be a duration"),
        (["status", "--watch", "0.01"], "0.2 seconds"),
        (["requeue"], "Say which tasks to requeue: ids, --failed --task"),
        (["fail"], "Say which tasks to fail: ids, --ready --task"),
        (["requeue", "xyz1"], "is no task id"),
        (["requeue", "abc"], "is too short"),
        (["requeue", "--failed"], "--failed needs --task PATTERN and --since AGE"),
        (["requeue", "--unregistered"], "--unregistered needs --older-than"),
        (["requeue", "0f3c", "--failed", "--task", "*", "--since", "1h"], "not both"),
        (["requeue", "0f3c", "--since", "1h"], "--since goes with --failed"),
        (["requeue", "0f3c", "--older-than", "1h"], "--older-than goes with --unregistered."),
        (["requeue", "0f3c", "--queue", "mail"], "narrow a description"),
        (["requeue", "0f3c", "--worker", "w"], "--worker goes with --unregistered"),
        (
            ["fail", "0f3c", "--unregistered", "--older-than", "1h", "--worker", "w"],
            "--worker goes with --unregistered, and not with ids.",
        ),
        (["requeue", "--unregistered", "--older-than", "1h", "--again"], "--again goes with ids"),
        (["fail", "--ready"], "--ready needs --task"),
        (["fail", "--ready", "--unregistered", "--older-than", "1h"], "Give one of"),
        (["fail", "0f3c", "--why", " "], "give a reason"),
        (["status", "--backend", "defualt"], "Did you mean"),
    ],
)
def test_bad_input_is_answered_with_what_would_be_right(arguments: list[str], line: str) -> None:
    assert line in wrong(*arguments)


def test_on_the_command_line_it_is_one_line_and_exit_2() -> None:
    for arguments in (["staus"], ["requeue"], ["tasks", "--backend=nope"]):
        done = shell(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert len(done.stderr.splitlines()) == 1, done.stderr


def test_without_a_database_it_is_one_line_and_exit_1() -> None:
    env = {"ARGUS_MAINT_TEST_DB": "sqlite", "ARGUS_MAINT_TEST_DB_NAME": AWAY}
    done = shell("status", env=env)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("CommandError: The database does not answer: unable to open")
    assert done.stderr.endswith(" (look at the setting DATABASES)\n")
    assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.postgres
def test_without_a_server_it_is_one_line_too() -> None:
    env = {"ARGUS_MAINT_TEST_DB": "postgres", "ARGUS_MAINT_TEST_POSTGRES_PORT": "1"}
    done = shell("status", env=env)
    assert done.returncode == 1
    assert done.stderr.startswith("CommandError: The database does not answer: connection")
    assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize(
    ("redirection", "line"),
    [
        (">/dev/full", "CommandError: The output cannot be written: No space left on device"),
        (">&-", "CommandError: There is no standard output to write to."),
    ],
)
@pytest.mark.parametrize("option", ["", "--json"])
def test_output_that_goes_nowhere_is_one_line_and_exit_1(
    child_env: dict[str, str], redirection: str, line: str, option: str
) -> None:
    command = f'"{sys.executable}" -m django maint status {option} {redirection}'
    done = subprocess.run(command, shell=True, env=child_env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, line + "\n")


def test_before_migrate_it_says_so(tmp_path: Any) -> None:
    name = str(tmp_path / "empty.sqlite3")
    done = shell("status", env={"ARGUS_MAINT_TEST_DB": "sqlite", "ARGUS_MAINT_TEST_DB_NAME": name})
    assert done.returncode == 1
    assert done.stderr.startswith("CommandError: A table is missing: run manage.py migrate.")
    assert len(done.stderr.splitlines()) == 1, done.stderr


@override_settings(ARGUS_MAINT={"RESCUE": {"*": {"on_lots": "fail"}}})
def test_a_wrong_setting_stops_it() -> None:
    with pytest.raises(CommandError, match="argus_maint.E002"):
        call_command("maint", "status", skip_checks=False)


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_help_has_examples_and_says_what_the_exit_status_means(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        call_command("maint", name, "--help")
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    assert "examples:\n" in text and "exit status: 0" in text
    assert f"manage.py maint {name}" in text
    assert max(map(len, text.splitlines())) <= 88
