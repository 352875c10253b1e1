"""Projects of their own, whose settings a test may break: a settings module and a manage.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import django

from tests.conftest import ROOT
from tests.schemas import validate

BACKPORT = django.VERSION < (6, 0) or version("django-tasks-db").startswith("0.12.")
SETTINGS = """
SECRET_KEY = "x"
USE_TZ = True
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": {name!r}}}}}
INSTALLED_APPS = ["argus_maint", {backport}"django_tasks_db"]
TASKS = {{"default": {{"BACKEND": "django_tasks_db.DatabaseBackend"}}}}
ARGUS_MAINT = {{"RESCUE": {{"*": {{}}}}}}
"""


class Site:
    """A project of its own: a settings module, and a manage.py as Django makes it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "db.sqlite3"
        backport = '"django_tasks", ' if BACKPORT else ""
        self.text = SETTINGS.format(name=str(self.database), backport=backport)
        self.write()
        (folder / "manage.py").write_text(
            "import os, sys\n"
            'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_settings")\n'
            "from django.core.management import execute_from_command_line\n"
            "execute_from_command_line(sys.argv)\n"
        )

    def write(self, more: str = "") -> None:
        (self.folder / "site_settings.py").write_text(self.text + more)

    def run(
        self, *words: str, prefix: tuple[str, ...] = (), **env: str
    ) -> subprocess.CompletedProcess[str]:
        clean = {key: value for key, value in os.environ.items() if key != "DJANGO_SETTINGS_MODULE"}
        return subprocess.run(
            [*prefix, sys.executable, *words],
            cwd=self.folder,
            env={**clean, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def unknown(self, *words: str, **env: str) -> str:
        """Its one line, where it cannot tell."""
        done = self.run(*words, **env)
        assert done.returncode == 3, (done.stdout, done.stderr)
        assert done.stderr == ""
        (line,) = done.stdout.splitlines()
        assert line.startswith("MAINT UNKNOWN - ") and "|" not in line
        return line.removeprefix("MAINT UNKNOWN - ")

    def migrate(self) -> None:
        done = self.run("manage.py", "migrate", "-v0")
        assert done.returncode == 0, done.stderr

    def doctor(self, *prefix: str, **env: str) -> tuple[int, list[dict[str, Any]]]:
        """Exit status and lines."""
        done = self.run("manage.py", "maint", "doctor", "--json", prefix=prefix, **env)
        assert done.stdout, done.stderr
        document = json.loads(done.stdout)
        validate("doctor", document)
        for line in document["lines"]:
            assert line["level"] == "ok" or (line["why"] and line["fix"]), line
        assert done.returncode == int(not document["healthy"])
        return done.returncode, document["lines"]
