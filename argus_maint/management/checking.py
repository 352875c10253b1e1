"""System checks at the start of a command, where a wrong job stops no other work."""

from __future__ import annotations

from typing import Any

from django.core.checks import CRITICAL, CheckMessage, run_checks
from django.core.management.base import BaseCommand, SystemCheckError

from argus_maint.checks import TAG
from argus_maint.conf_jobs import WRONG_JOB


class WrongJobsApart(BaseCommand):
    """A command that runs where nothing but single jobs is set wrong; it shows what is.

    ``manage.py check``, and with it a deployment, fails on them as on any error.
    """

    requires_system_checks = [TAG]
    tells_warnings = True

    def check(self, *args: Any, **options: Any) -> None:
        """Show what the checks say, and stop where it is more than a wrong job."""
        if not self.tells_warnings and not any(map(_is_serious, run_checks(tags=[TAG]))):
            return
        try:
            super().check(*args, **options)
        except SystemCheckError:
            errors = list(filter(_is_serious, run_checks(tags=[TAG])))
            if not all(each.id == WRONG_JOB for each in errors):
                raise
            super().check(*args, **{**options, "fail_level": CRITICAL})


def _is_serious(message: CheckMessage) -> bool:
    return message.is_serious() and not message.is_silenced()
