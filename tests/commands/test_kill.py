"""``maint fail --kill`` and ``maint requeue --kill``: a worker is ended by a person's wish."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from argus_maint.models import Process
from tests import tasks
from tests.commands.calls import maint
from tests.lab import Lab, gone, until


def test_a_task_that_hangs_is_ended_and_failed_and_its_neighbour_goes_on(lab: Lab) -> None:
    web = lab.worker("--processes=2", "--lease=3").ready(2)
    hangs, other = tasks.sleep.enqueue(600), tasks.wait_for.enqueue(lab.path("go"))
    pid, neighbour = lab.holder(hangs).pid, lab.holder(other).pid

    out = maint("fail", str(hangs.id), "--kill", "--why", "it hangs")

    assert "1 failed" in out
    assert "its worker was ended" in out
    row = lab.row(hangs)
    assert (row.status, row.exception_class_path) == (
        "FAILED",
        "argus_maint.exceptions.TaskDiscarded",
    )
    assert "Why: it hangs" in row.traceback
    (entry,) = lab.ledger(hangs)
    assert (entry.verdict, entry.action, entry.counted) == ("manual", "failed", False)
    assert "@" in entry.noticed_by
    until(lambda: gone(pid))
    Path(lab.path("go")).touch()
    lab.until_status(other, "SUCCESSFUL")
    assert neighbour in web.worker_pids()
    assert web.log.count("worker.unwanted") == 1
    assert web.stop() == 0


def test_a_task_that_heeds_no_signal_runs_again_on_another_worker(lab: Lab) -> None:
    lab.worker("--lease=3").ready()
    result = tasks.sleep.enqueue(600)
    os.kill(lab.holder(result).pid, signal.SIGSTOP)
    maint("requeue", str(result.id), "--kill")
    row = until(lambda: len(lab.row(result).worker_ids) == 2 and lab.row(result), 60)
    (entry,) = lab.ledger(result)
    assert (entry.verdict, entry.action, entry.exit_signal) == ("manual", "requeued", "SIGKILL")
    assert row.worker_ids[0] != row.worker_ids[1]


def test_a_wish_outlives_the_keeper(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("argus_maint.jobs.levers.PATIENCE", 0)
    web = lab.worker("--lease=6").ready()
    result = tasks.sleep.enqueue(600)
    lab.holder(result)
    os.kill(web.keeper_pid(), signal.SIGSTOP)
    with pytest.raises(SystemExit):
        maint("fail", str(result.id), "--kill")
    os.kill(web.keeper_pid(), signal.SIGKILL)
    row = lab.until_status(result, "FAILED")
    assert row.exception_class_path == "argus_maint.exceptions.TaskDiscarded"


@pytest.mark.slow
def test_what_the_worker_does_next_is_not_ended(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wish is there, and the task ends by itself before the keeper has looked."""
    monkeypatch.setattr("argus_maint.jobs.levers.PATIENCE", 0)
    web = lab.worker("--lease=30").ready()
    result = tasks.wait_for.enqueue(lab.path("go"))
    owner: Any = lab.holder(result)
    with pytest.raises(SystemExit):
        maint("fail", str(result.id), "--kill")
    assert Process.objects.get(pk=owner.pk).info["wish"]["task_id"] == str(result.id)
    os.kill(web.keeper_pid(), signal.SIGSTOP)
    Path(lab.path("go")).touch()
    if lab.until_status(result, "SUCCESSFUL"):
        following = tasks.wait_for.enqueue(lab.path("go2"))
        assert lab.holder(following).pid == owner.pid
    os.kill(web.keeper_pid(), signal.SIGCONT)
    (head,) = web.rows("supervisor")
    until(lambda: web.rows("supervisor")[0].beats > head.beats + 1, 60)
    Path(lab.path("go2")).touch()
    lab.until_status(following, "SUCCESSFUL")
    assert lab.ledger(following) == []
