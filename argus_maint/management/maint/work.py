"""``maint work``."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from typing import Any

from django.core.management.base import CommandError
from django.db import connections

from argus_maint.backends.adapters import adapters
from argus_maint.backends.adapters.base import Adapter
from argus_maint.backends.adapters.generic import Broken
from argus_maint.management.maint.arguments import Arguments, count, name
from argus_maint.management.maint.context import Context, known_backend
from argus_maint.runbooks.calling import Calling, pasted

NAME = "work"
SUMMARY = "start a worker of a backend, whichever program that is"
HELP = """\
Become a worker of a task backend: db_worker, rqworker, run_redis_tasks, or what
else its adapter names. For whoever has to start one by hand, as the runbooks do; a
service runs the program itself (see maint units). It takes from every queue of the
backend, or from those that are named. A worker of django-tasks-redis always takes
from all of them.

It ends as that program does, and signals reach it: nothing is in between."""
EXAMPLES = """\
examples:
  manage.py maint work
  manage.py maint work --backend rq --queue mail --dry-run
  nohup manage.py maint work --backend rq >> worker.log 2>&1 &

exit status: 0 the worker was told to stop; 1 it could not be started; 2 wrong
arguments, or a backend without workers; else that of the worker"""
ALL = "*"


def add_arguments(parser: Arguments) -> None:
    """Options of this subcommand."""
    parser.add_argument(
        "--backend", default="default", metavar="ALIAS", help="Of TASKS (default: default)."
    )
    parser.add_argument(
        "--queue",
        default=ALL,
        metavar="QUEUES",
        help="Take from this queue, or these, separated by commas (default: all of them).",
    )
    parser.add_argument(
        "--processes",
        type=count,
        metavar="N",
        help="db_worker only: how many workers (default: its own). Another program starts one.",
    )
    parser.add_argument(
        "--name", type=name, metavar="NAME", help="db_worker only: what it is called."
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="Say which command it is, and start nothing."
    )


def run(context: Context, options: dict[str, Any]) -> int:
    """Say it, and become it."""
    alias = known_backend(options["backend"])
    adapter = next((each for each in adapters(context.using) if each.alias == alias), None)
    if adapter is None:
        raise CommandError(f"TASKS has no backend {alias!r}.", returncode=2)
    named = [each.strip() for each in options["queue"].split(",")]
    arguments = _arguments(adapter, [] if ALL in named else [each for each in named if each])
    if adapter.in_task_table:
        arguments += [f"--processes={options['processes']}"] if options["processes"] else []
        arguments += [f"--worker-id={options['name']}"] if options["name"] else []
    command = pasted(shlex.join(["manage.py", *arguments]))
    if options["dry_run"]:
        context.show([command])
        return 0
    context.note(command)
    here = Calling.here()
    connections.close_all()
    words = [here.python, *([here.manage] if here.manage else ["-m", "django"]), *arguments]
    return os.execv(words[0], words)  # noqa: S606 - no shell: names are words of their own


def _arguments(adapter: Adapter, queues: Sequence[str]) -> list[str]:
    known = set() if adapter.in_task_table else set(getattr(adapter.backend, "queues", ()))
    if strange := [each for each in queues if known and each not in known]:
        listed = ", ".join(sorted(known))
        raise CommandError(
            f"Backend {adapter.alias} has no queue {strange[0]!r}. It has: {listed}.", returncode=2
        )
    arguments = adapter.worker_arguments(queues)
    if not arguments:
        why = adapter.trouble if isinstance(adapter, Broken) else adapter.why_not.get("liveness")
        line = f"Backend {adapter.alias} has no workers that could be started"
        raise CommandError(f"{line}: {why or 'its adapter names no program'}.", returncode=2)
    return arguments
