"""What the processes of a test write down about themselves (see ``tests.workers.settings``)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from django.apps import AppConfig
from django.db.backends.signals import connection_created
from django.db.models.signals import post_save


class LifeConfig(AppConfig):
    name = "tests.workers"
    label = "life"

    def ready(self) -> None:
        from django_tasks_db.management.commands.db_worker import task_finished, task_started
        from django_tasks_db.models import DBTaskResult

        if path := os.environ.get("LIFE_SQL"):
            connection_created.connect(_statements(path), weak=False)
        if path := os.environ.get("LIFE_SIGNALS"):
            task_started.connect(_signals(path, "started"), weak=False)
            task_finished.connect(_signals(path, "finished"), weak=False)
            post_save.connect(_saves(path), sender=DBTaskResult, weak=False)
            if os.environ.get("LIFE_HANG"):
                task_finished.connect(_hang(path), weak=False)
        if os.environ.get("LIFE_REFUSE"):
            task_started.connect(_refuse, weak=False)


def write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, text.encode() + b"\n")
    os.close(descriptor)


def _statements(path: str) -> Callable[..., None]:
    def statement(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        write(path, f"{os.getpid()} {time.monotonic()} {' '.join(sql.split())}")
        return execute(sql, params, many, context)

    def created(sender: Any, connection: Any, **kwargs: Any) -> None:
        write(path, f"{os.getpid()} {time.monotonic()} CONNECT")
        connection.execute_wrappers.append(statement)

    return created


def _signals(path: str, name: str) -> Callable[..., None]:
    def receiver(sender: Any, task_result: Any, **kwargs: Any) -> None:
        write(path, f"{name} {task_result.id} {task_result.status.value}")

    return receiver


def _hang(path: str) -> Callable[..., None]:
    def receiver(sender: Any, task_result: Any, **kwargs: Any) -> None:
        write(path, f"hanging {task_result.id} {os.getpid()}")
        time.sleep(600)

    return receiver


def _saves(path: str) -> Callable[..., None]:
    def receiver(sender: Any, instance: Any, created: bool, **kwargs: Any) -> None:
        if not created:
            write(path, f"saved {instance.pk} {instance.status}")

    return receiver


def _refuse(sender: Any, **kwargs: Any) -> None:
    raise RuntimeError("a receiver of task_started")
