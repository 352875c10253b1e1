"""``--reload``: one worker in the process itself, for development."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from argus_maint.models import LedgerEntry, Process
from tests import tasks
from tests.lab import Lab, Supervised, until


@pytest.fixture
def site(life: Lab) -> Path:
    """A module of the site, that a test may touch."""
    module = Path(life.path("module_of_the_site.py"))
    module.write_text("")
    life.env["PYTHONPATH"] += os.pathsep + str(life.folder)
    life.env["LIFE_IMPORT"] = module.stem
    return module


def touch(module: Path) -> None:
    """Change it; on a coarse clock too."""
    os.utime(module, (module.stat().st_atime, module.stat().st_mtime + 10))


def worker_row(worker: Supervised) -> Process:
    (row,) = worker.rows()
    return row


def test_debug_alone_makes_it_one_process_that_works(life: Lab) -> None:
    worker = life.worker(LIFE_DEBUG="1").ready()
    (child,) = psutil.Process(worker.pid).children(recursive=True)
    assert {row.pid for row in worker.rows() + worker.rows("supervisor")} == {child.pid}
    assert life.until_status(tasks.whoami.enqueue(), "SUCCESSFUL").return_value == child.pid
    assert life.until_status(tasks.fail.enqueue("no"), "FAILED").traceback
    row = life.until_status(tasks.leave_transaction_open.enqueue(), "SUCCESSFUL")
    assert row.worker_ids == [worker_row(worker).worker_id]


def test_no_reload_wins_over_debug(life: Lab) -> None:
    worker = life.worker("--no-reload", LIFE_DEBUG="1").ready()
    assert len(worker.tree()) == 3


def test_a_change_restarts_it_and_the_task_in_hand_is_run_again(life: Lab, site: Path) -> None:
    worker = life.worker("--reload", "--lease=3").ready()
    result = tasks.wait_for.enqueue(life.path("go"))
    life.until_status(result, "RUNNING")
    before = worker_row(worker)

    def restarted() -> bool:
        # Again and again: files are compared from the reloader's first look on.
        if psutil.pid_exists(before.pid):
            touch(site)
        return [row.pid for row in worker.rows()] not in ([], [before.pid])

    until(restarted, what="a new process")
    Path(life.path("go")).touch()

    row = life.until_status(result, "SUCCESSFUL")
    assert row.worker_ids[0] == before.worker_id
    assert len(set(row.worker_ids)) == len(row.worker_ids) > 1
    first = life.ledger(result)[0]
    assert (first.verdict, first.action, first.attempt) == ("exited", "requeued", 1)
    assert (first.reason, first.counted) == ("shutdown", False)
    assert first.noticed_by.startswith(worker.name)
    assert not LedgerEntry.objects.filter(counted=True).exists()


def test_it_ends_on_term(life: Lab) -> None:
    worker = life.worker("--reload").ready()
    tree = worker.tree()
    assert worker.stop() == 0
    until(lambda: not any(map(psutil.pid_exists, tree)), what="both processes gone")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_gives_the_task_in_hand_back_at_once(life: Lab, number: int) -> None:
    worker = life.worker("--reload").ready()
    result = tasks.wait_for.enqueue(life.path("go"))
    os.kill(life.holder(result).pid, number)
    worker.wait()
    assert life.row(result).status == "READY"
    (entry,) = life.ledger(result)
    assert (entry.reason, entry.counted, entry.losses) == ("shutdown", False, 0)
    assert not Process.objects.exclude(state="ended").exists()


def test_a_kill_is_no_loss_either(life: Lab) -> None:
    """SIGTERM to the reloader has it kill the process that works."""
    worker = life.worker("--reload").ready()
    result = tasks.wait_for.enqueue(life.path("go"))
    pid = life.holder(result).pid
    os.kill(pid, signal.SIGKILL)
    worker.wait()
    assert life.manage("maint", "rescue").stdout.startswith("DONE  1 task rescued")
    (entry,) = life.ledger(result)
    assert (entry.action, entry.reason, entry.counted) == ("requeued", "shutdown", False)


def test_it_says_what_it_is(life: Lab) -> None:
    worker = life.worker("--reload").ready()
    (line,) = [line for line in worker.log.splitlines() if "event=worker.reloads" in line]
    assert "without a supervisor" in line
    assert "--no-reload" in line
