"""What is done inside a scratch project, by a process with its settings.

``python -m argus_maint.drills.inside`` reads a line of JSON for each call, such as
``["enqueue", {"task": "send_receipt", "arguments": [1]}]``, and answers with one. It costs
Django's start once, where a process for each question would cost it every time.

When its input ends without a word, whoever played is dead: it ends all that is left of the
project, and removes the folder.
"""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import django
from django.utils import timezone

from argus_maint.drills import processes
from argus_maint.ticks import UTC

MARK = "ARGUS_MAINT_SCRATCH"  # in the environment of all that is started; the folder
BYE = "bye"
CHUNK = 500  # rows written in one go


def enqueue(task: str, arguments: list[Any], times: int = 1, queue: str = "") -> list[str]:
    """Enqueue a task of the shop, as its web process does."""
    made = getattr(import_module("shop.tasks"), task)
    if queue:
        made = made.using(queue_name=queue)
    return [str(made.enqueue(*arguments).id) for _ in range(times)]


def statuses(ids: list[str]) -> list[str]:
    """How far tasks are."""
    from django_tasks_db.models import DBTaskResult

    found = {str(row.pk): row.status for row in DBTaskResult.objects.filter(pk__in=ids)}
    return [found[each] for each in ids]


def running_under(name: str) -> list[str]:
    """Tasks that run under a worker id, as far as the task table knows."""
    from django_tasks_db.models import DBTaskResult, TaskResultStatus

    running = DBTaskResult.objects.filter(status=TaskResultStatus.RUNNING)
    rows = running.values_list("pk", "worker_ids")
    return [str(pk) for pk, worker_ids in rows if worker_ids[-1:] == [name]]


def seen_under(name: str, ago: float) -> None:
    """Have the tasks under an unknown worker id been seen there for that long."""
    from django_tasks_db.models import DBTaskResult

    from argus_maint.dbtime import db_now
    from argus_maint.models import Sighting

    when = db_now("default") - timedelta(seconds=ago)
    for task_id in running_under(name):
        attempt = len(DBTaskResult.objects.get(pk=task_id).worker_ids)
        values = {"attempt": attempt, "worker_id": name, "first_seen_at": when}
        Sighting.objects.update_or_create(task_id=task_id, defaults=values)


def a_finished_task() -> str:
    """The id of the last one that ended."""
    from django_tasks_db.models import DBTaskResult

    return str(DBTaskResult.objects.finished().order_by("-finished_at")[0].pk)


def living(name: str, kind: str) -> int:
    """How many processes of that name and kind are registered, and neither ending nor ended."""
    from argus_maint.models import Process

    return Process.objects.filter(name=name, kind=kind, state=Process.State.ALIVE).count()


def restarted(kind: str, since: float) -> bool:
    """Whether a process of a kind is there, and none from before; seconds since the epoch."""
    from argus_maint.models import Process

    when = datetime.fromtimestamp(since, UTC)
    alive = Process.objects.filter(kind=kind, state=Process.State.ALIVE)
    return alive.exists() and not alive.filter(registered_at__lt=when).exists()


def ledger(**filters: Any) -> int:
    """How many entries the ledger of rescues has."""
    from argus_maint.models import LedgerEntry

    return LedgerEntry.objects.filter(**filters).count()


def last_ran(job: str, ago: float) -> None:
    """Have a job have run a while ago, and not since."""
    from argus_maint.dbtime import db_now
    from argus_maint.models import Run

    when = db_now("default") - timedelta(seconds=ago)
    values = {"started_at": when, "finished_at": when, "driver": "hand", "host": ""}
    Run.objects.filter(job=job).delete()
    Run.objects.create(job=job, tick=when.replace(microsecond=0), state=Run.State.DONE, **values)


def add_finished(times: int, ago: float, size: int = 0) -> None:
    """Tasks that ended well a while ago, with a result of so many bytes."""
    from django_tasks_db.models import DBTaskResult, TaskResultStatus, get_date_max

    when = timezone.now() - timedelta(seconds=ago)
    for first in range(0, times, CHUNK):
        rows: list[DBTaskResult] = [
            DBTaskResult(
                id=uuid.uuid4(),
                status=TaskResultStatus.SUCCESSFUL,
                started_at=when,
                finished_at=when,
                args_kwargs={"args": [number], "kwargs": {}},
                task_path="shop.tasks.send_receipt",
                queue_name="default",
                backend_name="default",
                run_after=get_date_max(),
                worker_ids=["w0"],
                return_value="x" * size,
                exception_class_path="",
                traceback="",
            )
            for number in range(first, min(times, first + CHUNK))
        ]
        DBTaskResult.objects.bulk_create(rows)
        ids = [row.pk for row in rows]
        DBTaskResult.objects.filter(pk__in=ids).update(enqueued_at=when)


def delete_most(ago: float) -> None:
    """Delete nine of ten of the tasks that finished longer ago, as a script without care does."""
    from django_tasks_db.models import DBTaskResult

    old = DBTaskResult.objects.filter(finished_at__lt=timezone.now() - timedelta(seconds=ago))
    ids = list(old.values_list("pk", flat=True))
    doomed = [pk for place, pk in enumerate(ids) if place % 10]
    for first in range(0, len(doomed), CHUNK):
        DBTaskResult.objects.filter(pk__in=doomed[first : first + CHUNK]).delete()


def date_ahead(ids: list[str], seconds: float) -> None:
    """Give tasks the time of another host's clock, that many seconds ahead of this one's."""
    from django_tasks_db.models import DBTaskResult

    when = timezone.now() + timedelta(seconds=seconds)
    DBTaskResult.objects.filter(pk__in=ids).update(enqueued_at=when)


CALLS: dict[str, Callable[..., Any]] = {
    each.__name__: each
    for each in (
        *(enqueue, statuses, running_under, seen_under, a_finished_task, living, restarted),
        ledger,
        *(last_ran, add_finished, delete_most, date_ahead),
    )
}


def main() -> int:
    """Answer until the input ends."""
    django.setup()
    for line in sys.stdin:
        name, arguments = json.loads(line)
        if name == BYE:
            return 0
        print(json.dumps(_answer(name, arguments)), flush=True)
    folder = os.environ[MARK]
    processes.end_marked(MARK, folder)
    processes.remove(Path(folder))
    return 0


def _answer(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"answer": CALLS[name](**arguments)}
    except Exception as error:  # noqa: BLE001 - told to whoever asked, who decides
        return {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    sys.exit(main())
