"""The Django app."""

from __future__ import annotations

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class ArgusMaintConfig(AppConfig):
    """Registers the system checks and keeps our indexes on the task table in place."""

    name = "argus_maint"
    verbose_name = "Argus maintenance"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from argus_maint import checks, indexes

        checks.register_checks()
        post_migrate.connect(indexes.restore, dispatch_uid="argus_maint.indexes.restore")
