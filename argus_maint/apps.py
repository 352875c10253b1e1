"""The Django app."""

from __future__ import annotations

import sys

from django.apps import AppConfig, apps
from django.db.models.signals import post_migrate

from argus_maint import plugin

# As early as we can: what goes wrong from here on is no warning of a monitoring plugin.
plugin.guard(sys.argv)


class ArgusMaintConfig(AppConfig):
    """Registers the system checks and keeps our indexes on the task table in place."""

    name = "argus_maint"
    verbose_name = "Argus maintenance"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from argus_maint import checks, indexes
        from argus_maint.backends import hooks

        checks.register_checks()
        if apps.is_installed(checks.TASKS_APP):  # whose models the adapters import
            from argus_maint import backend_checks

            backend_checks.register_checks()
        hooks.install()
        post_migrate.connect(indexes.restore, dispatch_uid="argus_maint.indexes.restore")
        if apps.is_installed("django_tasks_redis"):
            from argus_maint.backends.adapters import redis_identity

            redis_identity.connect()
