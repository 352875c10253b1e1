"""``manage.py maint`` beside real workers, as real commands, and on a real terminal."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pexpect
import psutil
import pytest
from django.core.management import call_command

from argus_maint.models import LedgerEntry, Process
from tests import rows, tasks
from tests.lab import Lab, until
from tests.observe import notes
from tests.schemas import validate

COLUMNS = 80


def _terminal(lab: Lab, *arguments: str, **env: str) -> pexpect.spawn[str]:
    clean = {key: value for key, value in lab.env.items() if key != "NO_COLOR"}
    return pexpect.spawn(
        sys.executable,
        ["-m", "django", "maint", *arguments],
        env={**clean, "TERM": "xterm-256color", **env},
        dimensions=(30, COLUMNS),
        encoding="utf-8",
        timeout=30,
    )


def _finish(terminal: pexpect.spawn[str]) -> str:
    text = terminal.read()
    terminal.close()
    return text


def _text(output: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output).replace("\r\n", "\n")


def test_a_night_with_a_killed_supervisor(lab: Lab) -> None:
    """Each subcommand as a real command: look, try, put right, and look who did it."""
    web = lab.worker("--processes=2", name="web").ready(2)
    long, short = tasks.sleep.enqueue(600), tasks.wait_for.enqueue(lab.path("go"))
    holders = [lab.holder(result) for result in (long, short)]
    with pytest.raises(SystemExit):
        call_command("maint", "requeue", long.id, stdout=io.StringIO())
    assert lab.row(long).status == "RUNNING"  # its worker lives

    os.kill(web.pid, signal.SIGKILL)
    web.process.wait()
    until(lambda: not any(psutil.pid_exists(holder.pid) for holder in holders))

    status = json.loads(lab.manage("maint", "status", "--json").stdout)
    validate("status", status)
    assert [each["code"] for each in status["problems"]] == ["lost", "no_worker"]
    assert {each["task_id"] for each in status["lost"]["tasks"]} == {long.id, short.id}
    listed = lab.manage("maint", "tasks", "--state", "lost", "--task", "*.sleep").stdout
    shown, *_, worker = listed.splitlines()[1].split()
    assert long.id.startswith(shown) and worker.startswith("web.")

    lab.manage("maint", "fail", short.id[:13], "--why", "drill")
    assert lab.row(short).exception_class_path == "argus_maint.exceptions.TaskDiscarded"
    dry = json.loads(lab.manage("maint", "rescue", "--dry-run", "--json").stdout)
    validate("rescue", dry)
    assert [act["task_id"] for act in dry["acts"]] == [long.id]
    assert lab.row(long).status == "RUNNING"
    done = lab.manage("maint", "rescue")
    assert done.stdout.startswith("DONE  1 task rescued, 3 processes found dead\n")
    assert done.stderr == ""
    assert lab.row(long).status == "READY"

    lab.worker("--processes=2", name="new").ready(2)
    lab.until_status(long, "RUNNING")
    Path(lab.path("go")).touch()
    lab.manage("maint", "requeue", "--failed", "--task", "tests.tasks.wait*", "--since", "1h")
    lab.until_status(short, "SUCCESSFUL")
    history = lab.manage("maint", "history", "--task", short.id[:8]).stdout
    assert "requeued  manual" in history and "failed  manual" in history
    assert "Why: drill" in history and holders[1].worker_id in history


def test_an_interrupted_rescue_signs_off(lab: Lab) -> None:
    rows.process("far", host=rows.elsewhere(), silent=600, lease=60)
    alive = Process.objects.filter(kind="watcher", state="alive")
    for number in (signal.SIGINT, signal.SIGTERM):
        process = subprocess.Popen(
            [sys.executable, "-m", "django", "maint", "rescue"],
            env=lab.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        until(alive.filter(beats__gt=0).exists)
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 130, errors
        assert errors.splitlines()[-1] == "interrupted"
        assert not alive.exists()


# -- on a terminal --------------------------------------------------------------


@pytest.mark.parametrize(("answer", "status"), [("y", "READY"), ("", "FAILED")])
def test_above_a_hundred_a_person_is_asked(lab: Lab, answer: str, status: str) -> None:
    for number in range(101):
        rows.task("FAILED", path=f"shop.tasks.t{number % 7}")
    terminal = _terminal(lab, "requeue", "--failed", "--task", "*", "--since", "1h")
    terminal.expect_exact("Requeue these 101 tasks? [y/N] ")
    asked = _text(terminal.before or "")
    assert "shop.tasks.t0 (ValueError)" in asked and "and 2 more kinds" in asked
    terminal.sendline(answer)
    said = _text(_finish(terminal))
    assert set(rows.DBTaskResult.objects.values_list("status", flat=True)) == {status}
    assert terminal.exitstatus == (0 if answer == "y" else 1)
    assert ("DONE  101 requeued" if answer == "y" else "Nothing was done.") in said
    assert LedgerEntry.objects.count() == (101 if answer == "y" else 0)


def test_yes_asks_nothing_and_many_show_a_bar(lab: Lab) -> None:
    rows.DBTaskResult.objects.bulk_create([_failed() for _ in range(320)])
    terminal = _terminal(lab, "requeue", "--failed", "--task", "*", "--since", "1h", "--yes")
    output = _finish(terminal)
    assert terminal.exitstatus == 0
    assert "320/320" in _text(output)
    assert "DONE  320 requeued" in _text(output)


def _failed() -> Any:
    return rows.DBTaskResult(
        status="FAILED",
        args_kwargs={"args": [], "kwargs": {}},
        task_path="shop.t",
        backend_name="default",
        run_after=rows.get_date_max(),
        finished_at=rows.ago(1),
        started_at=rows.ago(2),
        exception_class_path="",
        traceback="",
    )


def test_a_terminal_shows_colours_and_fits_and_copies_clean(lab: Lab) -> None:
    rows.process()
    row = rows.lost(path="shop.tasks.invoices.reminders.send_every_reminder_that_is_due_today")
    output = _finish(_terminal(lab, "status"))
    assert "\x1b[1;31mUNHEALTHY" in output
    lines = _text(output).splitlines()
    command = f"{sys.executable} -m django maint rescue"
    assert [line for line in lines if len(line) > COLUMNS and command not in line] == []
    assert lines[1].strip() == command or lines[0].endswith(f" {command}")
    listed = _text(_finish(_terminal(lab, "tasks")))
    assert re.search(rf"^{str(row.pk)[:8]}\S*  lost .*that_is_due_today ", listed, re.MULTILINE)
    assert "\x1b" not in _finish(_terminal(lab, "status", NO_COLOR="1"))


def test_a_terminal_shows_findings_in_colour_with_commands_that_copy_clean(lab: Lab) -> None:
    rows.process(lease=600)
    task = "shop.tasks.invoices.reminders.send_every_reminder_that_is_due_today_and_tomorrow"
    notes.finding("FailureSpike", task, severity="critical", summary="9 of 10 failed " * 9)
    notes.finding("TableBloat", **notes.acked())
    notes.pause("mail", until=7200)
    output = _finish(_terminal(lab, "status"))
    assert "\x1b[1;31mcritical\x1b[0m" in output
    lines = _text(output).splitlines()
    command = f"{sys.executable} -m django maint runbook FailureSpike {task}"
    assert [line.strip() for line in lines if "runbook" in line] == [command]
    assert [line for line in lines if len(line) > COLUMNS and command not in line] == []
    assert lines[2:4][0] == "ACKNOWLEDGED" and "anna@web" in lines[3]
    assert any(line.startswith("  queue mail") for line in lines)


def test_watch_looks_again_until_it_is_ended(lab: Lab) -> None:
    rows.process()
    terminal = _terminal(lab, "status", "--watch", "0.2")
    terminal.expect_exact("HEALTHY")
    terminal.expect_exact("Ctrl-C ends")
    rows.lost()
    terminal.expect_exact("UNHEALTHY")
    terminal.sendintr()
    rest = _finish(terminal)
    assert terminal.exitstatus == 0
    assert "\x1b[?1049l" in rest  # back on the ordinary screen, where the last look stays
    assert "UNHEALTHY" in rest.rpartition("\x1b[?1049l")[2]
    assert "Traceback" not in rest


def test_watch_in_a_pipe_prints_a_block_each_time(lab: Lab) -> None:
    for arguments in ([], ["--json"]):
        process = subprocess.Popen(
            [sys.executable, "-m", "django", "maint", "status", "--watch", "0.2", *arguments],
            env=lab.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        seen = [process.stdout.readline() for _ in range(2 if arguments else 12)]
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
        assert (process.returncode, errors) == (0, "")
        if arguments:
            for line in seen:
                validate("status", json.loads(line))
        else:
            assert sum(line.startswith("UNHEALTHY") for line in seen) >= 2


def test_a_reader_that_has_seen_enough_is_no_error(lab: Lab) -> None:
    command = f"{sys.executable} -m django maint status --watch 0.2 | head -1"
    done = subprocess.run(
        ["bash", "-c", command], env=lab.env, capture_output=True, text=True, timeout=30
    )
    assert (done.stdout.splitlines()[0][:9], done.stderr) == ("UNHEALTHY", "")


def test_waiting_for_a_silent_process_shows_how_long_on_a_terminal(lab: Lab) -> None:
    lab.setting(PROCESSES={"lease": 1.5, "beat": 0.3})
    silent = rows.process("far", host=rows.elsewhere(), silent=600, lease=1.5)
    rows.task("RUNNING", workers=(silent.worker_id,))
    terminal = _terminal(lab, "rescue")
    terminal.expect_exact("confirming that silent processes are dead")
    terminal.expect(r"\d s left")
    said = _text(_finish(terminal))
    assert terminal.exitstatus == 0
    assert "DONE  1 task rescued, 1 process found dead" in said
