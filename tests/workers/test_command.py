"""``manage.py db_worker``: every flag of the stock command, ours, and what is refused."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import execute_from_command_line, get_commands, load_command_class
from django.utils import timezone

from argus_maint.conf import get_settings
from argus_maint.management.commands import db_worker as module
from argus_maint.management.commands.db_worker import Command
from argus_maint.models import Process
from argus_maint.workers.board import Board
from argus_maint.workers.claim import Queues
from argus_maint.workers.worker import Worker, WorkerOptions
from tests import tasks
from tests.lab import Lab, until
from tests.workers import chores

# -- what it is given to do -----------------------------------------------------------


def test_ours_overrides_the_stock_command() -> None:
    app = get_commands()["db_worker"]
    assert app == "argus_maint"
    assert isinstance(load_command_class(app, "db_worker"), Command)


def batch(lab: Lab, *arguments: str, **env: str) -> None:
    assert lab.worker("--batch", *arguments, **env).wait() == 0


@pytest.mark.parametrize(
    ("arguments", "done"),
    [
        ((), "default"),
        (("--queue-name=a",), "a"),
        (("--queue-name", "a,default"), "a default"),
        (("--queue-name=*",), "a b default"),
        (("--queue-name=*", "--exclude-queues=a,default"), "b"),
        (("--queue-name=*", "--exclude-queues="), "a b default"),
    ],
    ids=str,
)
def test_only_the_tasks_of_its_queues_are_taken(
    lab: Lab, arguments: tuple[str, ...], done: str
) -> None:
    results = {
        queue: tasks.add.using(queue_name=queue).enqueue(1, 2) for queue in ("a", "b", "default")
    }
    batch(lab, *arguments)
    finished = [queue for queue, result in results.items() if lab.row(result).status != "READY"]
    assert " ".join(finished) == done


def test_only_the_tasks_of_its_backend_are_taken(life: Lab) -> None:
    results = {name: tasks.add.enqueue(1, 2) for name in ("default", "other")}
    row = life.row(results["other"])
    type(row).objects.filter(pk=row.pk).update(backend_name="other")
    batch(life, "--backend=other")
    assert life.row(results["default"]).status == "READY"
    assert life.row(results["other"]).status == "SUCCESSFUL"


def test_the_most_urgent_comes_first_and_what_is_not_due_not_at_all(life: Lab) -> None:
    out, now = life.path("out"), timezone.now()
    note = chores.note
    note.enqueue(out, "plain")
    note.using(priority=-50).enqueue(out, "minor")
    note.using(priority=50).enqueue(out, "urgent")
    note.using(run_after=now - timedelta(seconds=60)).enqueue(out, "due, later than plain")
    later = note.using(priority=100, run_after=now + timedelta(hours=1)).enqueue(out, "later")
    batch(life)
    assert life.lines("out")[0] == "urgent"
    assert set(life.lines("out")[1:3]) == {"plain", "due, later than plain"}
    assert life.lines("out")[3:] == ["minor"]
    assert life.row(later).status == "READY"


def test_a_task_becomes_due_while_the_worker_waits(life: Lab) -> None:
    soon = timezone.now() + timedelta(seconds=1.5)
    result = chores.note.using(run_after=soon).enqueue(life.path("out"), "x")
    life.worker().ready()
    row = life.until_status(result, "SUCCESSFUL")
    assert row.started_at >= soon


def test_interval_is_how_long_an_idle_worker_waits(lab: Lab) -> None:
    first = tasks.add.enqueue(1, 2)
    worker = lab.worker("--interval=600", "--lease=1").ready()
    lab.until_status(first, "SUCCESSFUL")
    (row,) = worker.rows("supervisor")
    until(lambda: worker.rows("supervisor")[0].beats > row.beats + 2, what="it is idle")
    result = tasks.add.enqueue(1, 2)
    until(lambda: worker.rows("supervisor")[0].beats > row.beats + 6)
    assert lab.row(result).status == "READY"
    assert worker.stop() == 0  # and an order wakes it


def test_worker_id_is_the_name_of_the_supervisor(lab: Lab) -> None:
    lab.worker(name="night.shift-1").ready()
    assert set(Process.objects.values_list("name", flat=True)) == {"night.shift-1"}
    row = lab.until_status(tasks.add.enqueue(1, 2), "SUCCESSFUL")
    assert re.fullmatch(r"night\.shift-1\.[0-9a-f]{12}\.1", row.worker_ids[0])


def test_without_a_name_it_is_called_after_its_host(lab: Lab) -> None:
    result = tasks.add.enqueue(1, 2)
    lab.manage("db_worker", "--batch", "--no-startup-delay")
    (owner,) = lab.row(result).worker_ids
    assert owner.startswith(os.uname().nodename[:40])
    assert len(owner) <= 64  # what the stock command allows


def test_silence_is_possible(lab: Lab) -> None:
    tasks.add.enqueue(1, 2)
    done = lab.manage("db_worker", "--batch", "--no-startup-delay", "-v", "0")
    assert (done.stdout, done.stderr) == ("", "")
    done = lab.manage("db_worker", "--batch", "--no-startup-delay", "-v", "1")
    assert "worker.started" in done.stdout


# -- the flags, without a process ------------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """What would be run with these arguments: (supervisor's options, worker's options)."""
    got: list[Any] = []

    class Supervisor:
        def __init__(self, options: Any, board: Any, work: Any, keep: Any) -> None:
            got[:] = [options, work.__self__.options]

        def run(self) -> int:
            return 0

    def reloader(main: Any) -> None:
        got[:] = [None, main.__self__.options]

    monkeypatch.setattr(module, "Supervisor", Supervisor)
    monkeypatch.setattr(module, "run_with_reloader", reloader)
    monkeypatch.setattr(module, "close_all", lambda: None)

    def run(*arguments: str) -> tuple[Any, Any]:
        execute_from_command_line(["manage.py", "db_worker", *arguments])
        return got[0], got[1]

    return run


def test_the_defaults_are_those_of_the_stock_command(asked: Callable[..., Any]) -> None:
    supervisor, worker = asked()
    assert worker.queues == Queues("default", ("default",), (), worker.name)
    assert (worker.interval, worker.batch, worker.startup_delay) == (1, False, True)
    assert (worker.max_tasks, worker.max_rss, worker.time_limit) == (None, None, None)
    assert (supervisor.processes, supervisor.grace, supervisor.batch) == (1, 30, False)
    assert (supervisor.lease, supervisor.beat) == (15, 5)


def test_each_flag_arrives(asked: Callable[..., Any]) -> None:
    supervisor, worker = asked(
        "--queue-name=*",
        "--exclude-queues=x,y",
        "--interval=0",
        "--batch",
        "--no-reload",
        "--backend=default",
        "--no-startup-delay",
        "--max-tasks=7",
        "--worker-id=" + 64 * "n",
        "--processes=3",
        "--time-limit=1.5",
        "--lease=6",
        "--grace=0",
        "--max-rss=512M",
    )
    assert worker.queues == Queues("default", ("*",), ("x", "y"), worker.name)
    assert (worker.interval, worker.batch, worker.startup_delay) == (0, True, False)
    assert (worker.max_tasks, worker.max_rss, worker.time_limit) == (7, 512 * 2**20, 1.5)
    assert (worker.name, worker.beat) == (64 * "n", 2)
    name, incarnation = worker.name, worker.incarnation
    assert supervisor == module.SupervisorOptions(3, 0, 6, 2, True, 7, name, incarnation)


def test_times_may_have_units(asked: Callable[..., Any]) -> None:
    supervisor, worker = asked("--time-limit=10m", "--grace=2m", "--lease=30s")
    assert (worker.time_limit, supervisor.grace, supervisor.lease) == (600, 120, 30)
    supervisor, worker = asked("--time-limit=1h30m", "--grace=0.5", "--lease=1.5")
    assert (worker.time_limit, supervisor.grace, supervisor.lease) == (5400, 0.5, 1.5)


@pytest.mark.parametrize("flag", ["--exclude-queues", "--max-tasks", "--worker-id"])
def test_a_flag_that_the_stock_command_takes_without_a_value_is_as_if_left_out(
    asked: Callable[..., Any], flag: str
) -> None:
    _, worker = asked(flag)
    assert (worker.queues.excluded, worker.max_tasks) == ((), None)
    assert worker.name


def test_a_setting_decides_the_lease_and_the_flag_wins(
    asked: Callable[..., Any], settings: Any
) -> None:
    settings.ARGUS_MAINT = {"PROCESSES": {"lease": "1m", "beat": 6}}
    assert [asked()[0].lease, asked()[0].beat] == [60, 6]
    assert [asked("--lease=9")[0].lease, asked("--lease=9")[0].beat] == [9, 3]
    get_settings.cache_clear()


def test_the_start_is_spread_unless_asked_not_to(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(Worker, "_sleep", lambda self, seconds: slept.append(seconds))
    monkeypatch.setattr("random.random", lambda: 0.123)
    for delay, interval in ((True, 1), (True, 0), (False, 1)):
        options = WorkerOptions(
            queues=Queues("default", ("default",)),
            interval=interval,
            batch=False,
            startup_delay=delay,
            max_tasks=None,
            max_rss=None,
            time_limit=None,
            name="w",
            incarnation="0" * 12,
            beat=5,
        )
        read, write = os.pipe()
        os.close(write)  # the end of the pipe is an order to leave
        Worker(options, Board(1).slots[0], 1, read).run()
        os.close(read)
    assert slept == [0.123]


# -- what is refused -------------------------------------------------------------------

WRONG = [
    ("--bogus", "unrecognized arguments: --bogus (see manage.py db_worker --help)"),
    ("--proceses=2", 'unrecognized arguments: --proceses=2; Did you mean "--processes"?'),
    ("--processes=0", "'0' is not a whole number of at least 1"),
    ("--processes=1.5", "'1.5' is not a whole number"),
    ("--processes=\N{SUPERSCRIPT TWO}", "is not a whole number"),
    ("--time-limit=0", "it must be longer than 0"),
    ("--time-limit=inf", "it must be a duration such as 90"),
    ("--time-limit=soon", "it must be a duration such as 90"),
    ("--grace=-1", "it must be a duration such as 90"),
    ("--grace=nan", "it must be a duration such as 90"),
    ("--lease=0", "it must be longer than 0"),
    ("--max-rss=512", "'512' is not a size"),
    ("--max-rss=0M", "'0M' is not a size"),
    ("--max-rss=1T", "'1T' is not a size"),
    ("--interval=abc", "--interval"),
    ("--interval=nan", "finite"),
    ("--interval=-1", "--interval"),
    ("--max-tasks=x", "--max-tasks"),
    ("--max-tasks=-1", "greater than zero"),
    ("--backend=nope", "nope"),
    ("--worker-id=", "must not be empty"),
    ("--worker-id=" + 65 * "x", "shorter than 64"),
    ("--lease=0.5", "--lease: the lease must be 1 s or more"),
    ("--max-tasks=0", "--max-tasks"),
    ("--interval", "--interval needs a value"),
    ("--backend", "--backend needs a value"),
    ("--queue-name", "--queue-name names no queue"),
    ("--queue-name=,", "--queue-name names no queue"),
    ("--exclude-queues=a", "--exclude-queues can only be used with --queue-name=*"),
    ("--reload --processes=2", "--reload runs one worker"),
]


@pytest.mark.parametrize(("arguments", "text"), WRONG, ids=[wrong[0] for wrong in WRONG])
def test_a_wrong_value_is_answered_in_one_line(
    asked: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    arguments: str,
    text: str,
) -> None:
    with pytest.raises(SystemExit) as ended:
        asked(*arguments.split())
    (line,) = capsys.readouterr().err.splitlines()
    assert text in line
    assert ended.value.code == 2


def test_in_a_real_process_too_there_is_no_traceback(life: Lab) -> None:
    for arguments, text in (
        ("--processes=none", "'none' is not a whole number"),
        ("--backend=dummy", "not a database backend: look at the setting TASKS"),
        ("--exclude-queues=a", "can only be used with"),
    ):
        done = life.manage("db_worker", arguments, check=False)
        assert done.returncode == 2
        assert text in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr + done.stdout


def test_a_wrong_setting_is_an_error_with_a_hint_and_no_worker_starts(lab: Lab) -> None:
    lab.setting(PROCESSES={"leese": 15})
    done = lab.manage("db_worker", "--batch", check=False)
    assert done.returncode == 1
    assert "argus_maint.E002" in done.stderr
    assert 'Did you mean "lease"?' in done.stderr
    assert "Traceback" not in done.stderr
    assert not Process.objects.exists()


def test_reload_and_batch_exclude_each_other_as_in_the_stock_command(
    asked: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    supervisor, worker = asked("--reload", "--batch")
    assert supervisor is not None
    assert worker.batch
    assert "--reload and --batch" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("debug", "arguments", "reloads"),
    [
        (True, "", True),
        (True, "--no-reload", False),
        (True, "--processes=2", False),
        (True, "--processes=1", False),
        (True, "--batch", False),
        (False, "", False),
        (False, "--reload", True),
    ],
)
def test_code_is_reloaded_where_debug_is_on(
    asked: Callable[..., Any], settings: Any, debug: bool, arguments: str, reloads: bool
) -> None:
    settings.DEBUG = debug
    supervisor, _ = asked(*arguments.split())
    assert (supervisor is None) == reloads
