"""The tests' laboratory with what only a benchmark needs: the stock worker, and much data."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from typing import Any

from django.db import connection
from django.utils import timezone
from django_tasks_db.models import DBTaskResult, get_date_max

from argus_maint import indexes
from benchmarks import tasks
from tests.lab import Lab, Supervised


class Bench(Lab):
    """Starts workers, ours and stock, on the benchmark's database."""

    stocks = 0

    def stock(self, *arguments: str, **env: str) -> Supervised:
        """The stock ``db_worker``: the same project without argus_maint."""
        self.stocks += 1
        env["ARGUS_MAINT_BENCH_STOCK"] = "1"
        return self.worker(*arguments, name=f"stock{self.stocks}", prefix=(), **env)

    def script(self, module: str, *arguments: str, **env: str) -> Supervised:
        """Start a module of the benchmarks as a process of its own."""
        log = self.folder / f"{module}-{len(list(self.folder.glob('*.log')))}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", f"benchmarks.{module}", *arguments],
                env={**self.env, **env},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        supervised = Supervised(process, log, module)
        self.started.append(supervised)
        return supervised

    @property
    def database(self) -> str:
        return self.env["ARGUS_MAINT_TEST_DB"]

    def clear(self) -> None:
        """Empty the task table, and tell the planner."""
        with connection.cursor() as cursor:
            table = connection.ops.quote_name(DBTaskResult._meta.db_table)
            sql = "DELETE FROM" if connection.vendor == "sqlite" else "TRUNCATE TABLE"
            cursor.execute(f"{sql} {table}")

    def index(self, there: bool) -> None:
        """Have our indexes on the task table, or not: the stock worker has none."""
        for each in indexes.ALL:
            (indexes.create if there else indexes.drop)(each, "default")

    def enqueue(self, number: int) -> None:
        """Enqueue that many tasks that do nothing, fast."""
        path = f"{tasks.nothing.func.__module__}.{tasks.nothing.func.__name__}"
        rows: Iterator[DBTaskResult] = (
            DBTaskResult(
                id=uuid.uuid4(),
                args_kwargs={"args": [], "kwargs": {}},
                task_path=path,
                backend_name="default",
                run_after=get_date_max(),
                enqueued_at=timezone.now(),
            )
            for _ in range(number)
        )
        DBTaskResult.objects.bulk_create(rows, batch_size=500)

    def close_one(self, supervised: Supervised) -> None:
        """End one supervisor and all that came from it."""
        others = [each for each in self.started if each is not supervised]
        self.started = [supervised]
        self.close()
        self.started = others

    def close(self) -> None:
        """End everything that was started. The logs are shown when something has failed."""
        failed = sys.exc_info()[0] not in (None, GeneratorExit)
        with contextlib.redirect_stdout(sys.stderr if failed else io.StringIO()):
            super().close()
        self.started.clear()

    def fill(self, number: int, days: float = 0) -> None:
        """Add that many finished rows, made by the database itself.

        With ``days`` they finished one after the other in so many days, up to 15 days ago.
        """
        quote = connection.ops.quote_name
        table = quote(DBTaskResult._meta.db_table)
        finished = dict(_FINISHED)
        if days:
            step = int(days * 86_400_000_000 / number)  # microseconds
            first = int((time.time() - (15 + days) * 86_400) * 1_000_000)
            finished["finished_at"] = _TIMES[connection.vendor].format(
                at=f"({first} + (i + {{start}}) * {step})"
            )
        columns = ", ".join(quote(column) for column in finished)
        values = ", ".join(finished.values())
        ident, numbers = _IDS[connection.vendor], _NUMBERS[connection.vendor]
        with connection.cursor() as cursor:
            if connection.vendor == "mysql":
                cursor.execute("SET max_recursive_iterations = 100000000")
            if connection.vendor == "sqlite":  # else its small cache makes it a matter of minutes
                cursor.execute("PRAGMA cache_size = -2000000")
                cursor.execute("PRAGMA synchronous = OFF")
            for start in range(0, number, 500_000):
                rows = min(500_000, number - start)
                select = f"SELECT {ident}, {values.replace('{start}', str(start))}"
                cursor.execute(
                    f"INSERT INTO {table} (id, {columns}) "
                    f"{numbers.format(rows=rows, select=select)}"
                )
        if connection.vendor == "sqlite":
            connection.close()  # and with it these settings

    def forget(self, supervised: Supervised) -> None:
        """It has ended and was reaped; ``close`` need not look at it."""
        supervised.process.wait(10)
        self.started.remove(supervised)


def kill(pid: int) -> None:
    """SIGKILL to one process that we, or one of ours, started."""
    os.kill(pid, signal.SIGKILL)


def attempts(ids: list[Any]) -> Iterator[tuple[Any, str, int]]:
    """Id, status and number of attempts of some tasks."""
    rows = DBTaskResult.objects.filter(pk__in=ids).values_list("pk", "status", "worker_ids")
    for pk, status, workers in rows:
        yield pk, status, len(workers)


_FINISHED = {
    "status": "'SUCCESSFUL'",
    "enqueued_at": "'2026-01-01 00:00:00'",
    "started_at": "'2026-01-01 00:00:01'",
    "finished_at": "'2026-01-01 00:00:02'",
    "args_kwargs": """'{"args": [], "kwargs": {}}'""",
    "priority": "0",
    "task_path": "'benchmarks.tasks.nothing'",
    "worker_ids": """'["bench.1"]'""",
    "queue_name": "'default'",
    "backend_name": "'default'",
    "run_after": "'9999-01-01 00:00:00'",
    "return_value": "'null'",
    "exception_class_path": "''",
    "traceback": "''",
}
_IDS = {
    "sqlite": "lower(hex(randomblob(16)))",
    "postgresql": "gen_random_uuid()",
    "mysql": "uuid()",
}
# A time of so many microseconds, as Django writes it.
_TIMES = {
    "sqlite": (
        "strftime('%Y-%m-%d %H:%M:%S', {at} / 1000000, 'unixepoch')"
        " || printf('.%06d', max({at} % 1000000, 1))"
    ),
    "postgresql": "to_timestamp({at} / 1000000.0)",
    "mysql": "'1970-01-01 00:00:00' + INTERVAL {at} MICROSECOND",
}
_COUNT = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) "
_NUMBERS = {
    "sqlite": _COUNT + "{select} FROM n",
    "postgresql": "{select} FROM generate_series(1::bigint, {rows}) AS n(i)",
    "mysql": _COUNT + "{select} FROM n",
}
