"""``manage.py maint`` as a person or a script sees it: output, exit status, bad input."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import uuid
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from argus_maint.jobs import levers
from argus_maint.management.commands.maint import SUBCOMMANDS
from argus_maint.models import LedgerEntry, Sighting
from tests import rows
from tests.schemas import validate

pytestmark = pytest.mark.django_db
AWAY = "/nowhere/at/all.sqlite3"


def _maint(*arguments: str) -> str:
    out = io.StringIO()
    call_command("maint", *arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def _json(schema: str, *arguments: str) -> Any:
    value = json.loads(_maint(*arguments, "--json"))
    validate(schema, value)
    return value


def _exits(*arguments: str) -> tuple[int, str]:
    """Exit status and output, where it is not 0."""
    out = io.StringIO()
    with pytest.raises(SystemExit) as exit_:
        call_command("maint", *arguments, stdout=out, stderr=io.StringIO())
    return int(exit_.value.code or 0), out.getvalue()


def _wrong(*arguments: str) -> str:
    with pytest.raises(CommandError) as error:
        _maint(*arguments)
    return str(error.value)


def _shell(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """A real command line, on no database worth having."""
    return subprocess.run(
        [sys.executable, "-m", "django", "maint", *arguments],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


# -- looking ------------------------------------------------------------------


def test_status_in_a_pipe_is_plain() -> None:
    rows.process()
    rows.lost()
    out = _maint("status")
    assert out.splitlines()[0] == "UNHEALTHY  1 task lost  manage.py maint rescue"
    assert "\x1b" not in out
    assert not re.search(r" $", out, re.MULTILINE)


def test_status_names_a_worker_as_the_screen_does() -> None:
    family = uuid.uuid4()
    rows.process("vm", 0, kind="supervisor", supervisor=family)
    rows.process("vm", 3, supervisor=family)
    (head,) = _json("status", "status")["processes"]
    (worker,) = head["workers"]
    assert (head["name"], head["label"]) == ("vm", "vm")
    assert (worker["name"], worker["label"]) == ("vm", "vm.3")


def test_tasks_lists_what_has_not_finished_those_that_run_first() -> None:
    owner = rows.process("web")
    rows.task(path="shop.a", age=60)
    running = rows.task("RUNNING", path="shop.b", workers=(owner.worker_id,), age=5)
    rows.task(path="shop.c", run_after=rows.ago(-7200))
    rows.task("FAILED")
    listed = [line.split() for line in _maint("tasks").splitlines()[1:]]
    assert [line[1] for line in listed] == ["running", "ready", "scheduled"]
    assert listed[0][0] == str(running.pk)[: len(listed[0][0])]
    assert listed[0][2:] == ["~5s", "default", "shop.b", "1", "web.1"]
    assert listed[2][2:4] == ["in", "~1h59m"]


@pytest.mark.parametrize(
    ("arguments", "paths"),
    [
        (["--state", "ready"], {"shop.new", "shop.old"}),
        (["--state", "scheduled"], {"shop.later"}),
        (["--state", "failed"], {"shop.failed", "shop.poison"}),
        (["--state", "successful"], {"shop.done"}),
        (["--state", "quarantined"], {"shop.poison"}),
        (["--state", "running"], {"shop.runs", "shop.lost", "shop.stock", "shop.overdue"}),
        (["--state", "lost"], {"shop.lost"}),
        (["--state", "unregistered"], {"shop.stock"}),
        (["--state", "overdue"], {"shop.overdue"}),
        (["--older-than", "1h", "--state", "ready"], {"shop.old"}),
        (["--older-than", "1h"], {"shop.old", "shop.runs"}),
        (["--queue", "mail"], {"shop.mail"}),
        (["--task", "*.l*"], {"shop.later", "shop.lost"}),
        (["--task", "shop.new"], {"shop.new"}),
        (["--backend", "default", "--task", "shop.new"], {"shop.new"}),
    ],
)
def test_tasks_by_state_age_queue_and_path(arguments: list[str], paths: set[str]) -> None:
    owner = rows.process()
    rows.task(path="shop.new")
    rows.task(path="shop.old", age=7200)
    rows.task(path="shop.mail", queue_name="mail", run_after=rows.ago(-60))
    rows.task(path="shop.later", run_after=rows.ago(-60))
    rows.task("FAILED", path="shop.failed")
    poison = "argus_maint.exceptions.TaskQuarantined"
    rows.task("FAILED", path="shop.poison", exception_class_path=poison)
    rows.task("SUCCESSFUL", path="shop.done")
    rows.task("RUNNING", path="shop.runs", workers=(owner.worker_id,), age=7200)
    rows.task("RUNNING", path="shop.stock", workers=("stock",))
    late = rows.task("RUNNING", path="shop.overdue", workers=(owner.worker_id,))
    rows.entry(late, verdict="overdue", action="reported")
    rows.lost(path="shop.lost")
    if "scheduled" in arguments:
        paths = paths | {"shop.mail"}
    value = _json("tasks", "tasks", *arguments)
    assert {each["task"] for each in value["tasks"]} == paths
    assert value["truncated"] is False


def test_tasks_says_when_there_are_more() -> None:
    for number in range(5):
        rows.task("FAILED", age=number * 10)
    value = _json("tasks", "tasks", "--state", "failed", "--limit", "3")
    assert value["truncated"] and len(value["tasks"]) == 3
    ages = [each["age_approx"] for each in value["tasks"]]
    assert ages == sorted(ages)
    assert "there are more than these 3" in _maint("tasks", "--state", "failed", "--limit", "3")


def test_history_is_newest_first_and_can_be_narrowed() -> None:
    one, other = rows.task(workers=("web.0123456789ab.2",)), rows.task(workers=("stock",))
    rows.entry(one, since=7000)
    rows.entry(other, since=60, action="failed")
    rows.entry(one, since=10, action="quarantined")

    def actions(*arguments: str) -> list[str]:
        value = _json("history", "history", *arguments)
        return [each["action"] for each in value["entries"]]

    assert actions() == ["quarantined", "failed", "requeued"]
    assert actions("--task", one.pk.hex[:12]) == ["quarantined", "requeued"]
    assert actions("--since", "5m") == ["quarantined", "failed"]
    assert actions("--action", "failed") == ["failed"]
    for name in ("web", "web.2", "web.0123456789ab.2"):
        assert actions("--worker", name) == ["quarantined", "requeued"]
    assert actions("--worker", "we") == actions("--worker", "web.1") == []
    assert actions("--limit", "1") == ["quarantined"]
    lines = _maint("history").splitlines()
    assert lines[1].split()[2:4] == ["quarantined", "SIGKILL"]
    assert lines[1].split()[-2:] == ["2s", "w@host"]


def test_history_of_one_task_has_the_evidence_in_full() -> None:
    row = rows.task(workers=("w.1",))
    stack = 'running for 9 s, limit 1 s\nThread 0x1 (most recent call first):\n  File "a.py"\x1b[2J'
    rows.entry(row, verdict="overdue", action="reported", evidence=stack, exit_signal="")
    rows.DBTaskResult.objects.all().delete()  # the ledger outlives it
    out = _maint("history", "--task", str(row.pk))
    assert out.startswith(f"{row.pk}  tests.tasks.add  queue default\n")
    assert '      File "a.py"' in out
    assert "\x1b" not in out
    assert "last alive" in out and "2s before" in out


@pytest.mark.parametrize(
    ("reason", "signal", "status", "because"),
    [
        ("crashed", "SIGSEGV", None, "SIGSEGV"),
        ("crashed", "", 70, "exit 70"),
        ("shutdown", "SIGKILL", None, "shutdown (SIGKILL)"),
        ("shutdown", "", None, "shutdown"),
        ("overdue", "", 70, "overdue (exit 70)"),
        ("stuck", "SIGKILL", None, "stuck (SIGKILL)"),
        ("lost", "", None, "exited"),
    ],
)
def test_what_db_worker_did_itself_is_told_by_its_reason(
    reason: str, signal: str, status: int | None, because: str
) -> None:
    row = rows.task(workers=("web.0123456789ab.2",))
    rows.entry(row, reason=reason, exit_signal=signal, exit_status=status)
    assert f"requeued  {because:<7}  {row.pk.hex[:8]}" in _maint("history")
    assert f"  {because:<7}  " in _maint("status").splitlines()[-1]
    more = "" if reason in because else f", {reason}"
    assert f"requeued  {because}{more}, attempt 1\n" in _maint("history", "--task", row.pk.hex)
    rows.DBTaskResult.objects.all().delete()
    owner = rows.process(
        "gone", state="ended", reason=reason, exit_signal=signal, exit_status=status
    )
    rows.task("RUNNING", workers=(owner.worker_id,))
    because = "worker is gone" if because == "exited" else because
    assert any(line.endswith(f"  {because}") for line in _maint("status").splitlines())


def test_history_of_a_task_without_one_and_of_no_task() -> None:
    row = rows.task()
    out = _maint("history", "--task", row.pk.hex[:8])
    assert out.startswith(f"{row.pk}  tests.tasks.add  queue default\n  now        READY since 20")
    assert "nothing on record" in out
    assert "No task has an id" in _wrong("history", "--task", "deadbeef")


def test_history_of_a_failed_task_shows_why_it_failed_and_no_arguments() -> None:
    secret = {"args": ["s3cret"], "kwargs": {}}
    row = rows.task(
        "FAILED", workers=("w.1",), args_kwargs=secret, traceback="Traceback:\n\tValueError: no"
    )
    out = _maint("history", "--task", str(row.pk))
    assert "now        FAILED with builtins.ValueError since 20" in out
    assert "attempt    1, with worker w.1" in out
    assert "    Traceback:\n            ValueError: no" in out
    now = _json("history", "history", "--task", str(row.pk))["task"]
    assert (now["status"], now["exception"]) == ("FAILED", "builtins.ValueError")
    assert (now["traceback"], now["run_after"]) == ("Traceback:\n\tValueError: no", None)
    assert "s3cret" not in out + json.dumps(now)
    assert _json("history", "history")["task"] is None


def test_history_lists_who_did_what_by_hand_and_why() -> None:
    rows.entry(rows.task(), noticed_by="web@host")
    call_command("maint", "fail", str(rows.task().pk), "--why", "customer is gone " * 9)
    out = _maint("history")
    assert out.splitlines()[0].split()[-2:] == ["by", "why"]
    assert "customer is gone customer is gone customer is gone customer…" in out
    (user, _, host) = levers.operator().partition("@")
    for name in (user, f"{user}@{host}"):
        (entry,) = _json("history", "history", "--by", name)["entries"]
        assert entry["action"] == "failed"
    (entry,) = _json("history", "history", "--by", "web")["entries"]
    assert entry["action"] == "requeued"
    assert _json("history", "history", "--by", user[:-1])["entries"] == []


# -- acting -------------------------------------------------------------------


def test_requeue_by_the_beginning_of_an_id() -> None:
    row = rows.task("FAILED", pk=uuid.UUID("0f3c9a1e" + "0" * 24))
    value = _json("levers", "requeue", "0f3c-9a1e", "--why", "fixed")
    assert value["counts"]["done"] == 1
    assert value["tasks"][0]["outcome"] == "done"
    row.refresh_from_db()
    assert row.status == "READY"
    assert LedgerEntry.objects.get().evidence.endswith("Why: fixed")


def test_a_wrong_id_does_nothing_to_the_right_ones() -> None:
    row = rows.task("FAILED")
    assert "begins with beef" in _wrong("requeue", str(row.pk), "beef" + "0" * 28)
    row.refresh_from_db()
    assert row.status == "FAILED"


def test_requeue_of_what_failed_lately() -> None:
    for number in range(3):
        rows.task("FAILED", path="shop.send", age=number)
    rows.task("FAILED", path="shop.other")
    bulk = ("requeue", "--failed", "--task", "shop.s*", "--since", "2h")
    dry = _maint(*bulk, "--dry-run")
    assert dry.startswith("DRY RUN  3 would requeue\n")
    assert not LedgerEntry.objects.exists()
    assert _maint(*bulk).startswith("DONE  3 requeued\n")
    assert _maint(*bulk) == "no such tasks, nothing to do\n"
    assert LedgerEntry.objects.count() == 3


def test_fail_of_what_is_ready() -> None:
    rows.task(path="shop.send", age=60)
    rows.task(path="shop.send")
    out = _maint("fail", "--ready", "--task", "shop.send", "--older-than", "30s")
    assert out.startswith("DONE  1 failed\n")


def test_unregistered_tasks_are_first_seen_and_then_acted_on() -> None:
    row = rows.task("RUNNING", workers=("stock",), age=99999)
    bulk = ("fail", "--unregistered", "--older-than", "1h")
    assert "A dry run records no such look." in _maint(*bulk, "--dry-run")
    assert not Sighting.objects.exists()
    out = _maint(*bulk)
    assert out.startswith("NOTHING DONE  0 failed, 1 not seen for long enough\n")
    assert "come back in 59m" in out and "first look by a supervisor" in out
    assert Sighting.objects.get().task_id == row.pk
    Sighting.objects.update(first_seen_at=rows.db_now("default") - rows.timedelta(hours=2))
    assert _maint(*bulk).startswith("DONE  1 failed\n")


def test_what_is_refused_is_named_and_exits_1() -> None:
    owner = rows.process("web")
    row = rows.task("RUNNING", workers=(owner.worker_id,))
    code, out = _exits("requeue", str(row.pk))
    assert code == 1
    assert out.startswith("REFUSED  0 requeued, 1 refused\n")
    other = rows.task("FAILED")
    assert _exits("requeue", str(row.pk), str(other.pk))[1].startswith(
        "DONE  1 requeued, 1 refused\n"
    )
    assert f"{row.pk}  refused  tests.tasks.add: it runs now under web.1" in out


def test_above_a_hundred_a_script_must_say_yes() -> None:
    for _ in range(101):
        rows.task("FAILED")
    bulk = ("requeue", "--failed", "--task", "*", "--since", "1h")
    assert _wrong(*bulk) == (
        "This would requeue 101 tasks, more than 100: look with --dry-run, then add --yes."
    )
    assert not LedgerEntry.objects.exists()
    assert "and 81 more" in _maint(*bulk, "--dry-run")
    value = _json("levers", *bulk, "--yes")
    assert (value["found"], value["counts"]["done"]) == (101, 101)


def test_rescue_as_json() -> None:
    rows.lost()
    assert "nothing done; without --dry-run it is done\n" in _maint("rescue", "--dry-run")
    dry = _json("rescue", "rescue", "--dry-run")
    assert [act["acted_at"] for act in dry["acts"]] == [None]
    done = _json("rescue", "rescue")
    assert [act["action"] for act in done["acts"]] == ["requeued"]
    assert _json("rescue", "rescue")["acts"] == []


def test_a_rescue_that_could_not_do_all_exits_1(monkeypatch: pytest.MonkeyPatch) -> None:
    from argus_maint.backends import database

    def bad(*args: Any) -> bool:
        raise ValueError("this row is odd")

    row = rows.lost()
    monkeypatch.setattr(database, "requeue", bad)
    code, out = _exits("rescue")
    assert code == 1
    assert f"could not be done: {row.pk}: ValueError: this row is odd" in out


# -- bad input ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "name a subcommand: status, rescue,"),
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
        (["requeue", "--unregistered", "--older-than", "1h", "--again"], "--again goes with ids"),
        (["fail", "--ready"], "--ready needs --task"),
        (["fail", "--ready", "--unregistered", "--older-than", "1h"], "Give one of"),
        (["fail", "0f3c", "--why", " "], "give a reason"),
        (["status", "--backend", "defualt"], "Did you mean"),
    ],
)
def test_bad_input_is_answered_with_what_would_be_right(arguments: list[str], line: str) -> None:
    with pytest.raises(CommandError) as error:
        _maint(*arguments)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_on_the_command_line_it_is_one_line_and_exit_2() -> None:
    for arguments in (["staus"], ["requeue"], ["tasks", "--backend=nope"]):
        done = _shell(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert len(done.stderr.splitlines()) == 1, done.stderr


def test_without_a_database_it_is_one_line_and_exit_1() -> None:
    env = {"ARGUS_MAINT_TEST_DB": "sqlite", "ARGUS_MAINT_TEST_DB_NAME": AWAY}
    done = _shell("status", env=env)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("CommandError: The database does not answer: unable to open")
    assert done.stderr.endswith(" (look at the setting DATABASES)\n")
    assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.postgres
def test_without_a_server_it_is_one_line_too() -> None:
    env = {"ARGUS_MAINT_TEST_DB": "postgres", "ARGUS_MAINT_TEST_POSTGRES_PORT": "1"}
    done = _shell("status", env=env)
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
    done = _shell("status", env={"ARGUS_MAINT_TEST_DB": "sqlite", "ARGUS_MAINT_TEST_DB_NAME": name})
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
