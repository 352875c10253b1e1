"""What a task comes to, whom it is told, and what it leaves behind in its worker."""

from __future__ import annotations

from typing import Any

import psutil
import pytest
from django.db import connection
from django_tasks_db.models import DBTaskResult

from tests import tasks
from tests.lab import Lab, Supervised, until
from tests.workers import chores

# -- signals -----------------------------------------------------------------------


def signals(lab: Lab, result: Any) -> list[str]:
    """What was sent about a task, in order."""
    lines = (line.split() for line in lab.lines("signals"))
    return [f"{name} {status}" for name, task_id, status in lines if task_id == str(result.id)]


def test_each_task_is_announced_once_when_it_starts_and_once_when_it_ends(life: Lab) -> None:
    worker = life.worker("--processes=2", LIFE_SIGNALS=life.path("signals")).ready(2)
    good, bad = tasks.add.enqueue(1, 2), tasks.fail.enqueue("no")
    unstorable = tasks.unserialisable.enqueue()
    life.until_status(good, "SUCCESSFUL")
    life.until_status(bad, "FAILED")
    life.until_status(unstorable, "FAILED")
    assert worker.stop() == 0
    # A save, because the stock worker saves the row and a site may listen to that.
    assert signals(life, good) == ["started RUNNING", "saved SUCCESSFUL", "finished SUCCESSFUL"]
    failed = ["started RUNNING", "saved FAILED", "finished FAILED"]
    assert signals(life, bad) == failed
    assert signals(life, unstorable) == failed


def test_a_task_that_is_refused_by_a_receiver_before_it_starts_has_failed(life: Lab) -> None:
    life.worker(LIFE_REFUSE="1", LIFE_SIGNALS=life.path("signals")).ready()
    result = chores.note.enqueue(life.path("out"), "ran")
    row = life.until_status(result, "FAILED")
    assert row.exception_class_path == "builtins.RuntimeError"
    assert "a receiver of task_started" in row.traceback
    assert life.lines("out") == []
    until(lambda: signals(life, result)[-1] == "finished FAILED")


def test_a_task_that_is_quarantined_is_announced_too(life: Lab) -> None:
    life.setting(RESCUE={"*": {"max_losses": 1}})
    life.worker(LIFE_SIGNALS=life.path("signals")).ready()
    result = tasks.os_exit.enqueue(0)
    life.until_status(result, "FAILED")
    until(lambda: "finished FAILED" in signals(life, result))


# -- outcomes ------------------------------------------------------------------------


def failed(lab: Lab, result: Any, error: str) -> DBTaskResult:
    row = lab.until_status(result, "FAILED")
    assert row.exception_class_path == error
    assert row.return_value is None
    assert error.rpartition(".")[2] in row.traceback
    return row


def test_whatever_a_task_comes_to_can_be_written_down(lab: Lab) -> None:
    worker = lab.worker().ready()
    pids = worker.worker_pids()
    value, error = chores.nul_value.enqueue(), chores.nul_error.enqueue()
    unstorable, odd = tasks.unserialisable.enqueue(), chores.not_a_number.enqueue()

    row = failed(lab, error, "builtins.LookupError")
    assert "before\\x00after \\udcff" in row.traceback
    failed(lab, unstorable, "builtins.TypeError")
    if connection.vendor == "postgresql":
        failed(lab, value, "django.db.utils.DataError")
    else:
        assert lab.until_status(value, "SUCCESSFUL").return_value == "before\0after"
    until(lambda: lab.row(odd).finished_at)
    assert lab.until_status(tasks.whoami.enqueue(), "SUCCESSFUL").return_value == pids[0]


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("tests.no_such_module.task", "builtins.ModuleNotFoundError"),
        ("tests.tasks.no_such_task", "builtins.ImportError"),
        ("tests.workers.explodes.task", "builtins.RuntimeError"),
        ("tests.tasks.Path", "django.core.exceptions.SuspiciousOperation"),
    ],
)
def test_a_task_whose_code_is_gone_has_failed_and_its_worker_lives(
    lab: Lab, path: str, error: str
) -> None:
    result = tasks.add.enqueue(1, 2)
    DBTaskResult.objects.filter(pk=result.id).update(task_path=path)
    worker = lab.worker().ready()
    failed(lab, result, error)
    until(lambda: "task.unknown" in worker.log)
    pids = worker.worker_pids()
    assert lab.until_status(tasks.whoami.enqueue(), "SUCCESSFUL").return_value == pids[0]


def test_a_task_may_ask_for_its_context(lab: Lab) -> None:
    lab.worker().ready()
    result = chores.my_attempt.enqueue(7)
    row = lab.until_status(result, "SUCCESSFUL")
    assert row.return_value == [str(result.id), 1, 7]


# -- connections -----------------------------------------------------------------------


def links(pid: int) -> int:
    """How many connections to the database a process has open."""
    process = psutil.Process(pid)
    if connection.vendor == "sqlite":
        name = str(connection.settings_dict["NAME"])
        return sum(file.path == name for file in process.open_files())
    port = connection.settings_dict["PORT"]
    return sum(link.raddr and link.raddr.port == port for link in process.net_connections())


def idle(lab: Lab, age: str) -> tuple[Supervised, int]:
    """A worker that has done ten tasks in a row, with its queue empty again; and its pid."""
    results = [tasks.whoami.enqueue() for _ in range(10)]
    env = {"LIFE_SQL": lab.path("sql"), "LIFE_CONN_MAX_AGE": age}
    worker = lab.worker("--interval=600", "--lease=1", **env)
    pid = lab.until_status(results[-1], "SUCCESSFUL").return_value
    return worker, pid


def connects(lab: Lab, pid: int) -> int:
    lines = (line.split() for line in lab.lines("sql"))
    return sum(words[0] == str(pid) and words[2] == "CONNECT" for words in lines)


def test_a_busy_worker_keeps_its_connection_and_an_idle_one_closes_it(life: Lab) -> None:
    _, pid = idle(life, "0")
    until(lambda: links(pid) == 0, what="closed when idle")
    assert connects(life, pid) == 1


def test_an_idle_worker_keeps_its_connection_where_the_setting_says_so(life: Lab) -> None:
    worker, pid = idle(life, "600")
    until(lambda: len(worker.rows()) == 1)
    row = worker.rows("supervisor")[0]
    until(lambda: worker.rows("supervisor")[0].beats > row.beats, what="a beat later")
    assert links(pid) >= 1


@pytest.mark.parametrize("age", ["0", "null"])
def test_a_transaction_that_a_task_leaves_open_swallows_nothing(life: Lab, age: str) -> None:
    worker = life.worker(LIFE_CONN_MAX_AGE=age).ready()
    first, second = tasks.leave_transaction_open.enqueue(), tasks.leave_transaction_open.enqueue()
    assert life.until_status(first, "SUCCESSFUL").return_value == "left"
    assert life.until_status(second, "SUCCESSFUL").return_value == "left"
    failing = chores.leave_transaction_open_and_fail.enqueue()
    life.until_status(failing, "FAILED")
    assert worker.stop() == 0
    assert life.ledger(first) == life.ledger(second) == life.ledger(failing) == []
    assert worker.log.count("task.left_transaction_open") == 3


def test_a_task_that_turns_autocommit_off_swallows_nothing(life: Lab) -> None:
    life.worker(LIFE_CONN_MAX_AGE="null").ready()
    result = chores.turn_autocommit_off.enqueue()
    assert life.until_status(result, "SUCCESSFUL").return_value == "off"
    life.until_status(tasks.add.enqueue(1, 2), "SUCCESSFUL")


@pytest.mark.skipif(connection.vendor != "postgresql", reason="a search_path is PostgreSQL's")
def test_a_task_that_changes_the_search_path_has_ended_all_the_same(life: Lab) -> None:
    worker = life.worker(LIFE_CONN_MAX_AGE="null").ready()
    result = chores.leave_search_path.enqueue()
    assert life.until_status(result, "SUCCESSFUL").return_value == "nowhere"
    life.until_status(tasks.add.enqueue(1, 2), "SUCCESSFUL")
    assert life.ledger(result) == []
    assert "worker.ended" not in worker.log


def test_an_error_longer_than_the_database_takes_does_not_keep_its_task(lab: Lab) -> None:
    worker = lab.worker().ready()
    pids = worker.worker_pids()
    result = chores.raise_at_length.enqueue(17)  # MariaDB's max_allowed_packet is 16 MiB
    row = lab.until_status(result, "FAILED")
    assert row.traceback
    assert lab.ledger(result) == []
    assert lab.until_status(tasks.whoami.enqueue(), "SUCCESSFUL").return_value == pids[0]
