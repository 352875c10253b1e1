"""A process that enqueues a task and claims it, over and over, and notes how long each took.

It claims the way the stock worker does: its query, its transaction, its ``claim``. Where
SQLite gives up after its timeout it tries again, and the wait goes on. SIGTERM ends it; then
it writes all starts (CLOCK_MONOTONIC) and seconds to the file it was given.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PAUSE = 0.01  # seconds between two tasks


def main(file: str) -> None:
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: ended.append(number))
    import django

    django.setup()
    from benchmarks import tasks

    taken: dict[str, list[tuple[float, float]]] = {"enqueue": [], "claim": []}

    def timed(name: str, call: Callable[[], Any]) -> Any:
        began = time.monotonic()
        done = _persistently(call)
        taken[name].append((began, time.monotonic() - began))
        return done

    _claim_one(_persistently(tasks.nothing.enqueue).id)  # imports and a connection
    for values in taken.values():
        values.clear()
    print("probing", flush=True)
    while not ended:
        result = timed("enqueue", tasks.nothing.enqueue)
        row = timed("claim", lambda ident=result.id: _claim_one(ident))
        _persistently(lambda row=row: row.set_successful(None))
        time.sleep(PAUSE)
    Path(file).write_text(json.dumps(taken))


def _claim_one(ident: Any) -> Any:
    from django_tasks_db.models import DBTaskResult
    from django_tasks_db.utils import exclusive_transaction, normalize_uuid

    ready = DBTaskResult.objects.ready().filter(backend_name="default")
    ready = ready.filter(queue_name__in=["default"])
    with exclusive_transaction(ready.db):
        row = ready.get_locked()
        assert row is not None
        assert normalize_uuid(row.pk) == normalize_uuid(ident), "somebody else enqueues here"
        row.claim(f"prober.{os.getpid()}")
    return row


def _persistently(call: Callable[[], Any]) -> Any:
    from django.db import OperationalError
    from django_tasks_db.utils import is_locked_database_exception

    while True:
        try:
            return call()
        except OperationalError as error:
            if not is_locked_database_exception(error):
                raise


if __name__ == "__main__":
    main(*sys.argv[1:])
