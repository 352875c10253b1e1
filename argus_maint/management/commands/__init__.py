"""The commands. Without the task table none can be imported: say so, on one line."""

from __future__ import annotations

import sys

from django.apps import apps

from argus_maint import plugin
from argus_maint.checks import ADD_TASKS_APP, NO_TASKS_APP, TASKS_APP

# A CommandError would not be caught here: Django imports a command before it runs it.
if apps.ready and not apps.is_installed(TASKS_APP):
    if plugin.is_check(sys.argv):
        plugin.unknown(f"{NO_TASKS_APP} {ADD_TASKS_APP}")
    raise SystemExit(f"CommandError: {NO_TASKS_APP} {ADD_TASKS_APP}")
