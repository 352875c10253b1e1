"""``maint check`` as a monitoring system sees it: one line, figures, and an exit status."""

from __future__ import annotations

import io
import re
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import Any

import pytest
from django.core.management import call_command

from argus_maint import plugin
from tests import rows
from tests.commands.sites import Site
from tests.lab import Lab
from tests.observe import notes

# As monitoring-plugins.org has it: 'label'=value[unit];[warn];[crit];[min];[max]
FIGURE = re.compile(
    r"^(?P<label>[a-z_]+)=(?P<value>-?\d+(\.\d+)?)(?P<unit>s|%|B|c)?"
    r"(;(?P<warn>\d*)(;(?P<crit>\d*)(;(?P<min>\d*)(;\d*)?)?)?)?$"
)


def _check(*arguments: str) -> tuple[int, str, dict[str, Any], list[str]]:
    """Exit status, text, figures and details of a call in this process."""
    out = io.StringIO()
    with pytest.raises(SystemExit) as exit_:
        call_command("maint", "check", *arguments, stdout=out, stderr=io.StringIO())
        raise SystemExit(0)
    return int(exit_.value.code or 0), *_read(out.getvalue())


def _read(output: str) -> tuple[str, dict[str, Any], list[str]]:
    first, *details = output.splitlines()
    assert output.count("|") == 1, output
    text, _, figures = first.partition(" | ")
    matches = [FIGURE.match(each) for each in figures.split(" ")]
    assert all(matches), figures
    return text, {each["label"]: each for each in matches if each}, details


@pytest.mark.django_db
def test_all_is_well() -> None:
    owner = rows.process()
    rows.task("RUNNING", workers=(owner.worker_id,))
    rows.task(age=42)
    rows.task(run_after=rows.ago(-99))
    notes.looked()
    status, text, figures, details = _check()
    assert (status, text, details) == (0, "MAINT OK - 1 worker, 1 running, 1 ready", [])
    values = {name: int(each["value"]) for name, each in figures.items()}
    assert 42 <= values.pop("oldest_ready") < 60
    assert values == {
        "ready": 1,
        "scheduled": 1,
        "running": 1,
        "lost": 0,
        "overdue": 0,
        "workers": 1,
        "critical": 0,
        "warning": 0,
        "acknowledged": 0,
    }
    assert (figures["ready"]["warn"], figures["oldest_ready"]["unit"]) == ("1000", "s")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("severities", "status", "text"),
    [
        (["info"], 0, "MAINT OK - 1 worker, 0 running, 0 ready, 1 to know"),
        (["warning"], 1, "MAINT WARNING - JobFailed 0"),
        (["critical"], 2, "MAINT CRITICAL - JobFailed 0"),
        (["info", "warning", "critical"], 2, "MAINT CRITICAL - JobFailed 2, JobFailed 1"),
    ],
)
def test_findings_by_their_severity(severities: list[str], status: int, text: str) -> None:
    rows.process()
    notes.looked()
    for number, severity in enumerate(severities):
        notes.finding("JobFailed", str(number), severity=severity, summary="a | b\nc")
    got, said, _, details = _check()
    assert (got, said) == (status, text)
    assert len(details) == len(severities)
    assert f"[{severities[-1]}] JobFailed {len(severities) - 1} for 12m: a / b c" in details[0]


@pytest.mark.django_db
def test_what_somebody_has_taken_on_does_not_count() -> None:
    rows.process()
    notes.looked()
    notes.finding("NoWorkers", severity="critical", **notes.acked())
    status, text, figures, details = _check()
    assert (status, text) == (0, "MAINT OK - 1 worker, 0 running, 0 ready, 1 acknowledged")
    assert details[0].endswith("(acknowledged by anna@web: after the release)")
    assert (figures["critical"]["value"], figures["acknowledged"]["value"]) == ("0", "1")


@pytest.mark.django_db
def test_only_some_codes() -> None:
    rows.process()
    notes.looked()
    notes.finding("NoWorkers", severity="critical")
    notes.finding("TableBloat")
    assert _check("--code", "TableBloat")[0] == 1
    assert _check("--code", "JobFailed")[0] == 0
    assert _check("--code", "JobFailed", "--code", "NoWorkers")[0] == 2


@pytest.mark.django_db
def test_by_the_wait_of_the_oldest_task() -> None:
    rows.process()
    notes.looked()
    rows.task(age=400)
    assert _check()[0] == 0
    assert _check("--warning", "10m", "--critical", "1h")[0] == 0
    status, text, figures, _ = _check("--warning", "5m", "--critical", "1h")
    assert (status, text) == (1, "MAINT WARNING - a task has been ready for 6m")
    assert (figures["oldest_ready"]["warn"], figures["oldest_ready"]["crit"]) == ("300", "3600")
    assert _check("--warning", "1m", "--critical", "5m")[0] == 2
    notes.pause("default")
    assert _check("--warning", "1m", "--critical", "5m")[0] == 0


@pytest.mark.django_db
def test_where_nobody_has_looked_it_judges_by_itself_and_never_says_ok() -> None:
    assert _check()[:2] == (2, "MAINT CRITICAL - no worker is running")
    rows.process()
    status, text, _, _ = _check()
    assert (status, text) == (3, "MAINT UNKNOWN - the job findings has made no pass yet")
    notes.looked(age=1000)
    assert _check()[:2] == (3, "MAINT UNKNOWN - nobody has looked for findings for 16m")
    notes.finding("JobFailed", "prune")
    assert _check()[0] == 3
    notes.finding("NoWorkers", severity="critical")
    assert _check()[0] == 2
    notes.looked()
    assert _check("--code", "JobFailed")[0] == 1


# -- real command lines -----------------------------------------------------------


@pytest.mark.parametrize("findings", [[], ["warning"], ["critical", "warning"]])
def test_a_real_command_line_exits_with_its_state(lab: Lab, findings: list[str]) -> None:
    rows.process(lease=600)
    notes.looked()
    for number, severity in enumerate(findings):
        notes.finding("JobFailed", str(number), severity=severity)
    for program in (["django", "maint"], ["argus_maint"]):
        done = subprocess.run(
            [sys.executable, "-m", *program, "check"], env=lab.env, capture_output=True, text=True
        )
        assert done.returncode == len(findings), done.stdout + done.stderr
        assert done.stdout.startswith(f"MAINT {('OK', 'WARNING', 'CRITICAL')[len(findings)]} - ")
        _read(done.stdout)


def test_a_state_is_no_failure_where_the_reader_has_gone(lab: Lab) -> None:
    rows.process(lease=600)
    for redirection in (">/dev/full", ">&-", "| true"):
        command = f'set -o pipefail; "{sys.executable}" -m django maint check {redirection}'
        done = subprocess.run(["bash", "-c", command], env=lab.env, capture_output=True, text=True)
        # What is written before a reader goes is written; nothing but 0 or 3 may come of it.
        assert done.returncode in ((0, 3) if "true" in redirection else (3,)), done
        assert "Traceback" not in done.stderr


MANAGE = ("manage.py", "maint", "check")
WRAPPED = ("-m", "argus_maint", "check")
BROKEN = {
    "an app that is not there": ('INSTALLED_APPS += ["nope"]', "No module named 'nope'"),
    "an engine that is not there": (
        'DATABASES = {"default": {"ENGINE": "nope", "NAME": "x"}}',
        "ImproperlyConfigured: 'nope' isn't an available database backend",
    ),
    "a key that is misspelt": (
        'ARGUS_MAINT = {"RESCUE": {"*": {"on_lots": "fail"}}}',
        'Did you mean "on_lost"?',
    ),
    "a lease that does not fit": (
        'ARGUS_MAINT = {"PROCESSES": {"lease": 1, "beat": 9}}',
        "argus_maint.E003",
    ),
    "apps in the wrong order": (
        "INSTALLED_APPS.reverse()",
        "argus_maint.E010",
    ),
    "no table app": (
        'INSTALLED_APPS.remove("django_tasks_db")',
        'Add "django_tasks_db" to INSTALLED_APPS',
    ),
    "a router that fails": (
        "DATABASE_ROUTERS = ['site_settings.Router']\n"
        "class Router:\n    def db_for_write(self, model, **hints): raise KeyError('shard')\n",
        "E012",
    ),
    "no tables": ("", "A table is missing: run manage.py migrate."),
    "a folder that is not there": (
        'DATABASES["default"]["NAME"] = "/nowhere/at/all.sqlite3"',
        "The database does not answer: unable to open database file",
    ),
    "no server": (
        'DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "x", '
        '"HOST": "127.0.0.1", "PORT": "1"}}',
        "The database does not answer: connection",
    ),
}


@pytest.mark.slow  # many processes
@pytest.mark.parametrize("program", [MANAGE, WRAPPED], ids=["manage.py", "argus_maint"])
@pytest.mark.parametrize("what", BROKEN)
def test_whatever_is_wrong_with_the_site_is_one_line_and_exit_3(
    site: Site, program: tuple[str, ...], what: str
) -> None:
    more, line = BROKEN[what]
    site.write(more)
    assert line in site.unknown(*program)


@pytest.mark.slow  # many processes
@pytest.mark.parametrize(
    ("more", "line"),
    [
        ("\nDEBUG = (", "SyntaxError: "),
        ("\nimport os\nos.environ['SECRET_THAT_IS_NOT_SET']", "KeyError: 'SECRET_THAT_IS_NOT_SET'"),
        ("\nraise SystemExit(1)", "Django exited 1"),
        ('\nINSTALLED_APPS.remove("argus_maint")', "Unknown command: 'maint'"),
    ],
)
def test_settings_that_cannot_be_imported_are_known_outside_of_manage_py(
    site: Site, more: str, line: str
) -> None:
    site.write(more)
    assert line in site.unknown(*WRAPPED)
    assert line in site.unknown(*WRAPPED, "--manage", str(site.folder / "manage.py"))


@pytest.mark.slow  # many processes
def test_settings_that_are_not_there_and_arguments_of_the_wrapper(site: Site) -> None:
    nope = {"DJANGO_SETTINGS_MODULE": "nope.settings"}
    assert "No module named 'nope'" in site.unknown(*WRAPPED, **nope)
    assert "No module named 'nope'" in site.unknown(*WRAPPED, "--settings", "nope.settings")
    assert "usage: python -m argus_maint check" in site.unknown("-m", "argus_maint")
    assert "usage: python -m argus_maint check" in site.unknown("-m", "argus_maint", "status")
    assert "--manage needs a path" in site.unknown(*WRAPPED, "--manage")
    assert "nowhere.py" in site.unknown(*WRAPPED, "--manage=/nowhere.py")
    (site.folder / "manage.py").write_text("")
    assert "has ended without a word" in site.unknown(*WRAPPED)


@pytest.mark.slow  # many processes
@pytest.mark.parametrize("program", [MANAGE, WRAPPED], ids=["manage.py", "argus_maint"])
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--bogus"], "unrecognized arguments: --bogus"),
        (["--code", "NoWorker"], "there is no finding 'NoWorker'. Did you mean \"NoWorkers\"?"),
        (["--warning", "soon"], "must be a duration"),
        (["--backend", "defualt"], 'Did you mean "default"?'),
        (["--timeout", "0"], "longer than 0"),
        (["--force-color", "--no-color"], "can't be used together"),
    ],
)
def test_wrong_arguments_are_one_line_and_exit_3(
    site: Site, program: tuple[str, ...], arguments: list[str], line: str
) -> None:
    assert line in site.unknown(*program, *arguments)


def test_a_database_that_is_locked_is_not_known(site: Site) -> None:
    assert site.run("manage.py", "migrate", "-v0").returncode == 0
    site.write('DATABASES["default"]["OPTIONS"] = {"timeout": 0.1}\n')
    with closing(sqlite3.connect(site.database, isolation_level=None)) as link:
        link.execute("BEGIN EXCLUSIVE")
        assert "database is locked" in site.unknown(*MANAGE)
        assert "database is locked" in site.unknown(*WRAPPED)
    done = site.run(*MANAGE)
    assert (done.returncode, done.stderr) == (2, "")  # it has no worker


def test_a_server_that_does_not_answer_is_given_up(site: Site) -> None:
    """Something that listens and says nothing, as a server that is stopped."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
        site.write(
            'DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "x", '
            f'"HOST": "127.0.0.1", "PORT": "{port}"}}}}\n'
        )
        said = site.unknown(*MANAGE, "--timeout", "1")
    assert said == "the database has not answered for 1s"


def test_help_is_no_failure_and_an_interrupt_is_no_answer(site: Site) -> None:
    for program in (MANAGE, WRAPPED):
        done = site.run(*program, "--help")
        assert done.returncode == 0 and "exit status: 0" in done.stdout
    site.write("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    assert "KeyboardInterrupt" in site.unknown(*WRAPPED)


def test_a_plugin_is_told_from_other_commands() -> None:
    for words, result in (
        (["manage.py", "maint", "check"], True),
        (["manage.py", "maint", "--settings", "check", "status"], False),
        (["manage.py", "--pythonpath", "x", "maint", "-v", "2", "check", "--code", "X"], True),
        (["manage.py", "check"], False),
        (["manage.py", "maint"], False),
        (["manage.py", "maint", "status", "check"], False),
    ):
        assert plugin.is_check(words) is result, words
