"""A process that runs tasks of django-tasks-local-db, as each web process does."""

from __future__ import annotations

import sys

import django
from django.apps import AppConfig


class Quiet(AppConfig):
    """The app of that package without what it starts."""

    name = "django_tasks_local_db"
    default_auto_field = "django.db.models.BigAutoField"


if __name__ == "__main__":
    django.setup()
    print("ready", flush=True)
    sys.stdin.read()
