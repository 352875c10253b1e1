"""``manage.py maint``: look at the queue, and put right what is wrong with it.

The work is done elsewhere: each subcommand is a module of ``management.maint``.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
from importlib import import_module
from typing import Any, NoReturn

from django.core.management.base import CommandError, CommandParser
from django.db import Error

from argus_maint import log, plugin
from argus_maint.database import in_plain_words, task_database
from argus_maint.management import maint
from argus_maint.management.checking import WrongJobsApart
from argus_maint.management.maint.arguments import Parser, add_subcommand
from argus_maint.management.maint.context import INTERRUPTED, Context
from argus_maint.observe.screen import Screen

SUBCOMMANDS = (
    *("status", "check", "doctor"),
    *("findings", "ack", "resolve", "runbook", "incident"),
    *("rescue", "tasks", "requeue", "fail", "history"),
    *("release", "discard", "move", "priority"),
    *("pause", "resume", "drain", "bury"),
    *("prune", "archive", "storage", "jobs", "run", "tick", "units", "crontab"),
    *("backends", "work", "drill"),
)
UNCHECKED = ("doctor", "runbook", "incident")  # they help where settings are wrong
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)


class Command(WrongJobsApart):
    """One command with subcommands."""

    help = "Look at the task queue, and put right what is wrong with it."
    missing_args_message = f"name a subcommand: {', '.join(SUBCOMMANDS)}"
    # What is printed is compared with a runbook; db_worker, crontask and `maint doctor` warn.
    tells_warnings = False
    named = ""  # on a command line, in the first place

    def run_from_argv(self, argv: list[str]) -> None:
        """Note which subcommand it is: a crontab's line need not import the others."""
        self.named = argv[2] if len(argv) > 2 else ""
        if plugin.is_check(argv):
            self._answer(argv)
        if self.named in UNCHECKED:
            self.requires_system_checks = []
        super().run_from_argv(argv)

    def _answer(self, argv: list[str]) -> NoReturn:
        """As a monitoring plugin does: what is not an answer of ``maint check`` is exit 3."""
        try:
            parser = self.create_parser(argv[0], argv[1])
            options = vars(parser.parse_args(argv[2:]))
            self.execute(**options)
        except plugin.Answer:
            raise
        except SystemExit as exit_:
            if not exit_.code:  # --help or --version
                raise
            plugin.unknown(f"it ended with exit status {exit_.code}")
        except BaseException as error:  # noqa: BLE001 - a signal and a defect too
            plugin.unknown(plugin.reason_of(error))
        plugin.leave(plugin.OK)

    def add_arguments(self, parser: CommandParser) -> None:
        """One parser for each subcommand."""
        parser.__class__ = Parser  # Django makes it, and asks nobody which class
        subparsers = parser.add_subparsers(dest="subcommand", metavar="SUBCOMMAND", required=True)
        for name in (self.named,) if self.named in SUBCOMMANDS else SUBCOMMANDS:
            add_subcommand(subparsers, _module(name))

    def handle(self, *args: Any, subcommand: str, **options: Any) -> None:
        """Run one subcommand; its exit status is ours."""
        logger = logging.getLogger(log.ROOT)
        if options["verbosity"] < 2 and not logger.hasHandlers():
            logger.addHandler(logging.NullHandler())  # what happens is on the screen already
        if getattr(self.stdout, "_out", self.stdout) is None:  # as Python has it after >&-
            raise CommandError("There is no standard output to write to.")
        colours = (options["no_color"], options["force_color"])
        try:
            context = Context(
                task_database(), Screen(self.stdout, *colours), Screen(self.stderr, *colours)
            )
            code = _module(subcommand).run(context, options)
        except Error as error:
            raise CommandError(in_plain_words(error)) from error
        except BrokenPipeError:  # the reader, head or less, has seen enough
            _write_no_more()
            sys.exit(1)
        except OSError as error:
            if error.errno not in UNWRITABLE:
                raise
            _write_no_more()
            raise CommandError(f"The output cannot be written: {error.strerror}") from error
        except KeyboardInterrupt:
            self.stderr.write("interrupted")
            sys.exit(INTERRUPTED)
        if code and subcommand == plugin.CHECK:
            plugin.leave(code)
        if code:
            sys.exit(code)


def _module(subcommand: str) -> Any:
    return import_module(f"{maint.__name__}.{subcommand}")


def _write_no_more() -> None:
    """Else Python complains once more when it flushes at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
