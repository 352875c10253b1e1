"""Receivers of ``task_finished`` in the processes that a test starts.

``ARGUS_MAINT_TEST_SIGNALS`` names a file that gets a line for every signal: one that
should have been sent once can then be counted. ``ARGUS_MAINT_TEST_RECEIVER`` makes a
second receiver misbehave: ``raise`` or ``exit``.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from django.apps import AppConfig


class FaultsConfig(AppConfig):
    name = "tests.faults"
    label = "faults"

    def ready(self) -> None:
        from django_tasks_db.management.commands.db_worker import task_finished

        if path := os.environ.get("ARGUS_MAINT_TEST_SIGNALS"):
            task_finished.connect(_write_to(path), weak=False)
        if how := os.environ.get("ARGUS_MAINT_TEST_RECEIVER"):
            task_finished.connect(_misbehave(how), weak=False)


def _write_to(path: str) -> Any:
    def receiver(sender: Any, task_result: Any, **kwargs: Any) -> None:
        line = f"{task_result.id} {task_result.status.value} {os.getpid()}\n"
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(descriptor, line.encode())
        os.close(descriptor)

    return receiver


def _misbehave(how: str) -> Any:
    def receiver(sender: Any, task_result: Any, **kwargs: Any) -> None:
        if how == "exit":
            sys.exit(5)
        raise RuntimeError("a receiver of the site")

    return receiver
