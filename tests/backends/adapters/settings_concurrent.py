"""Django's settings for the tests of django-tasks-concurrent."""

from __future__ import annotations

from tests.settings import *  # noqa: F403

INSTALLED_APPS = [*INSTALLED_APPS, "django_tasks_concurrent"]  # type: ignore[name-defined] # noqa: F405
