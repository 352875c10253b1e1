"""``manage.py concurrent_worker``: the worker of django-tasks-concurrent, looked after.

Listed before that package in INSTALLED_APPS it replaces its command, takes the same options
and runs the same worker. The process and its sub-workers are registered and beat, so that
what they hold is rescued when they die; and they look after the others, as every worker does.
"""

from __future__ import annotations

import importlib.util
import threading
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.db import Error, connections

from argus_maint.checks import local_database_backends
from argus_maint.database import discard, in_plain_words
from argus_maint.jobs.eye import Eye
from argus_maint.log import get_logger
from argus_maint.management.checking import WrongJobsApart

if TYPE_CHECKING:
    from argus_maint.workers.concurrent import Crew

logger = get_logger(__name__)
PACKAGE = "django_tasks_concurrent"


class Command(WrongJobsApart):
    """A worker that runs many async tasks at once."""

    help = (
        "Run the worker of django-tasks-concurrent: many async tasks at once in one process. "
        "It is registered, so its tasks are rescued when it dies. "
        "Exit status: 0 it was told to end; 1 it cannot run; 2 wrong arguments."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """The options of the package's own command."""
        parser.add_argument(
            "--concurrency", type=int, default=3, help="Tasks at once (default: %(default)s)."
        )
        parser.add_argument(
            "--interval",
            type=float,
            default=1.0,
            help="Seconds to wait where there is no task (default: %(default)g).",
        )
        parser.add_argument(
            "--queue-name",
            default="",
            help="The queue (default: the setting TASK_QUEUE_NAME, or 'default').",
        )
        parser.add_argument(
            "--backend",
            default="default",
            dest="backend_name",
            help="The alias in TASKS (default: '%(default)s').",
        )
        parser.add_argument(
            "--scheduler-interval",
            type=float,
            default=15.0,
            help="The longest sleep of its scheduler of @periodic tasks (default: %(default)g).",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until a signal ends it."""
        if importlib.util.find_spec(PACKAGE) is None:
            raise CommandError("it needs a package: pip install django-tasks-concurrent")
        from argus_maint.workers import concurrent

        if options["concurrency"] < 1:
            raise CommandError("--concurrency must be 1 or more", returncode=2)
        alias = options["backend_name"]
        if alias in local_database_backends():
            raise CommandError(f"--backend: {alias!r} runs its tasks itself", returncode=2)
        queue = options["queue_name"] or getattr(settings, "TASK_QUEUE_NAME", "default")
        names = ("concurrency", "interval", "backend_name", "scheduler_interval")
        chosen = {**{name: options[name] for name in names}, "queue_name": queue}
        crew = concurrent.Crew(alias, [queue], options["concurrency"])
        self.stdout.write(f"{crew.name}: {options['concurrency']} tasks at once from {queue}")
        try:
            with crew.beating():
                connections.close_all()  # its loop opens its own
                threading.Thread(target=_watch, args=(crew,), daemon=True, name="eye").start()
                concurrent.run(crew, chosen)
        except Error as error:
            raise CommandError(in_plain_words(error)) from error


def _watch(crew: Crew) -> None:
    """Look at every process at each beat, until this one ends: the dead are found here too."""
    eye = Eye(crew, mine=crew.mine)
    while not crew.draining.wait(crew.beat_every):
        try:
            eye.look()
        except Exception as error:  # noqa: BLE001 - the next look may be better
            logger.warning("rescue.error", error=" ".join(str(error).split()))
            discard(crew.using)
