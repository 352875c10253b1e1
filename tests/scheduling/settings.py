"""The tests' settings for a project with schedulers; see ``apps`` for its jobs.

``ARGUS_MAINT_TEST_SCHEDULER`` says of which kind ``manage.py crontask`` is:

- ``plain`` (the default): ours, without django-crontask;
- ``crontask``: ours, on django-crontask's scheduler;
- ``theirs``: django-crontask's own command, with argus_maint among the apps;
- ``stock``: the same without argus_maint.
"""

from __future__ import annotations

import os

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS

KIND = os.environ.get("ARGUS_MAINT_TEST_SCHEDULER") or "plain"
_before = ["crontask"] if KIND in ("theirs", "stock") else []
_after = ["crontask"] if KIND == "crontask" else []
INSTALLED_APPS = [
    *_before,
    *(app for app in INSTALLED_APPS if KIND != "stock" or app != "argus_maint"),
    *_after,
    "tests.scheduling",
]
