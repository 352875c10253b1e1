"""Running one task and telling the site about it: import, signals, call, outcome.

Nothing here writes to the task's row; what a task came to is an ``Outcome``.

Events: ``task.unknown`` (its module or queue is gone, so nobody is told of its end),
``receiver.raised``, ``task.left_transaction_open``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from django.db import connections
from django_tasks_db.management.commands.db_worker import (
    TaskContext,
    task_finished,
    task_started,
)
from django_tasks_db.models import DBTaskResult

from argus_maint.database import discard
from argus_maint.exceptions import TaskOverdue
from argus_maint.log import get_logger
from argus_maint.workers import children
from argus_maint.workers.fence import Outcome

logger = get_logger(__name__)


def execute(row: DBTaskResult, prepare: Callable[[Any], None]) -> Outcome:
    """Import and call the task of a claimed row.

    ``prepare`` is given the task before it starts. Whatever the task raises, SystemExit
    included, is a failed outcome; only TaskOverdue passes through. In a process that
    the task forked this never returns: only the pid that claimed may complete.
    """
    claimer = os.getpid()
    try:
        task = row.task
        prepare(task)
        result = row.task_result
        task_started.send(sender=task.get_backend(), task_result=result)
        context: list[Any] = [TaskContext(task_result=result)] if task.takes_context else []
        value = task.call(*context, *result.args, **result.kwargs)
    except BaseException as error:
        if os.getpid() != claimer:
            children.leave(error)
        if isinstance(error, TaskOverdue):
            raise
        return Outcome.failure(error)
    if os.getpid() != claimer:
        children.leave(None)
    return Outcome.success(value)


def announce(row: DBTaskResult, error: BaseException | None = None) -> None:
    """Send ``task_finished`` for a finished row. A receiver that raises changes nothing.

    The framework's own receiver logs ``sys.exc_info()``, so a failure is announced while
    its exception is being handled.
    """
    try:
        sender = type(row.task.get_backend())
        result = row.task_result
    except Exception:  # noqa: BLE001 - a module or queue that is gone, or whatever an import raises
        logger.error("task.unknown", task_id=str(row.pk), task=row.task_path)
        return
    try:
        if error is None:
            task_finished.send_robust(sender=sender, task_result=result)
        else:
            try:
                raise error
            except BaseException:  # noqa: BLE001 - it is the task's own, raised for its traceback
                task_finished.send_robust(sender=sender, task_result=result)
    except BaseException as raised:  # noqa: BLE001 - send_robust lets SystemExit through
        logger.error("receiver.raised", task_id=str(row.pk), error=repr(raised))


def tidy_connections(idle: bool) -> None:
    """Leave connections as the next task should find them.

    What ``close_old_connections`` does at the end of a request, with two differences.
    A busy worker keeps a healthy connection even at ``CONN_MAX_AGE=0``; and one that
    the task left inside a transaction is thrown away, because whatever is written on it
    would be rolled back with it.
    """
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            logger.warning("task.left_transaction_open", database=connection.alias)
            discard(connection.alias)
            continue
        if connection.settings_dict["CONN_MAX_AGE"] == 0:
            if idle:
                connection.close()
                continue
            connection.close_at = None  # judge it by its health alone
        connection.close_if_unusable_or_obsolete()
