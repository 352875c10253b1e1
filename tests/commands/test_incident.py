"""``maint incident report``: what was recorded, in order, as Markdown."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from markdown_it import MarkdownIt

from argus_maint.dbtime import DbNow
from argus_maint.models import Act, Run
from argus_maint.observe.incident import code, text
from tests import rows
from tests.commands.calls import maint, shell, wrong
from tests.rows import db_now, timedelta
from tests.runbooks.found import finding, put
from tests.runbooks.texts import MATTER, console
from tests.runbooks.texts import text as page_text

pytestmark = pytest.mark.django_db
HOSTILE = "a|b `c` <script> [x](y) *z* _w_ \x1b[2J\n# heading\n"


def report(*arguments: str) -> str:
    return maint("incident", "report", *arguments)


def section(draft: str, title: str) -> list[str]:
    return draft.split(f"\n## {title}\n")[1].split("\n## ")[0].strip().split("\n")


def act(verb: str, subject: str, since: float = 0, **values: Any) -> Act:
    made = Act.objects.create(verb=verb, subject=subject, by="al@host", acted_at=DbNow(), **values)
    Act.objects.filter(pk=made.pk).update(acted_at=db_now("default") - timedelta(seconds=since))
    return made


def run(job: str, since: float, **values: Any) -> Run:
    moment = db_now("default") - timedelta(seconds=since)
    values = {"driver": "cron", "host": "web1", "finished_at": moment, **values}
    return Run.objects.create(job=job, started_at=moment, **values)


def test_a_night_in_order() -> None:
    finding("default", age=3600, acked_by="al@host", acked_why="on it", acked_at=DbNow())
    path = "shop.tasks.send_mail"
    for since in (1800, 1799):
        rows.entry(rows.task("READY", workers=("w1.0.1",), path=path), since=since)
    act("pause", "emails", 1200, why="to look")
    run("prune", 600, state="failed", error="Traceback:\n  x\nOSError: disk full")
    run("rescue", 500, state="done")
    draft = report()
    lines = section(draft, "What happened")
    told = [re.sub(r"^- \d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", "", line) for line in lines]
    assert told[0] == "NoWorkers default first seen: no worker is running"
    assert told[1] == "**NoWorkers default opened**"
    assert any("requeued: shop.tasks.send_mail" in line for line in told)
    assert "al@host: pause emails: to look" in told
    assert "job prune failed on web1: OSError: disk full" in told
    assert told[-1] == "NoWorkers default acknowledged by al@host: on it"
    assert not any("rescue done" in line for line in told)
    times = [line[:21] for line in lines]
    assert times == sorted(times)
    assert f"| requeued | {path} | 2 |" in draft
    assert "| NoWorkers default | critical |" in draft and "| open | 1h00m |" in draft
    assert section(draft, "Cause") == ["*To be written.*"]


def test_many_rescues_of_one_minute_are_one_line() -> None:
    moment = db_now("default") - timedelta(hours=1)
    moment = moment.replace(second=10)
    for _ in range(5):
        entry = rows.entry(rows.task("READY", workers=("w1.0.1",)))
        type(entry).objects.filter(pk=entry.pk).update(acted_at=moment)
    (line,) = section(report(), "What happened")
    assert line.endswith("5 tasks requeued: tests.tasks.add (exited, crashed, SIGKILL), by w@host")


def test_of_one_finding_only_what_happened_meanwhile() -> None:
    finding("default", age=600)
    finding("emails", code="UnattendedQueue", age=600)
    act("pause", "early", 3000)
    act("pause", "meanwhile", 300)
    draft = report("--finding", "NoWorkers")
    assert "meanwhile" in draft
    assert "early" not in draft and "UnattendedQueue" not in draft
    assert "early" in report()
    assert "early" not in report("--since", "20m")


def test_a_finding_that_is_over() -> None:
    finding("default", age=600, state="closed", closed_by="al@host", closed_why="restarted")
    draft = report()
    assert "**NoWorkers default closed** by al@host: restarted" in draft
    assert "| 10m |" in draft
    assert finding("new", state="pending", live=None).summary
    assert "new" not in report()


def test_nothing_on_record() -> None:
    draft = report()
    assert section(draft, "Findings") == ["None was open."]
    assert section(draft, "What happened") == ["Nothing is on record."]
    assert section(draft, "Tasks") == ["No task was touched."]


def test_no_value_is_markdown() -> None:
    finding(HOSTILE, summary=HOSTILE)
    act("pause", HOSTILE, why=HOSTILE)
    run("prune", 1, state="lost", error=HOSTILE)
    draft = report()
    assert draft.replace("\n", "").isprintable()
    tokens = MarkdownIt("commonmark").enable("table").parse(draft)
    assert not any(token.type == "html_block" for token in tokens)
    kinds = {child.type for token in tokens for child in token.children or ()}
    assert kinds <= {"text", "text_special", "softbreak", "em_open", "em_close", "strong_open",
                     "strong_close"}  # fmt: skip
    cells = [token for token in tokens if token.type == "td_open"]
    assert len(cells) == 6


@pytest.mark.parametrize("value", ["plain", "a`b", "``", "`", "a\nb", ""])
def test_code_and_text(value: str) -> None:
    for made in (code(value), text(value)):
        (inline,) = MarkdownIt("commonmark").parseInline(f"x {made} y")
        shown = "".join(child.content for child in inline.children or ())
        assert shown.split() == f"x {value} y".split()


def walked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The timeline of a walk."""
    from argus_maint.runbooks import places

    monkeypatch.chdir(folder)
    monkeypatch.setattr(places, "CHECKOUT", folder / "pages")
    page = page_text(verify=console("$ echo '`|`'\n..."), matter=MATTER.replace("WORKER", "PID"))
    put(folder / "pages", page)
    arguments = ("--yes", "--timeline", "line.jsonl")
    call_command("maint", "runbook", "NoWorkers", "--run", *arguments)
    return folder / "line.jsonl"


def test_the_steps_of_a_runbook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = walked(tmp_path, monkeypatch)
    with file.open("a") as out:
        out.write('{"kind": "argus_maint.timeline", "at": "then"}\nno json\n[1]\n{"kind": ')
    lines = section(report("--timeline", str(file)), "What happened")
    assert sum("began the runbook NoWorkers" in line for line in lines) == 1
    assert sum(line.endswith("Diagnosis: `true` (as the page says)") for line in lines) == 1
    assert any("``echo '`|`'``" in line for line in lines), lines
    assert any("the runbook NoWorkers ended: verified" in line for line in lines)
    act = next(line for line in lines if "runbook NoWorkers (verified" in line)
    assert act.endswith(f"; {text(str(file))})")


def test_without_a_database_the_timeline_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = walked(tmp_path, monkeypatch)
    away = {"ARGUS_MAINT_TEST_DB": "sqlite", "ARGUS_MAINT_TEST_DB_NAME": "/nowhere/x.sqlite3"}
    monkeypatch.chdir(Path(__file__).parents[2])
    done = shell("incident", "report", "--timeline", str(file), env=away)
    assert done.returncode == 0, done.stderr
    assert "From the timeline alone. The database does not answer" in done.stdout
    assert "Diagnosis: `true`" in done.stdout
    done = shell("incident", "report", env=away)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)


def test_a_file_is_written_once(tmp_path: Path) -> None:
    file = tmp_path / "report.md"
    assert report("--output", str(file)) == ""
    draft = file.read_text()
    assert draft.startswith("# Incident of ")
    assert file.stat().st_mode & 0o777 == 0o600
    assert "is there already: name another --output" in wrong(
        "incident", "report", "--output", str(file)
    )
    assert file.read_text() == draft


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["report", "--finding", "NoWorker"], 'Did you mean "NoWorkers"?'),
        (["report", "--finding", "NoWorkers"], "No finding NoWorkers was open"),
        (["report", "--since", "0"], "longer than 0"),
        (["report", "--timeline", "/nowhere/x"], "cannot be read: No such file"),
        (["report", "--output", "/nowhere/x"], "cannot be written: No such file"),
        (["reprot"], 'Did you mean "report"?'),
        ([], "report"),
    ],
)
def test_bad_input(arguments: list[str], line: str) -> None:
    assert line in wrong("incident", *arguments)


def test_the_schema_of_a_line_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.schemas import validate

    for line in walked(tmp_path, monkeypatch).read_text().splitlines():
        validate("timeline", json.loads(line))
