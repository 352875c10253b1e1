"""The site's own ``@cron`` tasks, where django-crontask is there: due each ``EVERY`` seconds."""

from __future__ import annotations

import os
from collections.abc import Callable

from django.apps import apps

EVERY = int(os.environ.get("ARGUS_MAINT_TEST_CRON_EVERY", "0"))
NUMBER = int(os.environ.get("ARGUS_MAINT_TEST_CRON_TASKS", "1"))


def _function(name: str) -> Callable[[], None]:
    def tidy() -> None:
        """Nothing is ever done: that it was enqueued is what counts."""

    tidy.__name__ = tidy.__qualname__ = name
    return tidy


if apps.is_installed("crontask") and EVERY:
    from apscheduler.triggers.cron import CronTrigger
    from crontask import cron
    from django.tasks import task

    for number in range(NUMBER):
        name = f"tidy{number}"
        globals()[name] = cron(CronTrigger(second=f"*/{EVERY}"))(task(_function(name)))
