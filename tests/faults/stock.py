"""The tests' settings without argus_maint: ``db_worker`` is the stock one."""

from __future__ import annotations

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS

INSTALLED_APPS = [app for app in INSTALLED_APPS if app != "argus_maint"]
