"""``manage.py prune_db_task_results``: the stock command's flags, and our gentle pruner."""

from __future__ import annotations

import logging
from typing import Any

from django.core.management.base import CommandError
from django_tasks_db.backend import DatabaseBackend
from django_tasks_db.management.commands.prune_db_task_results import Command as StockCommand

from argus_maint.backends.search import configured_queues
from argus_maint.checks import TAG
from argus_maint.database import task_database
from argus_maint.exceptions import ArchiveError
from argus_maint.jobs.expiry import Selection
from argus_maint.jobs.plan import plan
from argus_maint.jobs.prune import order_of, prune
from argus_maint.options import did_you_mean
from argus_maint.retention import DAY, Retention

stock_logger = logging.getLogger("django_tasks_db.prune_db_task_results")


class Command(StockCommand):
    """The stock command without its one long DELETE."""

    help = (
        "Prune finished database task results, in batches that the queue does not notice. "
        "Quarantined tasks stay, and an archive that ARGUS_MAINT names is written first; "
        "`maint prune` can do more. Exit status: 0 done; 1 it could not go on; 2 wrong arguments."
    )
    requires_system_checks = [TAG]

    def handle(
        self,
        *,
        verbosity: int,
        backend: DatabaseBackend,
        min_age_days: int,
        failed_min_age_days: int | None,
        queue_name: str,
        dry_run: bool,
        **options: Any,
    ) -> None:
        """Check what was asked for and do it."""
        self.configure_logging(verbosity)
        for name, value in (("--backend", backend), ("--queue-name", queue_name)):
            if value is None:
                raise CommandError(f"{name} needs a value", returncode=2)
        if min_age_days is None:
            raise CommandError("--min-age-days needs a value", returncode=2)
        failed = min_age_days if failed_min_age_days is None else failed_min_age_days
        ages = {"successful": min_age_days * DAY, "failed": failed * DAY, "quarantined": None}
        queues = self._queues(queue_name, backend.alias)
        selection = Selection(Retention(ages), backend.alias, queues)
        try:
            order = order_of(task_database(), selection=selection, own_tables=False)
            if order.archive is not None:
                order.archive.check()
        except ArchiveError as error:
            raise CommandError(str(error), returncode=2) from error
        try:
            if dry_run:
                stock_logger.info("Would delete %d task result(s)", plan(order).rows)
            else:
                stock_logger.info("Deleted %d task result(s)", prune(order).rows)
        except ArchiveError as error:
            raise CommandError(str(error)) from error

    def _queues(self, names: str, alias: str) -> tuple[str, ...]:
        """The queues; none stands for all of them."""
        queues = tuple(names.split(","))
        if "*" in queues:
            return ()
        known = configured_queues(alias)
        for queue in queues if known else ():
            if queue not in known:
                near = did_you_mean(queue, known)
                raise CommandError(f"backend {alias!r} has no queue {queue!r}.{near}", returncode=2)
        return queues
