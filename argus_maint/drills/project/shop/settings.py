"""Settings of the shop."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import django

BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = "lives as long as the drill"  # noqa: S105
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": json.loads((BASE_DIR / "database.json").read_text())}

# django-tasks-db 0.12 is built on the backport even where Django has the framework.
_BACKPORT = django.VERSION < (6, 0) or version("django-tasks-db").startswith("0.12.")

INSTALLED_APPS = [
    "argus_maint",  # before django_tasks_db, so that its db_worker wins
    *(["django_tasks"] if _BACKPORT else []),
    "django_tasks_db",
    "shop",
]
TASKS = {
    "default": {
        "BACKEND": "django_tasks_db.DatabaseBackend",
        "QUEUES": ["default", "emails", "reports"],
    },
}

# Short times: what takes minutes on a site takes seconds here.
AT_ONCE = {"opens_after": 1, "closes_after": 1}
ARGUS_MAINT = {
    "PROCESSES": {"lease": 3},
    "RESCUE": {
        "*": {"on_lost": "requeue", "backoff": (0, 1)},
        "shop.tasks.sync_stock": {"time_limit": 1, "on_overdue": "report"},
        "shop.tasks.import_catalogue": {"max_losses": 2},
        "shop.tasks.resize_picture": {"max_losses": 50, "backoff": (0.6, 60)},
    },
    "RETENTION": {"successful": "14d", "failed": "90d"},
    "STORAGE": {"min_size": "1M"},
    "PRUNE": {"archive": str(BASE_DIR / "var" / "archive")},
    "JOBS": {
        "prune": {"schedule": "17 3 * * *"},
        "export": {"function": "shop.jobs.export", "schedule": "30 2 * * *"},
    },
    "FINDINGS": {
        "DeadWorker": {**AT_ONCE, "deaths": 30},
        "NoWorkers": AT_ONCE,
        "UnattendedQueue": {**AT_ONCE, "unattended": 1},
        "StuckTask": {**AT_ONCE, "lost": 20},
        "PoisonTask": AT_ONCE,
        "RescueLoop": {**AT_ONCE, "losses": 3},
        "QueueBacklog": {**AT_ONCE, "ready": 100, "waits": 1},
        "FailureSpike": {**AT_ONCE, "failures": 5},
        "ZombieWrite": AT_ONCE,
        "UnregisteredWorker": {**AT_ONCE, "seen": 1},
        "SchedulerDown": AT_ONCE,
        "MissedTick": AT_ONCE,
        "JobFailed": AT_ONCE,
        "PruneBehind": AT_ONCE,
        "TableBloat": {**AT_ONCE, "size": "2M"},
        "DatabaseLocked": {**AT_ONCE, "held": 1},
        "ClockSkew": AT_ONCE,
        "ArchiveFailed": AT_ONCE,
        "BackendUnreachable": AT_ONCE,
        "Misconfigured": AT_ONCE,
    },
}
