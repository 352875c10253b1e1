"""An app whose jobs may be due each second: only the parser refuses such a schedule.

``ARGUS_MAINT_TEST_JOBS`` is JSON: for each job its ``schedule`` (see ``seconds``) and fields of
``conf_jobs.Job``. Our own jobs are left out.
``ARGUS_MAINT_TEST_PATCH`` is JSON: values for names of modules, by dotted path.
"""

from __future__ import annotations

import json
import os
import threading
import time
from importlib import import_module
from typing import Any

from django.apps import AppConfig, apps


class SchedulingConfig(AppConfig):
    name = "tests.scheduling"
    label = "scheduling"

    def ready(self) -> None:
        if "FAKETIME_DONT_FAKE_MONOTONIC" in os.environ:
            # Its clock_nanosleep() mixes up the two clocks; what an Event waits by is sound.
            time.sleep = lambda seconds: threading.Event().wait(seconds)  # type: ignore[assignment]
        if not apps.is_installed("argus_maint"):
            return
        for path, value in json.loads(os.environ.get("ARGUS_MAINT_TEST_PATCH", "{}")).items():
            module, _, name = path.rpartition(".")
            setattr(import_module(module), name, value)
        from argus_maint.conf import get_settings

        jobs = get_settings().jobs
        jobs.clear()
        for name, raw in json.loads(os.environ.get("ARGUS_MAINT_TEST_JOBS", "{}")).items():
            jobs[name] = _job(name, **raw)


def _job(name: str, schedule: str, **fields: Any) -> Any:
    from argus_maint.conf_jobs import Job
    from tests.scheduling.seconds import schedule as made

    fields = {"kind": "function", **fields}
    return Job(name, "a chore", made(schedule), **fields)
