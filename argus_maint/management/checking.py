"""System checks at the start of a command, where a wrong job stops no other work."""

from __future__ import annotations

from typing import Any

from django.core.checks import CRITICAL, run_checks
from django.core.management.base import BaseCommand, SystemCheckError

from argus_maint.checks import TAG
from argus_maint.conf_jobs import WRONG_JOB


class WrongJobsApart(BaseCommand):
    """A command that runs where nothing but single jobs is set wrong; it shows what is.

    ``manage.py check``, and with it a deployment, fails on them as on any error.
    """

    requires_system_checks = [TAG]

    def check(self, *args: Any, **options: Any) -> None:
        """Show what the checks say, and stop where it is more than a wrong job."""
        try:
            super().check(*args, **options)
        except SystemCheckError:
            errors = [each for each in run_checks(tags=[TAG]) if each.is_serious()]
            if not all(each.id == WRONG_JOB for each in errors):
                raise
            super().check(*args, **{**options, "fail_level": CRITICAL})
