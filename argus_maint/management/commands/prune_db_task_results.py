"""``manage.py prune_db_task_results``: the stock command's flags, and our gentle pruner."""

from __future__ import annotations

import logging
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from django.db import Error
from django_tasks_db.backend import DatabaseBackend
from django_tasks_db.management.commands.prune_db_task_results import Command as StockCommand

from argus_maint.backends.search import configured_queues
from argus_maint.checks import TAG
from argus_maint.database import in_plain_words, task_database
from argus_maint.exceptions import ArchiveError
from argus_maint.jobs.expiry import Selection
from argus_maint.jobs.plan import plan
from argus_maint.jobs.prune import Order, order_of, prune
from argus_maint.management.maint.arguments import Parser
from argus_maint.management.maint.context import INTERRUPTED, term_is_an_interrupt
from argus_maint.options import LONGEST, did_you_mean
from argus_maint.retention import DAY, Retention

stock_logger = logging.getLogger("django_tasks_db.prune_db_task_results")


class Command(StockCommand):
    """The stock command without its one long DELETE."""

    help = (
        "Prune finished database task results, in batches that the queue does not notice. "
        "Quarantined tasks stay, and an archive that ARGUS_MAINT names is written first; "
        "`maint prune` can do more. Exit status: 0 done; 1 it could not go on; 2 wrong "
        "arguments; 130 interrupted."
    )
    requires_system_checks = [TAG]

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The stock command's flags, with one line for each mistake."""
        parser.__class__ = Parser  # Django makes it, and asks nobody which class
        super().add_arguments(parser)

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
        given = {"--backend": backend, "--queue-name": queue_name, "--min-age-days": min_age_days}
        for name, value in given.items():
            if value is None:
                raise CommandError(f"{name} needs a value", returncode=2)
        failed = min_age_days if failed_min_age_days is None else failed_min_age_days
        if max(min_age_days, failed) * DAY > LONGEST:
            raise CommandError(f"an age is at most {LONGEST / DAY:.0f} days", returncode=2)
        ages = {"successful": min_age_days * DAY, "failed": failed * DAY, "quarantined": None}
        queues = self._queues(queue_name, backend.alias)
        selection = Selection(Retention(ages), backend.alias, queues)
        try:
            order = order_of(task_database(), selection=selection, own_tables=False)
            if order.archive is not None:
                order.archive.check(make=not dry_run)
        except ArchiveError as error:
            raise CommandError(str(error), returncode=2) from error
        try:
            with term_is_an_interrupt():
                self._run(order, dry_run)
        except ArchiveError as error:
            raise CommandError(str(error)) from error
        except Error as error:
            raise CommandError(in_plain_words(error)) from error
        except KeyboardInterrupt:
            self.stderr.write("interrupted")
            sys.exit(INTERRUPTED)

    def _run(self, order: Order, dry_run: bool) -> None:
        if dry_run:
            stock_logger.info("Would delete %d task result(s)", plan(order).rows)
            return
        report = prune(order)
        stock_logger.info("Deleted %d task result(s)", report.rows)
        if report.left:
            raise CommandError(f"{report.left} could not go: prune.left in the log says why")

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
