"""``maint backends``: what every alias of TASKS can do, and what is wrong with it."""

from __future__ import annotations

import io
import json
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import OperationalError

from argus_maint.backends.adapters.base import CAPABILITIES, Adapter, Queue, Unreachable, Worker
from argus_maint.backends.database import QueueCounts
from argus_maint.management.commands.maint import Command
from tests import rows
from tests.commands.calls import as_json, maint, wrong
from tests.commands.sites import Site
from tests.schemas import validate

DATABASE = {"BACKEND": "django_tasks_db.DatabaseBackend"}
LOFT = {"BACKEND": f"{__name__}.Loft"}
GONE = {"BACKEND": "django_tasks_nowhere.Backend"}
LONG_AGO = datetime.now(timezone.utc) - timedelta(hours=2)


class Pigeons(Adapter):
    """A site's own adapter, which knows its queue and its pigeons."""

    name = "pigeons"
    package = "pigeons"
    worker_command = "manage.py fly"
    supports_stats = True
    supports_liveness = True
    why_not = {"rescue": "a pigeon does not say which letter it carries"}

    def queues(self) -> list[Queue]:
        """Two letters wait."""
        return [Queue(QueueCounts(self.alias, "air\x1b", 2, 0, 1, LONG_AGO), failed=3)]

    def workers(self) -> list[Worker]:
        """One was seen, and does not fly any more."""
        return [Worker("homer", "loft", 7, ("air",), LONG_AGO, False, "shot down", "letter-1")]

    def counters(self) -> dict[str, int]:
        """Those that left from here."""
        return {"enqueued": 1200}

    def warnings(self) -> list[str]:
        """What a site should know."""
        return ["hawks"]


def __getattr__(name: str) -> type:
    if name == "Loft":  # made late, as the app registry is ready then
        try:
            from django.tasks.backends.immediate import ImmediateBackend
        except ImportError:
            from django_tasks.backends.immediate import ImmediateBackend

        return type(name, (ImmediateBackend,), {"__module__": __name__})
    raise AttributeError(name)


@pytest.fixture
def several(settings: Any) -> None:
    settings.TASKS = {"default": DATABASE, "loft": LOFT, "gone": GONE}
    settings.ARGUS_MAINT = {"RESCUE": {}, "BACKENDS": {LOFT["BACKEND"]: f"{__name__}.Pigeons"}}


def ended(*arguments: str) -> tuple[int, str]:
    """Exit status and output of one that finds something wrong."""
    out = io.StringIO()
    with pytest.raises(SystemExit) as exit_:
        call_command(Command(), *arguments, stdout=out, stderr=io.StringIO())
    return int(exit_.value.code or 0), out.getvalue()


def document(*arguments: str) -> Any:
    value = json.loads(ended(*arguments, "--json")[1])
    validate("backends", value)
    return value


def test_a_site_on_the_database_alone_can_do_everything() -> None:
    (one,) = as_json("backends", "backends")["backends"]
    assert (one["alias"], one["adapter"], one["usable"]) == ("default", "database", True)
    assert [each["name"] for each in one["capabilities"]] == list(CAPABILITIES)
    assert all(each["supported"] and each["why_not"] is None for each in one["capabilities"])
    assert one["package"] == "django-tasks-db" and one["package_version"]
    assert one["seen"] is None
    assert "NOT SUPPORTED" not in maint("backends")


@pytest.mark.usefixtures("several")
def test_the_table_has_a_line_for_each_alias_and_the_reasons_below() -> None:
    status, text = ended("backends")
    assert status == 1
    head, *lines = text.splitlines()
    assert head.split() == ["alias", "backend", "adapter", *CAPABILITIES]
    assert lines[0].split()[:3] == ["default", DATABASE["BACKEND"], "database"]
    assert lines[1].split() == ["loft", LOFT["BACKEND"], "pigeons", "yes", "yes", *"------"]
    assert lines[2].split() == ["gone", GONE["BACKEND"], "unusable"]
    assert "  loft  rescue " in text and "a pigeon does not say which letter it carries" in text
    assert "  loft  hawks\n" in text
    assert "django_tasks_nowhere.Backend cannot be used: ModuleNotFoundError" in text


@pytest.mark.usefixtures("several")
def test_one_alias_is_shown_in_full_and_others_that_are_broken_do_not_count() -> None:
    text = maint("backends", "loft")
    assert "  workers  manage.py fly\n" in text
    assert "  stats     counts of its queues\n" in text
    assert "  fence    its adapter gives no reason\n" in text
    assert "django_tasks_nowhere" not in text
    assert ended("backends", "gone")[0] == 1


@pytest.mark.usefixtures("several", "db")
def test_a_look_asks_each_one_that_can_tell() -> None:
    rows.task("READY")
    found = {each["alias"]: each["seen"] for each in document("backends", "--look")["backends"]}
    (queue,) = found["default"]["queues"]
    assert (queue["name"], queue["ready"], queue["finished"]) == ("default", 1, None)
    assert found["default"]["workers"] == []
    assert found["loft"]["queues"][0]["failed"] == 3
    assert found["loft"]["workers"][0]["alive"] is False
    assert found["loft"]["signals"] == {"enqueued": 1200}
    assert found["gone"] == {"trouble": None, "queues": None, "workers": None, "signals": {}}
    text = maint("backends", "loft", "--look")
    assert re.search(r"~2h0\dm", text) and "shot down" in text
    assert "signals seen in this site's processes: 1,200 enqueued" in text and "\x1b" not in text
    assert "  workers: none\n" in maint("backends", "default", "--look")


@pytest.mark.usefixtures("several", "db")
@pytest.mark.parametrize(
    ("error", "says"),
    [
        (Unreachable("Redis at loft:6379 does not answer"), "Redis at loft:6379 does not answer"),
        (OperationalError("gone away"), "gone away"),
        (KeyError("two\nlines"), "KeyError: "),
    ],
)
def test_one_that_does_not_answer_is_a_line_and_the_others_are_shown(
    monkeypatch: pytest.MonkeyPatch, error: Exception, says: str
) -> None:
    def fails(self: Adapter) -> list[Queue]:
        raise error

    monkeypatch.setattr(Pigeons, "queues", fails)
    status, text = ended("backends", "loft", "--look")
    assert status == 1
    (line,) = [each for each in text.split("\nNOW\n")[1].splitlines() if each]
    assert says in line
    found = {each["alias"]: each["seen"] for each in document("backends", "--look")["backends"]}
    assert says in found["loft"]["trouble"] and found["loft"]["queues"] is None
    assert found["default"]["queues"] == []


def test_it_asks_no_server_by_itself() -> None:
    """Without the mark for the database a query would fail the test."""
    assert "database" in maint("backends")


@pytest.mark.usefixtures("several")
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["lofd"], "TASKS has no backend 'lofd'. Did you mean \"loft\"? It has: "),
        ([""], "it is empty"),
        (["loft", "gone"], "unrecognized arguments: gone"),
    ],
)
def test_wrong_arguments_are_one_line(arguments: list[str], says: str) -> None:
    assert says in wrong("backends", *arguments)


@pytest.mark.parametrize("tasks", [{}, None, [DATABASE["BACKEND"]]])
def test_a_site_without_any_says_so(settings: Any, tasks: Any) -> None:
    settings.TASKS = tasks
    assert maint("backends") == "TASKS names no backend.\n"


# -- real command lines


@pytest.fixture
def project(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    site.write(
        'TASKS["rq"] = {"BACKEND": "django_tasks_nowhere.Queue"}\n'
        'TASKS["inline"] = {"BACKEND": "django.tasks.backends.dummy.DummyBackend"}\n'
    )
    return site


def test_a_command_line_is_plain_in_a_pipe_and_its_status_tells(project: Site) -> None:
    done = project.run("manage.py", "maint", "backends")
    assert (done.returncode, done.stderr) == (1, "")
    assert "\x1b" not in done.stdout and "Traceback" not in done.stdout
    assert project.run("manage.py", "maint", "backends", "default").returncode == 0
    wrong = project.run("manage.py", "maint", "backends", "deflt")
    assert wrong.returncode == 2
    assert len(wrong.stderr.splitlines()) == 1 and 'Did you mean "default"?' in wrong.stderr


def test_a_terminal_gets_colours_and_no_line_of_the_table_beyond_its_edge(project: Site) -> None:
    script = "manage.py maint backends"
    done = project.run(
        "-c",
        "import os, pty, sys; os.environ['COLUMNS'] = '90'; "
        f"sys.exit(os.waitstatus_to_exitcode(pty.spawn([sys.executable, *{script.split()!r}])))",
        TERM="xterm",
    )
    assert done.returncode == 1
    assert "\x1b[" in done.stdout


def test_help_says_what_a_stranger_needs(project: Site) -> None:
    text = project.run("manage.py", "maint", "backends", "--help").stdout
    for each in (*CAPABILITIES, *CAPABILITIES.values(), "--look", "exit status: 0"):
        assert each in text
