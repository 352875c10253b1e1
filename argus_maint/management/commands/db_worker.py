"""``manage.py db_worker``: the stock command with a supervisor around it.

Every flag of the stock command is there with its meaning. It overrides the stock
command because ``argus_maint`` stands before ``django_tasks_db`` in INSTALLED_APPS.
"""

from __future__ import annotations

import atexit
import logging
import os
import re
import sys
import threading
from argparse import ArgumentParser, ArgumentTypeError
from dataclasses import replace
from importlib.metadata import version
from typing import Any
from uuid import uuid4

from django import get_version
from django.conf import settings as django_settings
from django.core.management.base import CommandError
from django.utils.autoreload import run_with_reloader
from django_tasks_db.management.commands.db_worker import Command as StockCommand

from argus_maint import __version__, log
from argus_maint.checks import local_database_backends
from argus_maint.conf import get_settings, resolve_lease
from argus_maint.database import close_all
from argus_maint.jobs.duties import forked_duties, threaded_duties
from argus_maint.management.checking import WrongJobsApart
from argus_maint.management.maint.arguments import Parser, age, count, duration
from argus_maint.workers import children, output
from argus_maint.workers.board import Board, Slot
from argus_maint.workers.claim import Queues
from argus_maint.workers.identity import new_incarnation, this_host
from argus_maint.workers.keeper import Duties, Keeper, Member
from argus_maint.workers.limits import STACK_SIGNAL
from argus_maint.workers.orders import Order, Outbox
from argus_maint.workers.registry import Group
from argus_maint.workers.supervisor import GAVE_UP, Supervisor, SupervisorOptions
from argus_maint.workers.worker import Worker, WorkerOptions, obey_only_the_pipe

logger = log.get_logger(__name__)

SIGN_OFF = 2.0  # seconds a reload waits for the task in hand to be given back
STOCK = {  # what the stock command's options do here
    "--reload": "One worker in one process, restarted when code changes, without a supervisor "
    "and with no time for tasks to finish: for development (default: DEBUG, unless "
    "--processes or --batch is given).",
    "--max-tasks": "Replace a worker after this many tasks; with --batch it ends instead "
    "(default: never).",
    "--worker-id": "Name of this supervisor, for people. Its workers get unique ids that "
    "start with it (default: host name and a random part).",
}


def _wrong(line: str) -> CommandError:
    return CommandError(line, returncode=2)


def _size(text: str) -> int:
    match = re.fullmatch(r"(\d+)([KMG])i?B?", text, re.IGNORECASE)
    if match is None or int(match[1]) == 0:
        raise ArgumentTypeError(f"{text!r} is not a size: write it with its unit, like 512M or 2G")
    return int(match[1]) << (10 * ("KMG".index(match[2].upper()) + 1))


class Command(WrongJobsApart, StockCommand):
    """A supervisor, its keeper, and N workers."""

    help = (
        "Run workers that take tasks from the database. A supervisor starts them, restarts "
        "those that die, and gives what they were running back to the queue. Exit status: "
        "0 stopped cleanly; 1 wrong settings, or with --batch no tables; 2 wrong arguments; "
        "3 tasks were still running at the end of --grace and were given back; 4 with --batch, "
        "a worker died on the way."
    )
    # All checks would import the URLconf, and with it most of the site, into a process
    # that never runs a task. A worker imports what its tasks need.

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The stock command's arguments, whichever its version, and ours."""
        parser.__class__ = Parser  # Django makes it, and asks nobody which class
        super().add_arguments(parser)
        if "--exclude-queues" not in parser._option_string_actions:  # 0.12.0
            parser.add_argument(
                "--exclude-queues",
                nargs="?",
                default="",
                help="Queues to exclude. Separate multiple with a comma.",
            )
        parser.set_defaults(reload=None, worker_id=None)
        for option, help_ in STOCK.items():
            parser._option_string_actions[option].help = help_
        self._add_ours(parser)

    def _add_ours(self, parser: ArgumentParser) -> None:
        ours = parser.add_argument_group(
            "supervision (argus_maint)", "A TIME is a number of seconds, or such as 30s, 10m or 2h."
        )
        ours.add_argument(
            "--processes",
            type=count,
            metavar="N",
            help="Worker processes to run (default: 1).",
        )
        ours.add_argument(
            "--time-limit",
            type=age,
            metavar="TIME",
            help="Report a task that runs longer, with its stack, unless its own policy has a "
            "limit. It is ended only where its policy says on_overdue: kill (default: none).",
        )
        ours.add_argument(
            "--lease",
            type=age,
            metavar="TIME",
            help="After this long without a heartbeat others may take this host for dead. The "
            "beat becomes a third of it (default: the setting PROCESSES, else 15 s).",
        )
        ours.add_argument(
            "--grace",
            type=duration,
            default=30.0,
            metavar="TIME",
            help="Time for running tasks to finish after SIGTERM, SIGINT, SIGQUIT or SIGHUP; "
            "then they are given back to the queue. A second signal ends it at once "
            "(default: %(default)g).",
        )
        ours.add_argument(
            "--max-rss",
            type=_size,
            metavar="SIZE",
            help="Replace a worker whose resident memory after a task is above this, "
            "like 512M (default: never).",
        )

    def configure_logging(self, verbosity: int) -> None:
        """As the stock command: a logger nobody has given a handler writes to stdout."""
        super().configure_logging(verbosity)
        logger = logging.getLogger(log.ROOT)
        logger.setLevel([logging.CRITICAL, logging.INFO, logging.DEBUG][min(verbosity, 2)])
        if not logger.hasHandlers():
            handler = logging.StreamHandler(self.stdout)
            handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
            logger.addHandler(handler)

    def handle(self, *, verbosity: int, **options: Any) -> None:
        """Check what was asked for and run it."""
        self.configure_logging(verbosity)
        self._refuse(options)
        config = get_settings()
        try:
            lease, beat = resolve_lease(options["lease"], None, config)
        except ValueError as error:
            raise _wrong(f"--lease: {error}") from error
        reload = self._reload(options)
        processes = options["processes"] or 1
        host, incarnation = this_host(), new_incarnation()
        name = options["worker_id"] or f"{host.hostname[:40]}-{incarnation[:6]}"
        queues = replace(self._queues(options), worker=name)
        common = {key: options[key] for key in ("batch", "max_tasks")}
        common |= {"name": name, "incarnation": incarnation, "beat": beat}
        of_worker = ("interval", "startup_delay", "max_rss", "time_limit")
        worker_options = WorkerOptions(
            queues=queues, **common, **{key: options[key] for key in of_worker}
        )
        limits = SupervisorOptions(
            processes=processes, grace=options["grace"], lease=lease, **common
        )
        info = self._info(queues, processes, reload, options["batch"])
        group = Group(uuid4(), name, host, lease, info)
        crew = _Crew(group, worker_options, config.process_retention)
        close_all()
        if reload:
            run_with_reloader(crew.run_in_process)
            return
        board = Board(processes)
        with output.never_waiting():
            status = Supervisor(
                limits,
                board,
                work=crew.work,
                keep=lambda members, pending, orders: crew.keep(board, members, pending, orders),
            ).run()
        if status:
            sys.exit(status)

    def _info(self, queues: Queues, processes: int, reload: bool, batch: bool) -> dict[str, Any]:
        """What the rows of the processes say about them."""
        return {
            "queues": list(queues.names),
            "excluded": list(queues.excluded),
            "backend": queues.backend_name,
            "processes": processes,
            "reload": reload,
            "batch": batch,
            "python": sys.version.split()[0],
            "django": get_version(),
            "django_tasks_db": version("django-tasks-db"),
            "argus_maint": __version__,
        }

    def _refuse(self, options: dict[str, Any]) -> None:
        """What the stock parser lets through, and its worker then trips over."""
        for flag, name in (("--interval", "interval"), ("--backend", "backend_name")):
            if options[name] is None:
                raise _wrong(f"{flag} needs a value")
        if (alias := options["backend_name"]) in local_database_backends():
            raise _wrong(
                f"--backend: {alias!r} runs its tasks in web processes, and would run those of a "
                "worker a second time"
            )
        if options["max_tasks"] is not None and options["max_tasks"] < 1:  # 0.12.0
            raise _wrong("--max-tasks must be 1 or more")

    def _reload(self, options: dict[str, Any]) -> bool:
        """Whether to run one worker in this process, and restart it when code changes."""
        asked = options["reload"]
        if asked and options["batch"]:
            self.stderr.write("--reload and --batch exclude each other; going on without --reload")
            return False
        processes = options["processes"]
        if asked and (processes or 1) > 1:
            raise _wrong("--reload runs one worker: leave out --processes, or --reload")
        if asked is None:
            # Who says how many wants a supervisor for them, be it for one.
            return bool(django_settings.DEBUG and not options["batch"] and processes is None)
        return bool(asked)

    def _queues(self, options: dict[str, Any]) -> Queues:
        names = tuple(filter(None, (options["queue_name"] or "").split(",")))
        excluded = tuple(filter(None, (options["exclude_queues"] or "").split(",")))
        if not names:
            raise _wrong("--queue-name names no queue: give one, several with commas, or '*'")
        if excluded and "*" not in names:
            raise _wrong("--exclude-queues can only be used with --queue-name=*")
        return Queues(options["backend_name"], names, excluded)


class _Crew:
    """What the processes of one supervisor run."""

    def __init__(self, group: Group, options: WorkerOptions, retention: float) -> None:
        self.group, self.options, self.retention = group, options, retention

    def work(self, slot: Slot, number: int, orders: int, stack: int) -> None:
        """The life of a worker process."""
        import faulthandler

        output.may_wait()
        worker = Worker(self.options, slot, number, orders)
        faulthandler.register(STACK_SIGNAL, file=stack, all_threads=True)
        obey_only_the_pipe(worker)
        children.unblock()
        worker.run()

    def keep(
        self,
        board: Board,
        members: list[tuple[int, int, int]],
        pending: list[Order],
        orders: int,
    ) -> None:
        """The life of a keeper process."""
        crew = [Member(0, os.getppid(), None)]
        crew += [Member(number, pid, board.slots[place]) for number, pid, place in members]
        children.ignore_signals()
        children.unblock()
        keeper = self._keeper(board, crew, pending, orders, forked_duties())
        keeper.run()
        if keeper.gave_up:
            children.flush()
            os._exit(GAVE_UP)

    def run_in_process(self) -> None:
        """``--reload``: one worker in this thread, the keeper in another."""
        logger.info(
            "worker.reloads",
            what="one process that restarts when code changes, without a supervisor",
            hint="--no-reload is the real thing",
        )
        board = Board(1)
        slot = board.slots[0]
        slot.reset(1)
        (to_keeper, keeper_end), (to_worker, worker_end) = _pipe(), _pipe()
        pid = os.getpid()
        members = [Member(0, pid, None), Member(1, pid, slot)]
        keeper = self._keeper(board, members, [], keeper_end, threaded_duties())
        thread = threading.Thread(target=keeper.run, name="argus_maint keeper", daemon=True)
        thread.start()

        def give_back() -> None:
            """At a reload or a signal: what a supervisor does at the end of the grace."""
            os.write(to_worker, b"s")
            outbox = Outbox()
            outbox.connect(to_keeper)
            reason = "shutdown" if slot.held() else "stopped"
            epoch = slot.raw.epoch
            outbox.add("exit", number=1, epoch=epoch, signal="", status=None, reason=reason)
            outbox.add("stop")
            thread.join(SIGN_OFF)

        atexit.register(give_back)
        Worker(self.options, slot, 1, worker_end).run()

    def _keeper(
        self,
        board: Board,
        members: list[Member],
        pending: list[Order],
        orders: int,
        duties: Duties,
    ) -> Keeper:
        return Keeper(
            self.group,
            self.options.incarnation,
            board,
            members,
            pending,
            orders,
            duties,
            beat=self.options.beat,
            retention=self.retention,
            batch=self.options.batch,
        )


def _pipe() -> tuple[int, int]:
    """The end to write to, and the end to read from."""
    read, write = os.pipe()
    return write, read
