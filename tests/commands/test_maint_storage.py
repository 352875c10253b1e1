"""``manage.py maint storage`` as a person or a script sees it."""

from __future__ import annotations

import io
import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from argus_maint.dbtime import db_now
from argus_maint.models import StorageSample
from tests.commands.calls import as_json, maint, shell, wrong
from tests.jobs.space import analyze, fill
from tests.schemas import validate

pytestmark = pytest.mark.django_db(transaction=True)


def _maint(*arguments: str) -> str:
    return maint("storage", *arguments)


def _json(*arguments: str) -> Any:
    return as_json("storage", "storage", *arguments)


def test_it_shows_figures_growth_and_a_date_in_plain_text() -> None:
    fill(200)
    analyze()
    out = _maint()
    assert out.startswith("STORAGE  ")
    assert "\n  table " in out and "\n  rows " in out
    assert "argus_maint_finished_idx" in out
    assert "gross: 200 tasks finished in 24 hours" in out
    assert "reaches 1.0 GiB" in out
    assert "\x1b" not in out
    assert not any(line.endswith(" ") for line in out.splitlines())


def test_of_an_empty_table_nobody_can_tell_how_it_grows() -> None:
    analyze()
    assert _json()["growth"]["source"] == "unknown"
    out = _maint()
    assert "GROWTH  not known" in out
    assert "so nobody can tell when it reaches 1.0 GiB" in out
    assert "at this rate" not in out


def test_json_of_a_look_and_of_a_pass() -> None:
    fill(200)
    look = _json()
    assert look["pass"] is None
    assert look["total_bytes"] == look["table_bytes"] + look["index_bytes"] > 0
    assert look["reaches"]["bytes"] == 1024**3
    dry = _json("--run", "--dry-run")
    assert dry["pass"]["dry_run"] and not dry["pass"]["sampled"]
    done = _json("--run", "--max-seconds", "30s")
    assert done["pass"]["sampled"]
    assert {each["outcome"] for each in done["pass"]["acts"]} <= {"done"}


def test_reaches_a_size_by_the_samples() -> None:
    fill(200)
    analyze()
    now = _json()
    StorageSample.objects.create(
        taken_at=db_now("default") - timedelta(days=1),
        table_bytes=now["total_bytes"] - 1024**2,
        index_bytes=0,
        measured=now["measured"],
    )
    value = _json("--reaches", "1G")
    assert value["growth"]["source"] == "samples"
    assert value["growth"]["bytes_per_day"] == pytest.approx(1024**2, rel=0.1)
    out = _maint("--reaches", "1G")
    assert ", by 2 samples since " in out
    assert "it reaches 1.0 GiB on " in out
    assert "larger than 1.0 KiB already" in _maint("--reaches", "1K")
    assert _json("--reaches", "1K")["reaches"]["at"]


def test_what_is_in_the_way_is_named_and_exits_1() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("a lock on the whole file")
    fill(200)
    other = connection.copy()
    out = io.StringIO()
    try:
        other.cursor().execute("BEGIN IMMEDIATE")
        with pytest.raises(SystemExit) as exit_:
            call_command("maint", "storage", "--run", stdout=out, stderr=io.StringIO())
    finally:
        other.close()
    assert exit_.value.code == 1
    assert "blocked" in out.getvalue() and "locked" in out.getvalue()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--reaches", "-5G"], "size"),
        (["--reaches", "10X"], "it must be a size such as 4096 (bytes)"),
        (["--reaches", "big"], "it must be a size such as 4096 (bytes)"),
        (["--reaches", ""], "it must be a size such as 4096 (bytes)"),
        (["--reaches", "0"], "it must be more than 0"),
        (["--reaches", "9" * 400], "it must be a size such as 4096 (bytes)"),
        (["--max-seconds", "0", "--run"], "longer than 0"),
        (["--max-seconds", "-1", "--run"], ""),
        (["--max-seconds", "60"], "--max-seconds goes with --run."),
        (["--dry-run"], "--dry-run goes with --run."),
    ],
)
def test_bad_input_is_one_line_and_exit_2(arguments: list[str], line: str) -> None:
    said = wrong("storage", *arguments)
    assert line in said or "expected one argument" in said


@pytest.mark.parametrize("arguments", [["--reaches=-5G"], ["--reaches", "10X"], ["--dry-run"]])
def test_on_the_command_line_too(arguments: list[str]) -> None:
    done = shell("storage", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1, done.stderr


ROUTED = """
from tests.settings import *

DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "/nowhere/at/all.sqlite3"},
    "tasks": DATABASES["default"],
}
DATABASE_ROUTERS = ["routed.ToTasks"]


class ToTasks:
    def db_for_read(self, model, **hints):
        ours = model._meta.app_label in ("django_tasks_database", "argus_maint")
        return "tasks" if ours else "default"

    db_for_write = db_for_read
"""


def test_it_works_where_the_router_sends_the_task_table(
    child_env: dict[str, str], tmp_path: Path
) -> None:
    fill(200)
    (tmp_path / "routed.py").write_text(ROUTED)
    path = f"{tmp_path}{os.pathsep}{child_env['PYTHONPATH']}"
    env = {**child_env, "DJANGO_SETTINGS_MODULE": "routed", "PYTHONPATH": path}
    done = shell("storage", "--run", "--json", env=env)
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    validate("storage", value)
    assert value["pass"]["sampled"] and StorageSample.objects.count() == 1
