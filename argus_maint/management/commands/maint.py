"""``manage.py maint``: look at the queue, and put right what is wrong with it.

The work is done elsewhere: each subcommand is a module of ``management.maint``.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import Error

from argus_maint import log
from argus_maint.database import in_plain_words, task_database
from argus_maint.management.checking import WrongJobsApart
from argus_maint.management.maint import (
    archive,
    fail,
    history,
    jobs,
    prune,
    requeue,
    rescue,
    run,
    status,
    storage,
    tasks,
    tick,
)
from argus_maint.management.maint.arguments import Parser, add_subcommand
from argus_maint.management.maint.context import INTERRUPTED, Context
from argus_maint.observe.screen import Screen

_MODULES = (
    *(status, rescue, tasks, requeue, fail, history),
    *(prune, archive, storage, jobs, run, tick),
)
SUBCOMMANDS = {each.NAME: each for each in _MODULES}
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)


class Command(WrongJobsApart):
    """One command with subcommands."""

    help = "Look at the task queue, and put right what is wrong with it."
    missing_args_message = f"name a subcommand: {', '.join(SUBCOMMANDS)}"

    def add_arguments(self, parser: CommandParser) -> None:
        """One parser for each subcommand."""
        parser.__class__ = Parser  # Django makes it, and asks nobody which class
        subparsers = parser.add_subparsers(dest="subcommand", metavar="SUBCOMMAND", required=True)
        for each in SUBCOMMANDS.values():
            add_subcommand(subparsers, each)

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
            code = SUBCOMMANDS[subcommand].run(context, options)
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
        if code:
            sys.exit(code)


def _write_no_more() -> None:
    """Else Python complains once more when it flushes at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
