"""A worker that has done enough, or has grown too large, leaves its place to a new one."""

from __future__ import annotations

import os
import re

from argus_maint.models import Process
from argus_maint.workers.worker import _resident
from tests import tasks
from tests.lab import Lab


def pids(lab: Lab, number: int) -> list[int]:
    """The pids that so many tasks, one after the other, were run by."""
    return [
        lab.until_status(tasks.whoami.enqueue(), "SUCCESSFUL").return_value for _ in range(number)
    ]


def test_max_tasks_replaces_a_worker_at_once_and_counts_as_no_loss(lab: Lab) -> None:
    worker = lab.worker("--max-tasks=2").ready()
    first, second, third, fourth, fifth = pids(lab, 5)
    assert (first, third) == (second, fourth)
    assert len({first, third, fifth}) == 3
    assert worker.stop() == 0
    assert worker.log.count("reason=max_tasks") == 2
    rows = Process.objects.filter(kind="worker", exit_status=0)
    assert set(rows.values_list("pid", "reason", "exit_signal")) >= {
        (first, "stopped", ""),
        (third, "stopped", ""),
    }


def test_a_worker_that_has_grown_is_replaced_after_its_task(lab: Lab) -> None:
    worker = lab.worker("--max-rss=200M").ready()
    assert len(set(pids(lab, 3))) == 1
    grown = lab.until_status(tasks.grow.enqueue(200), "SUCCESSFUL").return_value
    assert grown not in pids(lab, 2)
    assert re.search(r"event=worker.stopped .* reason=max_rss rss=\d+M", worker.log)


def test_resident_memory_is_what_the_process_has_now() -> None:
    before = _resident()
    ballast = os.urandom(64 * 2**20)
    assert _resident() - before > 60 * 2**20
    del ballast
    assert _resident() - before < 60 * 2**20


def test_max_tasks_ends_a_batch(lab: Lab) -> None:
    results = [tasks.whoami.enqueue() for _ in range(3)]
    assert lab.worker("--batch", "--max-tasks=2").wait() == 0
    assert sorted(lab.row(result).status for result in results) == [
        "READY",
        "SUCCESSFUL",
        "SUCCESSFUL",
    ]


def test_max_tasks_is_counted_for_each_worker_of_a_batch(lab: Lab) -> None:
    results = [tasks.append.enqueue(lab.path("out"), "x", 0.2) for _ in range(6)]
    assert lab.worker("--batch", "--max-tasks=2", "--processes=2").wait() == 0
    assert [lab.row(result).status for result in results].count("READY") == 2
    assert len({line.split()[2] for line in lab.lines("out")}) == 2


def test_a_batch_goes_on_after_a_worker_has_grown(lab: Lab) -> None:
    results = [tasks.grow.enqueue(200) for _ in range(3)]
    assert lab.worker("--batch", "--max-rss=200M").wait() == 0
    assert [lab.row(result).status for result in results] == ["SUCCESSFUL"] * 3
    assert len({lab.row(result).return_value for result in results}) == 3
