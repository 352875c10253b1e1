"""``maint runbook`` on a real terminal, led by a person."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pexpect
import pytest
from django.db import connection, transaction

from argus_maint.models import Act
from tests.lab import Lab, gone, until
from tests.runbooks.found import finding, put
from tests.runbooks.texts import MATTER, console, text
from tests.schemas import validate

pytestmark = pytest.mark.slow
MATTER = MATTER.replace("QUEUE, WORKER", "QUEUE")
HOSTILE = "\x1b[2J\x1b]0;title\x07$(touch hacked)`touch hacked`'\"; touch hacked"
LONG = "echo " + "x" * 120 + " > long"
PAGE = text(
    console(f'$ {LONG}\n$ echo "$QUEUE"\n$QUEUE', 'step="Look"'),
    console("$ python manage.py maint tasks --limit 1\n...\n$ touch repaired"),
    console("$ ls repaired\nrepaired"),
    MATTER,
)


class Walker:
    """A person at a terminal of 60 columns."""

    def __init__(self, lab: Lab, folder: Path, *arguments: str, **env: str) -> None:
        clean = {key: value for key, value in lab.env.items() if key != "NO_COLOR"}
        clean["PYTHONPATH"] = lab.env["PYTHONPATH"]
        self.folder = folder
        self.terminal = pexpect.spawn(
            sys.executable,
            ["-m", "django", "maint", "runbook", *arguments],
            env={
                **clean,
                "DJANGO_SETTINGS_MODULE": "tests.runbooks.settings",
                "ARGUS_MAINT_TEST_PAGES": str(folder / "pages"),
                "TERM": "xterm-256color",
                **env,
            },
            cwd=str(folder),
            dimensions=(40, 60),
            encoding="utf-8",
            timeout=60,
        )

    def answers(self, *answers: str) -> None:
        for answer in answers:
            self.terminal.expect(r"\[q\]uit: ")
            self.terminal.sendline(answer)

    def finish(self) -> str:
        text = self.terminal.read()
        self.terminal.close()
        return re.sub(r"\x1b\[[0-9;]*m", "", text).replace("\r\n", "\n")

    def lines(self) -> list[dict[str, Any]]:
        (path,) = self.folder.glob("*.jsonl")
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in lines:
            validate("timeline", line)
        return lines


@pytest.fixture
def folder(lab: Lab, tmp_path: Path) -> Path:
    put(tmp_path / "pages", PAGE)
    return tmp_path


def test_step_by_step_to_the_end(lab: Lab, folder: Path) -> None:
    finding()
    walker = Walker(lab, folder, "NoWorkers", "--run")
    walker.answers("y", "what?", "y", "Y", "yes", "y")
    out = walker.finish()
    assert out.endswith("\nverified\n"), out
    assert walker.terminal.exitstatus == 0
    assert (folder / "repaired").exists()
    steps = [line for line in walker.lines() if line["event"] == "step"]
    assert [step["held"] for step in steps] == [True] * 5
    act = Act.objects.get(verb="runbook")
    assert (act.subject, act.details["result"]) == ("NoWorkers emails", "verified")


def test_skip_and_quit(lab: Lab, folder: Path) -> None:
    finding()
    walker = Walker(lab, folder, "NoWorkers", "--run")
    walker.answers("s", "y", "s", "q")
    assert walker.finish().endswith("\nquit\n")
    assert walker.terminal.exitstatus == 1
    lines = walker.lines()
    assert [line["ran"] for line in lines[1:-1]] == [False, True, False]
    assert lines[-1]["result"] == "quit"
    assert not (folder / "repaired").exists()


@pytest.mark.parametrize(("answer", "status"), [("y", 0), ("q", 1)])
def test_a_judgement_is_asked_for_where_nothing_else_is(
    lab: Lab, folder: Path, answer: str, status: int
) -> None:
    asked = console("$ touch repaired", 'ask="May it run twice?"')
    put(folder / "pages", text("", asked, console("$ ls repaired\nrepaired"), MATTER))
    walker = Walker(lab, folder, "NoWorkers", "--run", "--yes")
    walker.terminal.expect_exact("May it run twice?")
    walker.answers(answer)
    walker.finish()
    assert walker.terminal.exitstatus == status
    assert (folder / "repaired").exists() is (answer == "y")


def test_what_is_not_as_the_page_says_can_be_tried_again(lab: Lab, folder: Path) -> None:
    put(folder / "pages", text(verify=console("$ cat repaired\nyes"), matter=MATTER))
    walker = Walker(lab, folder, "NoWorkers", "--run")
    walker.answers("y", "y", "y")
    walker.terminal.expect("came")
    (folder / "repaired").write_text("yes\n")
    walker.answers("a")
    assert walker.finish().endswith("\nverified\n")
    held = [line["held"] for line in walker.lines() if line["event"] == "step"]
    assert held == [True, True, False, True]


def test_going_on_where_verify_does_not_hold_is_no_success(lab: Lab, folder: Path) -> None:
    put(folder / "pages", text(verify=console("$ false"), matter=MATTER))
    walker = Walker(lab, folder, "NoWorkers", "--run")
    walker.answers("y", "y", "y", "g")
    assert walker.finish().endswith("\nnot verified\n")
    assert walker.terminal.exitstatus == 1


def test_nothing_of_a_value_reaches_the_terminal_or_a_shell(lab: Lab, folder: Path) -> None:
    finding(HOSTILE, summary=HOSTILE, code="NoWorkers")
    walker = Walker(lab, folder, "NoWorkers", "--run")
    walker.answers("y", "y", "y", "y", "y")
    raw = walker.terminal.read()
    walker.terminal.close()
    assert walker.terminal.exitstatus == 0, raw
    assert walker.lines()[2]["output"] == [HOSTILE]
    shown = Walker(lab, folder, "NoWorkers")
    raw += shown.terminal.read()
    shown.terminal.close()
    assert "touch hacked" in raw
    assert set(re.findall(r"\x1b.", raw)) == {"\x1b["}
    assert set(re.findall(r"\x1b\[[0-9;]*(.)", raw)) == {"m"}
    assert not (folder / "hacked").exists()


def test_interrupted_in_the_middle_of_a_command(lab: Lab, folder: Path) -> None:
    slow = console("$ echo $$ > pid; exec sleep 600", "limit=10m")
    put(folder / "pages", text(mitigation=slow, matter=MATTER))
    finding()
    walker = Walker(lab, folder, "NoWorkers", "--run")
    walker.answers("y", "y")
    pid = int(until(lambda: (folder / "pid").exists() and (folder / "pid").read_text()))
    walker.terminal.sendintr()
    walker.terminal.read()
    walker.terminal.close()
    assert walker.terminal.exitstatus == 130
    until(lambda: gone(pid), what="the command ended")
    assert walker.lines()[-1]["result"] == "interrupted"
    assert Act.objects.get(verb="runbook").details["result"] == "interrupted"


def test_the_end_of_input_quits(lab: Lab, folder: Path) -> None:
    walker = Walker(lab, folder, "NoWorkers", "--run", "--set", "QUEUE=x")
    walker.terminal.expect(r"\[q\]uit: ")
    walker.terminal.sendeof()
    assert walker.finish().endswith("\nquit\n")


def test_the_database_is_locked_all_the_while(lab: Lab, folder: Path) -> None:
    """The page of DatabaseLocked is walked through while it is locked."""
    if connection.vendor != "sqlite":
        pytest.skip("only SQLite has one lock for all")
    finding()
    with transaction.atomic():
        finding("other", state="closed")  # takes the lock for writing
        walker = Walker(lab, folder, "NoWorkers", "--run")
        walker.answers("y", "y", "y", "y", "y")
        out = walker.finish()
    assert [line["held"] for line in walker.lines()[1:-1]] == [True] * 5
    assert "Only the timeline knows of this walk. " in out
    assert walker.terminal.exitstatus == 0
    assert walker.lines()[-1]["result"] == "verified"


def test_the_database_is_away(lab: Lab, folder: Path) -> None:
    put(folder / "pages", PAGE.replace("python manage.py maint tasks --limit 1", "true"))
    away = {"ARGUS_MAINT_TEST_DB": "sqlite", "ARGUS_MAINT_TEST_DB_NAME": "/nowhere/x.sqlite3"}
    arguments = ("NoWorkers", "--run", "--set", "QUEUE=emails")
    walker = Walker(lab, folder, *arguments, **away)
    walker.answers("y", "y", "y", "y", "y")
    out = walker.finish()
    assert out.endswith("\nverified\n"), out
    assert "Only the timeline knows of this walk. The database does not answer" in out
    without = Walker(lab, folder, *arguments[:2], **away)
    assert "--set QUEUE=... (The database does not answer: " in without.finish()
    assert without.terminal.exitstatus == 2


def test_a_page_on_a_terminal_can_be_copied(lab: Lab, folder: Path) -> None:
    finding()
    shown = Walker(lab, folder, "NoWorkers")
    lines = shown.finish().split("\n")
    assert LONG in lines
    assert "echo emails" in lines
    assert "    emails" in lines
    assert "critical  NoWorkers emails  open since " in lines[0]
