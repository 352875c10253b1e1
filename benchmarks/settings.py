"""Settings of a benchmark's project: those of the tests, with three more switches.

``ARGUS_MAINT_BENCH_RQ_PORT`` adds django-tasks-rq, on the Redis server of that port.
``ARGUS_MAINT_BENCH_STOCK`` takes argus_maint out of INSTALLED_APPS, so that ``db_worker``
is the stock one. ``ARGUS_MAINT_BENCH_CONN_MAX_AGE`` is CONN_MAX_AGE in seconds.
"""

from __future__ import annotations

import os

from tests import settings as _tests
from tests.settings import *  # noqa: F403

INSTALLED_APPS = _tests.INSTALLED_APPS
if os.environ.get("ARGUS_MAINT_BENCH_STOCK"):
    INSTALLED_APPS = [app for app in _tests.INSTALLED_APPS if app != "argus_maint"]

DATABASES = _tests.DATABASES
DATABASES["default"]["CONN_MAX_AGE"] = int(os.environ.get("ARGUS_MAINT_BENCH_CONN_MAX_AGE", "0"))

if _port := os.environ.get("ARGUS_MAINT_BENCH_RQ_PORT"):
    INSTALLED_APPS = [*INSTALLED_APPS, "django_rq"]
    RQ_QUEUES = {"default": {"HOST": "127.0.0.1", "PORT": int(_port), "DEFAULT_TIMEOUT": 7200}}
    TASKS = {**_tests.TASKS, "rq": {"BACKEND": "django_tasks_rq.RQBackend"}}
