"""Settings of the demo's project. ``ARGUS_MAINT_DEMO`` is its folder.

``ARGUS_MAINT_DEMO_RESCUE`` is a rescue policy as JSON: with another one than the
default the demo ends badly, which is how the demo itself is tested.
"""

from __future__ import annotations

import json
import os
import socket
from importlib.metadata import version
from pathlib import Path

import django

FOLDER = Path(os.environ["ARGUS_MAINT_DEMO"])
LEASE = 3.0  # seconds; the default of 15 would make a longer demo


def _nobody() -> str:
    return "demo-host"


# What the demo prints may end up in a bug report: it names no real machine.
socket.gethostname = _nobody

SECRET_KEY = "lives as long as the demo"  # noqa: S105
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": FOLDER / "db.sqlite3",
        "OPTIONS": {"init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"},
    }
}

# django-tasks-db 0.12 is built on the backport even where Django has the framework.
_BACKPORT = django.VERSION < (6, 0) or version("django-tasks-db").startswith("0.12.")

INSTALLED_APPS = [
    "argus_maint",  # before django_tasks_db, so that its db_worker wins
    *(["django_tasks"] if _BACKPORT else []),
    "django_tasks_db",
]
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
ARGUS_MAINT = {
    "RESCUE": {"*": json.loads(os.environ.get("ARGUS_MAINT_DEMO_RESCUE", "{}"))},
    "PROCESSES": {"lease": LEASE},
}
