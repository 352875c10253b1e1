"""The site itself: ``Misconfigured``, what our system checks call an error, and migrations.

One finding a check, one for migrations of ours or of django-tasks-db that were not run, and one
for each backend that gives a task which still runs to a second worker. Warnings are none.
"""

from __future__ import annotations

import pkgutil
from collections import defaultdict
from collections.abc import Iterator
from importlib import import_module

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.db import connections
from django.db.migrations.recorder import MigrationRecorder

from argus_maint.backend_checks import UNUSABLE
from argus_maint.checks import APP, TAG, TASKS_APP
from argus_maint.findings.observation import Observation
from argus_maint.jobs.detect.backends import overlong
from argus_maint.jobs.detect.look import Look


def misconfigured(look: Look) -> Iterator[Observation]:
    """Errors by check, then migrations."""
    errors: defaultdict[str, list[str]] = defaultdict(list)
    for each in checks.run_checks(tags=[TAG]):
        # An alias that cannot be used lets the others work, and is a warning as a check.
        if (each.is_serious() or each.id == UNUSABLE) and not each.is_silenced():
            errors[(each.id or "").rpartition(".")[2]].append(
                f"{each.msg} {each.hint or ''}".strip()
            )
    for check, messages in errors.items():
        more = f" (and {len(messages) - 1} more)" if len(messages) > 1 else ""
        evidence = {"check": check, "messages": messages}
        yield Observation("Misconfigured", check, f"{messages[0]}{more}", evidence)
    if missing := _not_applied(look.using):
        summary = f"{', '.join(missing)} not applied: run manage.py migrate"
        evidence = {"check": "migration", "messages": missing}
        yield Observation("Misconfigured", "migration", summary, evidence)
    yield from overlong(look)


def _not_applied(using: str) -> list[str]:
    """Migrations that are there as files, and not in the database's record."""
    applied = MigrationRecorder(connections[using]).applied_migrations()
    missing = []
    for name in (APP, TASKS_APP):
        config = next((each for each in apps.get_app_configs() if each.name == name), None)
        if config is None or config.label in getattr(settings, "MIGRATION_MODULES", {}):
            continue
        package = import_module(f"{config.name}.migrations")
        files = sorted(each.name for each in pkgutil.iter_modules(package.__path__))
        missing += [
            f"{config.label}.{each}"
            for each in files
            if each[0] not in "_~" and (config.label, each) not in applied
        ]
    return missing


DETECTORS = {"Misconfigured": misconfigured}
