"""``maint runbook``: the list, a page for a finding, and what is wrong in one line."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection

from argus_maint.conf_findings import CODES
from argus_maint.models import Act
from argus_maint.runbooks import places
from tests.commands.calls import as_json, maint, shell, wrong
from tests.observe import notes
from tests.rows import db_now
from tests.runbooks.found import finding, put
from tests.runbooks.test_shell import HOSTILE
from tests.runbooks.texts import MATTER, console, text
from tests.schemas import validate

pytestmark = pytest.mark.django_db
MATTER = MATTER.replace("QUEUE, WORKER", "QUEUE")
PAGE = text(
    console('$ echo "$QUEUE"\n$QUEUE'),
    console("$ touch repaired"),
    console("$ ls repaired\nrepaired"),
    MATTER,
)


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one page, in the folder where commands run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(places, "CHECKOUT", tmp_path / "pages")
    put(tmp_path / "pages", PAGE)
    return tmp_path / "pages"


def timeline(folder: Path) -> list[dict[str, Any]]:
    (path,) = folder.glob("*.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        validate("timeline", line)
    return lines


def test_the_list_has_every_code_and_marks_what_is_open() -> None:
    finding()
    finding("default")
    lines = maint("runbook").splitlines()
    assert {line.split()[0] for line in lines[1:]} == set(CODES)
    assert lines[1].split()[:3] == ["NoWorkers", "critical", "2"]
    listed = {each["code"]: each for each in as_json("runbooks", "runbook")["runbooks"]}
    assert listed["NoWorkers"]["open"] == 2
    assert listed["NoWorkers"]["page"] is True
    assert listed["StuckTask"]["open"] == 0


def test_the_first_page_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    finding("default", evidence={"backend": "default"})
    shown = maint("runbook", "noworkers")
    assert "--backend=default " in shown
    assert "$ sudo systemctl" in shown
    assert "$ sudo systemctl" not in maint("runbook", "NoWorkers", "--supervisor=hand")


@pytest.mark.usefixtures("pages")
def test_a_page_is_filled_in_from_the_finding() -> None:
    finding("it's")
    shown = maint("runbook", "NoWorkers")
    assert "> critical  NoWorkers it's" in shown
    assert "\n$ echo 'it'\"'\"'s'\nit's\n" in shown
    value = as_json("runbook", "runbook", "NoWorkers")
    assert value["values"] == {"QUEUE": "it's"}
    assert value["finding"]["state"] == "open"
    assert value["steps"][0]["command"] == "echo 'it'\"'\"'s'"


@pytest.mark.usefixtures("pages")
def test_without_a_finding_the_page_says_what_is_not_known() -> None:
    shown = maint("runbook", "NoWorkers")
    assert "> No finding NoWorkers is open now." in shown
    assert "> QUEUE    not known (the name of a queue): --set QUEUE=..." in shown
    assert '\n$ echo "$QUEUE"\n$QUEUE\n' in shown
    assert "\n$ echo mail\nmail\n" in maint("runbook", "NoWorkers", "--set", "QUEUE=mail")
    assert as_json("runbook", "runbook", "NoWorkers")["missing"] == ["QUEUE"]


@pytest.mark.usefixtures("pages")
def test_of_several_findings_one_is_named() -> None:
    for name in ("emails", "embeds", "a b"):
        finding(name)
    shown = maint("runbook", "NoWorkers")
    assert "> manage.py maint runbook NoWorkers 'a b'" in shown
    assert as_json("runbook", "runbook", "NoWorkers")["objects"] == ["a b", "embeds", "emails"]
    assert "\n$ echo emails\n" in maint("runbook", "NoWorkers", "emails")
    assert "\n$ echo emails\n" in maint("runbook", "NoWorkers", "ema")
    assert "begin with 'em'" in wrong("runbook", "NoWorkers", "em")
    assert 'Did you mean "emails"?' in wrong("runbook", "NoWorkers", "emials")
    assert "Name one: a b, embeds, emails" in wrong("runbook", "NoWorkers", "--run", "--yes")


@pytest.mark.usefixtures("pages")
def test_a_finding_that_has_closed_still_fills_its_page() -> None:
    finding("emails", state="closed")
    shown = maint("runbook", "NoWorkers", "emails")
    assert "NoWorkers emails  closed " in shown
    assert "\n$ echo emails\n" in shown


@pytest.mark.parametrize("value", [each for each in HOSTILE if each[0] != "-"])
def test_whatever_a_finding_holds_nothing_of_it_is_executed(pages: Path, value: str) -> None:
    here = pages.parent
    finding(value, summary=value)
    shown = maint("runbook", "NoWorkers")
    assert shown.replace("\n", "").isprintable()
    out = run("--yes", fails="\n" in value)
    assert out.replace("\n", "").isprintable()
    assert {path.name for path in here.iterdir()} <= {"pages", "repaired", timeline_name(here)}
    assert timeline(here)[0]["values"] == {"QUEUE": value}


def timeline_name(folder: Path) -> str:
    return next(folder.glob("*.jsonl")).name


def run(*arguments: str, fails: bool | int = False) -> str:
    """``--run``, and what it prints."""
    out = io.StringIO()
    try:
        call_command("maint", "runbook", "NoWorkers", "--run", *arguments, stdout=out)
    except SystemExit as error:
        assert fails and error.code == int(fails), out.getvalue()
    else:
        assert not fails
    return out.getvalue()


def test_a_walk_through_a_page(pages: Path) -> None:
    finding()
    out = run("--yes")
    assert out.count("as the page says") == 3
    assert out.endswith("verified\n")
    lines = timeline(pages.parent)
    assert [line["event"] for line in lines] == ["started", "step", "step", "step", "ended"]
    assert lines[1]["command"] == "echo emails"
    assert lines[1]["output"] == ["emails"]
    assert lines[-1]["result"] == "verified"
    act = Act.objects.get(verb="runbook")
    assert act.subject == "NoWorkers emails"
    assert [step["held"] for step in act.details["steps"]] == [True] * 3
    assert act.details["timeline"] == str(pages.parent / timeline_name(pages.parent))


def test_where_diagnosis_does_not_hold_nothing_is_done(pages: Path) -> None:
    put(pages, PAGE.replace('$ echo "$QUEUE"', '$ echo "$QUEUE"; false'))
    finding()
    out = run("--yes", fails=True)
    line = PAGE.split("\n").index('$ echo "$QUEUE"') + 1
    assert f"NoWorkers.md:{line}: the exit status is 1, and the page says 0" in out
    assert "It may be over already, or another problem" in out
    assert not (pages.parent / "repaired").exists()
    assert timeline(pages.parent)[-1]["result"] == "quit"


def test_a_step_that_has_to_be_judged_is_stopped_before(pages: Path) -> None:
    asked = console("$ touch judged", 'ask="May $x run twice?"')
    source = PAGE.replace("## Verify", f"{asked}\n\n## Verify")
    put(pages, source)
    finding()
    out = run("--yes", fails=3)
    assert "to be judged: May $x run twice?" in out
    assert out.endswith("\nstopped: a person has to judge this step, and it was not run\n")
    assert (pages.parent / "repaired").exists() and not (pages.parent / "judged").exists()
    *_, stop, end = timeline(pages.parent)
    line = source.split("\n").index("$ touch judged") + 1
    assert {key: stop[key] for key in ("event", "section", "line", "command", "ask")} == {
        "event": "stopped",
        "section": "Mitigation",
        "line": line,
        "command": "touch judged",
        "ask": "May $x run twice?",
    }
    assert end["result"] == "stopped"
    assert Act.objects.get(verb="runbook").details["result"] == "stopped"
    draft = maint("incident", "report", "--timeline", str(next(pages.parent.glob("*.jsonl"))))
    assert "Mitigation: stopped before `touch judged`, to be judged: May $x run twice?" in draft
    steps = as_json("runbook", "runbook", "NoWorkers")["steps"]
    assert [step["ask"] for step in steps] == [None, None, "May $x run twice?", None]


def test_an_acked_finding_is_no_other_problem(pages: Path) -> None:
    put(pages, PAGE.replace('$ echo "$QUEUE"\n$QUEUE', '$ echo "$QUEUE"\n$QUEUE\n[1]'))
    finding(**notes.acked())
    out = run("--yes", fails=True)
    assert out.count("acked by anna@web until 2") == 2
    assert "maint findings does not count it" in out and "another problem" not in out


def test_a_page_whose_command_no_longer_works_names_the_line(pages: Path) -> None:
    source = PAGE.replace("$ ls repaired\nrepaired", "$ ls repaired\nrepaird")
    put(pages, source)
    finding()
    out = run("--yes", fails=True)
    line = source.split("\n").index("repaird") + 1
    assert f"NoWorkers.md:{line}: the output is another\n  page  repaird\n  came  repaired\n" in out


def test_the_walk_needs_no_database_that_can_be_written(pages: Path) -> None:
    with connection.execute_wrapper(_away):
        out = run("--yes", "--set", "QUEUE=emails")
    assert "Not filled in: The database does not answer: away" in out
    assert out.endswith("verified\n")
    assert timeline(pages.parent)[-1]["result"] == "verified"
    assert not Act.objects.exists()


def _away(execute: Any, *arguments: Any) -> None:
    raise OperationalError("away")


def test_a_page_is_shown_without_a_database() -> None:
    away = {"ARGUS_MAINT_TEST_DB": "sqlite", "ARGUS_MAINT_TEST_DB_NAME": "/nowhere/at/all.sqlite3"}
    done = shell("runbook", "NoWorkers", env=away)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("> Not filled in: The database does not answer: unable to open")
    assert "## Mitigation" in done.stdout
    assert shell("runbook", env=away).returncode == 0


@pytest.mark.parametrize(
    "setting",
    [
        {"ARGUS_MAINT_TEST_SETTING": '{"RESCUE": {"*": {"on_lots": "fail"}}}'},
        {"ARGUS_MAINT_TEST_BROKEN": "django.db.backends.dummy"},
    ],
)
def test_wrong_settings_do_not_keep_a_page_back(setting: dict[str, str], tmp_path: Path) -> None:
    """Of Misconfigured for one: it says what to do about them."""
    (tmp_path / "broken.py").write_text(
        "import os\nfrom tests.settings import *\n"
        "if engine := os.environ.get('ARGUS_MAINT_TEST_BROKEN'):\n"
        "    DATABASES['default']['ENGINE'] = engine\n"
    )
    path = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    env = {**setting, "DJANGO_SETTINGS_MODULE": "broken", "PYTHONPATH": path}
    done = shell("runbook", "NoWorkers", env=env)
    assert done.returncode == 0, done.stderr
    assert "## Mitigation" in done.stdout


def test_a_timeline_is_added_to_and_only_its_maker_may_read_it(pages: Path) -> None:
    finding()
    file = pages.parent / "all.jsonl"
    for _ in range(2):
        run("--yes", "--timeline", str(file))
    assert len(timeline(pages.parent)) == 10
    assert file.stat().st_mode & 0o777 == 0o600
    assert "cannot be written: it is no regular file" in wrong(
        "runbook", "NoWorkers", "--run", "--yes", "--timeline", "/dev/full"
    )


def test_variants_need_a_supervisor(pages: Path) -> None:
    there = "\n\n".join(console("$ touch repaired", f"supervisor={n}") for n in ("hand", "systemd"))
    put(pages, text(mitigation=there, matter=MATTER))
    line = wrong("runbook", "NoWorkers", "--run", "--yes", "--set=QUEUE=x")
    assert "add --supervisor, one of hand, systemd" in line
    assert run("--yes", "--set=QUEUE=x", "--supervisor=systemd").count("touch repaired") == 1
    shown = maint("runbook", "NoWorkers", "--supervisor=kubernetes")
    assert "> The page has nothing for kubernetes alone; it knows: hand, systemd." in shown
    assert "## Verify" in shown and "touch repaired" not in shown


@pytest.mark.usefixtures("pages")
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["NoWorker"], 'Did you mean "NoWorkers"?'),
        (["zebra"], "maint runbook lists them"),
        (["NoWorkers", "x"], "No finding of NoWorkers is about 'x'."),
        (["NoWorkers", "--set", "QUEUE"], "--set takes NAME=VALUE"),
        (["NoWorkers", "--set", "QUEU=x"], 'Did you mean "QUEUE"?'),
        (["NoWorkers", "--set", "QUEUE=--yes"], "would take it for an option"),
        (
            ["NoWorkers", "--run", "--yes", "--set=QUEUE=x", "--supervisor", "runit"],
            "can be shown, and not run. It is for: hand, systemd.",
        ),
        (["NoWorkers", "--supervisor", "sytemd"], 'Did you mean "systemd"?'),
        (["NoWorkers", "--database", "postgres"], 'Did you mean "postgresql"?'),
        (["NoWorkers", "--run"], "needs a terminal; else add --yes"),
        (["NoWorkers", "--run", "--yes"], "--set QUEUE=..."),
        (["NoWorkers", "--run", "--json"], "without --json"),
        (["--run"], "needs a CODE"),
        (["NoWorkers", "--yes"], "go with --run"),
        (["StuckTask"], "there is no runbook for StuckTask"),
    ],
)
def test_bad_input(arguments: list[str], line: str) -> None:
    assert line in wrong("runbook", *arguments)


def test_a_page_that_is_wrong_names_its_line(pages: Path) -> None:
    path = put(pages, PAGE.replace('"$QUEUE"', "$QUEUE"))
    line = PAGE.split("\n").index('$ echo "$QUEUE"') + 1
    assert wrong("runbook", "NoWorkers") == (
        f'{path}:{line}: write $QUEUE alone in double quotes: "$QUEUE"'
    )


def test_no_pages_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "CHECKOUT", tmp_path / "none")
    with pytest.raises(CommandError, match="no runbooks are installed"):
        maint("runbook")


def test_evidence_that_is_no_mapping(pages: Path) -> None:
    finding(evidence=["queue"], opened_at=db_now("default"))
    assert as_json("runbook", "runbook", "NoWorkers")["missing"] == ["QUEUE"]
