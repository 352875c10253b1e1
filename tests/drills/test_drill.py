"""``manage.py maint drill``: begun, solved, given up, interrupted, refused."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from argus_maint.conf_findings import CODES
from argus_maint.drills.drill import FILE, Note, State, running
from argus_maint.drills.inside import MARK
from argus_maint.drills.scratch import PREFIX
from tests.commands.calls import as_json, maint, shell, wrong
from tests.conftest import ROOT
from tests.lab import until
from tests.schemas import validate
from tests.scratches import KIND

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(KIND != "sqlite", reason="a drill is on SQLite"),
    pytest.mark.timeout(300),
]


ASKED = ("--status", "--hint", "--give-up")


class Playing:
    """A drill in the foreground of one terminal, and a person in another."""

    def __init__(self, temp: Path, *arguments: str) -> None:
        self.env = {
            **{key: value for key, value in os.environ.items() if not key.startswith("ARGUS")},
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "ARGUS_MAINT_TEST_DB_NAME": str(temp / "the-site.sqlite3"),
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(temp),
        }
        self.temp, self.told = temp, temp / "told"
        with self.told.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "django", "maint", "drill", *arguments],
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=err,
                text=True,
            )

    def introduced(self) -> str:
        """The line to paste, once it is broken."""

        def line() -> str:
            assert self.process.poll() is None, self.told.read_text()
            found = re.search(r"^cd .*", self.told.read_text(), re.MULTILINE)
            return found[0] if found and "The clock runs" in self.told.read_text() else ""

        return until(line, 120)

    def paste(self, command: str) -> str:
        """In the other terminal."""
        done = subprocess.run(
            ["bash", "-c", f"{self.introduced()}\n{command}"],
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
        return done.stdout

    def end(self, seconds: float = 120) -> tuple[int, str]:
        """Its exit status, and what it printed."""
        out, _ = self.process.communicate(timeout=seconds)
        return self.process.returncode, out

    def left(self) -> list[Path]:
        """Projects that are still there."""
        return list(self.temp.glob(f"{PREFIX}*"))


@pytest.fixture
def temp(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    assert not list(tmp_path.glob(f"{PREFIX}*"))
    assert not (tmp_path / "the-site.sqlite3").exists(), "it touched the database of the site"


@pytest.mark.slow
def test_it_ends_when_all_is_well_again(temp: Path) -> None:
    drill = Playing(temp, "NoWorkers", "--json", "--keep=0s")
    try:
        assert "NoWorkers" in drill.paste("python manage.py maint findings")
        first = drill.paste("python manage.py maint drill --hint")
        assert first not in ("", drill.paste("python manage.py maint drill --hint"))
        told = json.loads(drill.paste("python manage.py maint drill --status --json"))
        validate("drill", told)
        assert (told["drill"]["code"], told["drill"]["state"]) == (None, "running")
        drill.paste("nohup python manage.py db_worker --queue-name='*' >> w.log 2>&1 &")
    finally:
        status, out = drill.end()
    validate("drill", json.loads(out))
    score = json.loads(out)["drill"]
    assert (status, score["code"], score["state"], score["hints"]) == (0, "NoWorkers", "solved", 2)
    assert 0 < score["seconds"] < 120


@pytest.mark.slow
def test_the_shop_stays_until_what_runs_in_it_has_ended(temp: Path) -> None:
    drill = Playing(temp, "NoWorkers", "--keep=3s")
    slow = "import time; time.sleep(12); print('came to its end')"
    try:
        assert "Then it says so here, and the\nshop stays for 3s." in (
            drill.introduced() and drill.told.read_text()
        )
        drill.paste("nohup python manage.py db_worker --queue-name='*' >> w.log 2>&1 &")
        until(lambda: "The shop stays for 3s" in drill.told.read_text(), 120)
        assert drill.process.poll() is None and drill.left()
        assert drill.paste("python manage.py maint findings --look") == "nothing is open\n"
        assert "came to its end" in drill.paste(f'python manage.py shell -v0 -c "{slow}"')
    finally:
        status, out = drill.end()
    assert (status, out[:10]) == (0, "Well again")
    assert not drill.left()


@pytest.mark.slow
def test_what_the_page_restarts_has_to_be_restarted(temp: Path) -> None:
    drill = Playing(temp, "JobFailed", "--keep=0s")
    try:
        drill.paste("git revert --no-edit HEAD && python manage.py maint run export")
        assert drill.paste("python manage.py maint findings --look") == "nothing is open\n"
        with pytest.raises(subprocess.TimeoutExpired):
            drill.process.wait(6)
        told = json.loads(drill.paste("python manage.py maint status --json"))
        heads = [each for each in told["processes"] if each["kind"] != "worker"]
        assert {each["name"] for each in heads} == {"w1", "s1"}
        for each in heads:
            os.kill(each["pid"], signal.SIGTERM)
        for command in ("crontask --name=by-hand", "db_worker --queue-name='*'"):
            drill.paste(f"nohup python manage.py {command} >> x.log 2>&1 &")
        status, _ = drill.end()
    finally:
        drill.process.send_signal(signal.SIGINT)
        drill.process.wait(60)
    assert status == 0


@pytest.mark.slow
def test_one_in_a_folder_of_its_own_is_asked_by_that(temp: Path) -> None:
    folder = temp / "own"
    drill = Playing(temp, "NoWorkers", f"--folder={folder}")
    try:
        drill.introduced()
        assert "is named with --folder" in shell("drill", "--hint", env=drill.env).stderr
        asked = [shell("drill", flag, f"--folder={folder}", env=drill.env) for flag in ASKED]
    finally:
        status, _ = drill.end()
    assert [each.returncode for each in asked] == [0, 0, 0], asked
    assert f"in {folder}, hints taken: 0" in asked[0].stdout and asked[1].stdout
    assert f"The drill in {folder} is given up" in asked[2].stderr
    assert status == 1 and not folder.exists()


@pytest.mark.slow
def test_it_can_be_given_up_from_anywhere(temp: Path) -> None:
    drill = Playing(temp, "NoWorkers")
    try:
        drill.introduced()
        again = shell("drill", env=drill.env)
        other = shell("drill", "--give-up", env=drill.env)
    finally:
        status, out = drill.end()
    assert other.stdout.startswith("It was NoWorkers. This is its runbook:")
    assert "## Mitigation" in other.stdout
    assert "A drill is running already" in again.stderr
    assert (status, out[:8]) == (1, "Given up")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_it_leaves_nothing(temp: Path, number: int) -> None:
    drill = Playing(temp, "NoWorkers")
    drill.introduced()
    drill.process.send_signal(number)
    status, _ = drill.end()
    assert status == (-signal.SIGKILL if number == signal.SIGKILL else 130)
    until(lambda: not drill.left(), 60)


def test_it_lists_what_can_be_practised() -> None:
    assert sorted(as_json("drill", "drill", "--list")["codes"]) == sorted(CODES)
    assert "StuckTask" in maint("drill", "--list")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["NoWorker"], 'Did you mean "NoWorkers"?'),
        (["--database", "default"], "is a database of this site, and a drill breaks things"),
        (["--database", "postgres://x"], "--database can only be sqlite"),
        (["--folder", str(ROOT)], "is not empty"),
        (["--folder", "/dev/null/x"], "--folder: /dev/null/x: Not a directory"),
        (["--list", "NoWorkers"], "--list goes alone"),
        (["--hint", "--give-up"], "--hint goes alone"),
    ],
)
def test_what_is_wrong_is_one_line(arguments: list[str], line: str) -> None:
    assert line in wrong("drill", *arguments)


@pytest.mark.parametrize("flag", ["--hint", "--give-up", "--status"])
def test_without_a_drill_there_is_nothing_to_ask(
    flag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert "No drill is running." in wrong("drill", flag)
    assert "No drill is running in /x." in wrong("drill", flag, "--folder=/x")


def test_of_two_drills_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    notes = [Note(tmp_path / f"{PREFIX}{name}") for name in "ab"]
    for number, note in enumerate(notes):
        note.path.parent.mkdir(parents=True)
        note.write(State("no-workers", "NoWorkers", os.getpid(), 1.0 + number))
    for flag in ASKED:
        said = wrong("drill", flag)
        assert said.startswith("Several drills are running. Say which with --folder: ")
        assert all(str(note.folder) in said for note in notes)
    maint("drill", "--give-up", f"--folder={notes[0].folder}")
    assert [note.read().state for note in notes] == ["given up", "running"]
    assert f"in {notes[1].folder}" in maint("drill", "--status")


def test_a_drill_within_a_drill_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MARK, "/somewhere")
    assert "This is the shop of a drill" in wrong("drill")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"fault": 1}', "\xff"])
def test_a_note_that_says_nothing_is_no_drill(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    note = Note(tmp_path / f"{PREFIX}x")
    note.path.parent.mkdir(parents=True)
    note.path.write_text(text, encoding="latin-1")
    assert running() == []
    values: dict[str, Any] = {"fault": "no-workers", "code": "NoWorkers", "began": 1.0}
    note.write(State(pid=os.getpid(), **values))
    assert [each.path for each in running()] == [tmp_path / f"{PREFIX}x" / FILE]
    monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)  # another's folder
    assert running() == []
    monkeypatch.undo()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    note.change(state="solved")
    assert running() == []
