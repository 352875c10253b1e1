"""``maint doctor`` on real projects that are set up badly: each line for what is really so."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from typing import Any

import pytest

from tests.commands.sites import BACKPORT, Site

pytestmark = pytest.mark.slow  # a process for each look, and some wait for a lock
WELL = """
DATABASES["default"]["OPTIONS"] = {
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
}
"""


def _line(lines: list[dict[str, Any]], words: str) -> dict[str, Any]:
    """The one line that has found this."""
    (line,) = [each for each in lines if words in each["found"]]
    return line


def _levels(lines: list[dict[str, Any]], topic: str) -> set[str]:
    return {each["level"] for each in lines if each["topic"] == topic}


def test_a_site_that_is_set_up_well(site: Site) -> None:
    site.write(WELL)
    site.migrate()
    _, lines = site.doctor()
    for topic in ("settings", "apps", "backends", "database", "sqlite", "tables", "clock"):
        assert _levels(lines, topic) == {"ok"}, topic
    # Nothing fires its ticks, and that is the one thing that is bad.
    bad = [each for each in lines if each["level"] == "bad"]
    assert [each["found"] for each in bad] == [
        "no job has ever run here, and no scheduler is alive"
    ]
    shown = site.run("manage.py", "maint", "doctor", "--quiet").stdout
    assert "ok    " not in shown and "bad   schedules: no job has ever run" in shown
    assert "\n        fix: manage.py crontask" in shown


def test_each_alias_has_a_line_and_one_that_cannot_be_used_is_bad(site: Site) -> None:
    world = "django_tasks" if BACKPORT else "django.tasks"
    site.migrate()  # with the alias that is broken a check of Django's own would raise
    site.write(
        f'TASKS["noted"] = {{"BACKEND": "{world}.backends.dummy.DummyBackend"}}\n'
        'TASKS["rq"] = {"BACKEND": "django_tasks_nowhere.Queue"}\n'
    )
    status, lines = site.doctor()
    found = {each["found"].partition(":")[0]: each for each in lines if each["topic"] == "backends"}
    levels = {alias: each["level"] for alias, each in found.items()}
    assert (status, levels) == (1, {"default": "ok", "noted": "warn", "rq": "bad"})
    assert "DummyBackend never runs a task" in found["noted"]["found"]
    assert found["rq"]["fix"] == 'Install what is missing, or correct TASKS["rq"].'
    site.write(
        f'TASKS["noted"] = {{"BACKEND": "{world}.backends.dummy.DummyBackend"}}\n'
        'SILENCED_SYSTEM_CHECKS = ["argus_maint.W006"]\n'
    )
    assert _levels(site.doctor()[1], "backends") == {"ok"}


def test_settings_that_are_wrong_stop_no_other_line(site: Site) -> None:
    site.write(
        "DEBUG = True\nUSE_TZ = False\nINSTALLED_APPS.reverse()\n"
        'ARGUS_MAINT = {"PRUNE": {"dutty": 1}, "JOBS": {"prune": {"schedule": "61 * * * *"}}}\n'
        'DATABASES["default"]["OPTIONS"] = {"timeout": 0.1}\n'
    )
    status, lines = site.doctor()
    assert status == 1
    for words, level in (
        ("(argus_maint.E002)", "bad"),
        ("(argus_maint.E004)", "bad"),
        ("(argus_maint.E010)", "bad"),
        ("(argus_maint.W001)", "warn"),
        ("DEBUG is on", "warn"),
        ("USE_TZ is off", "warn"),
        ("journal mode delete", "bad"),
        ("a lock is waited for for 0.1 s only", "bad"),
        ("transactions begin DEFERRED", "warn"),
        ("argus_maint: ", "bad"),
        ("django_tasks_db: ", "bad"),
    ):
        assert _line(lines, words)["level"] == level, words
    assert 'Did you mean "duty"?' in _line(lines, "E002")["found"]
    assert _line(lines, "journal mode delete")["fix"].startswith('In DATABASES: "OPTIONS": {"init')
    assert _line(lines, "django_tasks_db: ")["fix"] == "manage.py migrate"


def test_a_database_that_cannot_be_opened_leaves_the_rest_to_be_looked_at(site: Site) -> None:
    site.write('DATABASES["default"]["NAME"] = "/nowhere/at/all.sqlite3"\nDEBUG = True\n')
    status, lines = site.doctor()
    assert status == 1
    line = _line(lines, "unable to open database file")
    assert (line["topic"], line["level"]) == ("database", "bad")
    assert _line(lines, "DEBUG is on") and _levels(lines, "files")
    assert not _levels(lines, "tables")


def test_a_server_that_is_away_likewise(site: Site) -> None:
    site.write(
        'DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "x", '
        '"HOST": "127.0.0.1", "PORT": "1", "CONN_MAX_AGE": 60}}\n'
    )
    _, lines = site.doctor()
    assert _line(lines, "The database does not answer: connection")["level"] == "bad"
    assert _line(lines, "CONN_HEALTH_CHECKS is off")["level"] == "warn"


def test_a_database_in_memory(site: Site) -> None:
    site.write('DATABASES["default"]["NAME"] = ":memory:"\n')
    assert _line(site.doctor()[1], "the database is in memory")["level"] == "bad"


def test_a_writer_that_holds_the_lock_and_an_index_that_was_dropped(site: Site) -> None:
    site.write(WELL)
    site.migrate()
    with closing(sqlite3.connect(site.database, isolation_level=None)) as link:
        link.execute("DROP INDEX argus_maint_finished_idx")
        link.execute("BEGIN IMMEDIATE")
        _, lines = site.doctor()
        link.execute("ROLLBACK")
        assert (
            link.execute("SELECT name FROM sqlite_master WHERE name LIKE '%probe%'").fetchall()
            == []
        )
    assert _line(lines, "nobody could write for 1 s")["level"] == "bad"
    assert "fuser -v" in _line(lines, "nobody could write for 1 s")["fix"]
    line = _line(lines, "index argus_maint_finished_idx is missing")
    assert line["fix"].startswith("manage.py migrate builds it")
    site.migrate()
    assert _line(site.doctor()[1], "argus_maint_finished_idx are there")["level"] == "ok"


def test_files_that_cannot_be_written_to(site: Site) -> None:
    """Root may write to anything, so it lays the same file under a read-only mount."""
    archive, other = site.folder / "archive", site.folder / "gone" / "away"
    archive.mkdir()
    site.write(
        WELL + f'ARGUS_MAINT = {{"RESCUE": {{}}, "PRUNE": {{"archive": {str(archive)!r}, '
        '"redact": "site_settings.nobody"}}\n'
    )
    site.migrate()
    prefix: tuple[str, ...] = ()
    if os.geteuid() == 0:
        if shutil.which("unshare") is None:
            pytest.skip("root without unshare(1) has no read-only file")
        mount = (
            f"mount --bind {site.folder} {site.folder} && mount -o remount,bind,ro {site.folder}"
        )
        prefix = ("unshare", "-m", "sh", "-c", f'{mount} && cd {site.folder} && exec "$@"', "sh")
        if subprocess.run([*prefix, "true"], capture_output=True).returncode:
            pytest.skip("no mount namespaces here")
    else:
        for path in (site.database, archive, site.folder):
            path.chmod(0o500)
    try:
        _, lines = site.doctor(*prefix)
    finally:
        for path in (site.folder, archive):
            path.chmod(0o700)
    assert _line(lines, f"the archive {archive} takes no files")["level"] == "bad"
    assert _line(lines, "site_settings.nobody cannot be imported")["level"] == "bad"
    (line,) = [
        each
        for each in lines
        if each["level"] == "bad"
        and str(site.database) in each["found"]
        or "unable to open" in each["found"]
    ]
    assert line["topic"] in ("sqlite", "database")
    site.write(WELL + f'ARGUS_MAINT = {{"PRUNE": {{"archive": {str(other)!r}}}}}\n')
    assert _line(site.doctor()[1], "its parent is missing")["level"] == "bad"


@pytest.mark.skipif(shutil.which("faketime") is None, reason="needs faketime")
def test_a_clock_that_was_set_back(site: Site) -> None:
    """A worker has beaten an hour from now: it ran with another clock."""
    site.write(WELL)
    site.migrate()
    beat = (
        "import django, uuid; django.setup()\n"
        "from argus_maint.workers import registry\n"
        "from argus_maint.workers.identity import this_host\n"
        "group = registry.Group(uuid.uuid4(), 'web', this_host(), 15.0, {})\n"
        "registry.register(group, 'supervisor', 'web.0123456789ab.0', 1, 'default', 1.0)\n"
    )
    done = site.run(
        "-c", beat, prefix=("faketime", "-f", "+1h"), DJANGO_SETTINGS_MODULE="site_settings"
    )
    assert done.returncode == 0, done.stderr
    line = _line(site.doctor()[1], "web on ")
    assert (line["level"], line["topic"]) == ("bad", "clock")
    assert " has last beaten 59m from now" in line["found"] or "1h00m from now" in line["found"]

    end = (
        "import django; django.setup()\n"
        "from argus_maint.models import Process\n"
        "Process.objects.update(state=Process.State.ENDED)\n"
    )
    assert site.run("-c", end, DJANGO_SETTINGS_MODULE="site_settings").returncode == 0
    assert not [each for each in site.doctor()[1] if "web on " in each["found"]]
