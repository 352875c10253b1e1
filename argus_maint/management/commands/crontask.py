"""``manage.py crontask``: run the jobs of argus_maint, and the site's ``@cron`` tasks.

Listed before django-crontask in INSTALLED_APPS it replaces that package's command, takes
the same options and says the same; without the package it runs our jobs alone.
"""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys
from types import FrameType
from typing import Any

from django.apps import apps
from django.core.management.base import CommandParser
from django.utils.module_loading import module_has_submodule

from argus_maint import log
from argus_maint.clock import now as monotonic
from argus_maint.conf import get_settings
from argus_maint.database import task_database
from argus_maint.dbtime import db_now
from argus_maint.jobs.eye import Eye
from argus_maint.jobs.performing import runner_of
from argus_maint.management.checking import WrongJobsApart
from argus_maint.scheduling import crontask, ledger, observers
from argus_maint.scheduling.driver import GRACE, Driver
from argus_maint.scheduling.member import Member
from argus_maint.scheduling.pings import Whole
from argus_maint.workers.liveness import Verdict, judge
from argus_maint.workers.notify import Manager


class Command(WrongJobsApart):
    """The scheduler of this site; run as many as you like."""

    help = (
        "Run the scheduler: the maintenance jobs of argus_maint (`manage.py maint jobs`) and the "
        "site's own @cron tasks, each tick once, however many schedulers run. It ends at "
        f"SIGTERM, SIGINT or SIGHUP; what runs then has {GRACE:g} seconds to end. "
        "Exit status: 0 it was told to end; 1 it cannot run; 2 wrong arguments."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """The options of django-crontask's command, and a name."""
        parser.add_argument(
            "--no-task-loading",
            action="store_true",
            help="Don't load the tasks modules of installed apps, which hold @cron tasks.",
        )
        parser.add_argument(
            "--no-heartbeat",
            action="store_true",
            help="Don't enqueue django-crontask's heartbeat task every minute.",
        )
        parser.add_argument(
            "--name",
            default="",
            help="What people call this scheduler (default: made of host and pid).",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until a signal ends it."""
        manager = Manager()
        self._log_somewhere()
        if not options["no_task_loading"]:
            self._load_tasks()
        if crontask.has_crontask() and not options["no_heartbeat"]:
            crontask.load_heartbeat()
            self.stdout.write("Scheduling heartbeat.")
        driver = self._driver(options["name"], manager)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._stopper(driver))
        try:
            driver.run(lambda: self.stdout.write(self.style.SUCCESS("Starting scheduler…")))
        finally:
            self.stdout.write(self.style.NOTICE("Shutting down scheduler…"))
            ended = driver.end()
            observers.flush()
            if not ended:
                self.stdout.flush()
                os._exit(0)  # a thread that cannot be ended is not waited for

    def _driver(self, name: str, manager: Manager) -> Driver:
        settings = get_settings()
        member = Member(task_database(), crontask.driver(), name)
        eye, whole = _Eye(member), Whole(settings.ping, member.host.hostname)
        runner = runner_of(member)
        return Driver(runner, settings.jobs, eye.look, manager, whole.beat, eye.glance)

    def _stopper(self, driver: Driver) -> Any:
        def stop(number: int, frame: FrameType | None) -> None:
            name = signal.Signals(number).name
            self.stdout.write(self.style.WARNING(f"Received {name} ({number}), shutting down…"))
            driver.stop.set()

        return stop

    def _load_tasks(self) -> None:
        """Import the tasks module of every app, as django-crontask does."""
        for app in apps.get_app_configs():
            if app.name in (crontask.PACKAGE, "argus_maint"):
                continue
            try:
                importlib.import_module(f"{app.name}.tasks")
            except ImportError:
                if module_has_submodule(app.module, "tasks"):
                    raise
            else:
                self.stdout.write(f"Loaded tasks from {self.style.NOTICE(app.name)}.")

    def _log_somewhere(self) -> None:
        logger = logging.getLogger(log.ROOT)
        if logger.hasHandlers():
            return
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)


class _Eye(Eye):
    """One that can also see at a glance whether a look is worth it."""

    def glance(self) -> bool:
        """Look at those who hold a run alone; whether one of them may be dead."""
        holders = ledger.holders(self.member.using, self.member.process)
        at = monotonic()
        for each in holders:
            self.watch.observe(each, at)
        now = db_now(self.member.using) if holders else None
        verdicts = (judge(each, self.member.host, now, self.watch, at) for each in holders if now)
        return any(verdict is not Verdict.ALIVE for verdict in verdicts)
