"""RQ alone: what is lost when horses and their workers are killed, and what is not."""

from __future__ import annotations

import math
import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from argus_maint.backends.adapters.rq import fleet, losses, processes
from argus_maint.exceptions import TaskDiscarded, WorkerLost
from argus_maint.models import LedgerEntry
from tests.backends.adapters.rq_help import (
    FAILED,
    adapter,
    entry,
    finished,
    lost_one,
    running,
)
from tests.backends.adapters.world import alive, began, ended
from tests.backends.adapters.world_rq import RQWorld
from tests.lab import until


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_what_a_kill_leaves_and_what_it_does_not(rq: RQWorld, tmp_path: Path) -> None:
    """Both killed: found within 100 s. The worker alone: its horse ends the task, once."""
    out = tmp_path / "out"
    both, worker, _ = running(rq, out, "both", 30)
    alone, parent, horse = running(rq, out, "alone", 170)
    idle_from = time.monotonic()
    rq.kill(worker)
    rq.kill_alone(parent)
    assert alive(horse)
    seen: dict[str, float] = {}

    def found() -> bool:
        for lost in rq.adapter.lost():
            assert lost.task_id == both, "the one whose horse goes on is not lost"
            seen.setdefault("first", time.monotonic() - idle_from)
            if not lost.confirms_in:
                assert lost.verdict == "exited"
                assert "gone from this host" in lost.evidence
                seen.setdefault("certain", time.monotonic() - idle_from)
            else:
                assert 0 < lost.confirms_in <= 60
        time.sleep(0.5)
        return "certain" in seen

    until(found, 100, "the abandoned task")
    print(f"first seen after {seen['first']:.0f} s, certain after {seen['certain']:.0f} s")
    assert [act.action for act in rq.rescue()] == ["requeued"]
    # A worker that starts does rq's maintenance: it fails the task that its horse still runs.
    rq.worker("next")
    until(lambda: rq.status(both) == "SUCCESSFUL", 60)
    assert (len(began(out, "both")), ended(out, "both")) == (2, 1)
    until(lambda: rq.status(alone) == "FAILED", what="rq to take it for abandoned")
    assert alive(horse)
    assert rq.adapter.lost() == []
    until(lambda: ended(out, "alone") == 1, 150)
    until(lambda: rq.status(alone) == "SUCCESSFUL")
    assert rq.adapter.lost() == []
    assert len(began(out, "alone")) == 1


def test_a_horse_that_is_killed_is_a_loss_with_its_signal(rq: RQWorld, tmp_path: Path) -> None:
    out = tmp_path / "out"
    task_id, worker, horse = running(rq, out, "x", 600)
    os.kill(horse, signal.SIGKILL)
    until(lambda: rq.status(task_id) == "FAILED")
    (lost,) = rq.adapter.lost()
    assert (lost.verdict, lost.exit_signal, lost.attempt) == ("exited", "SIGKILL", 1)
    assert lost.task_path == "tests.tasks.append"
    assert lost.confirms_in == 0
    rq.rescue()
    until(lambda: len(began(out, "x")) == 2, what="the second attempt")
    os.kill(began(out, "x")[1], signal.SIGKILL)
    until(lambda: rq.status(task_id) == "FAILED")
    (lost,) = rq.adapter.lost()
    assert lost.attempt == 2
    assert rq.adapter.fail(lost, entry(rq, lost, **FAILED, evidence="twice"), WorkerLost)
    assert rq.errors(task_id) == ["argus_maint.exceptions.WorkerLost"]
    assert rq.adapter.lost() == []
    assert worker.process.poll() is None


def test_what_a_person_has_discarded_is_not_found_again(rq: RQWorld, tmp_path: Path) -> None:
    _, _, horse = running(rq, tmp_path / "out", "x", 600)
    os.kill(horse, signal.SIGKILL)
    (lost,) = until(rq.adapter.lost)
    act = entry(rq, lost, action=LedgerEntry.Action.DISCARDED)
    assert rq.adapter.fail(lost, act, TaskDiscarded)
    assert rq.adapter.lost() == []


def test_a_server_that_went_back_in_time_has_its_lost_tasks_found_again(
    rq: RQWorld, tmp_path: Path
) -> None:
    """An old snapshot, or a replica that had not heard of the requeue."""
    task_id, _, horse = running(rq, tmp_path / "out", "x", 600)
    os.kill(horse, signal.SIGKILL)
    (lost,) = until(rq.adapter.lost)
    kept = {each: rq.redis.dump(each) for each in rq.redis.keys(f"rq:*{task_id}")}
    for worker in rq.lab.started:
        rq.kill(worker)
    assert rq.adapter.requeue(lost, entry(rq, lost))
    for each, stored in kept.items():
        rq.redis.restore(each, 0, stored, replace=True)
    rq.redis.lrem("rq:queue:default", 0, task_id)
    rq.redis.zadd("rq:failed:default", {task_id: time.time() + 1e6})
    assert [each.task_id for each in rq.adapter.lost()] == [task_id]


def test_a_lost_task_is_found_behind_many_that_only_failed(rq: RQWorld, tmp_path: Path) -> None:
    task_id, worker, horse = running(rq, tmp_path / "out", "x", 600)
    os.kill(horse, signal.SIGKILL)
    until(lambda: rq.status(task_id) == "FAILED")
    for other in finished(rq, 1200):
        rq.redis.hset(f"rq:job:{other}", "status", "failed")
        rq.redis.zadd("rq:failed:default", {other: time.time() + 1e9})
    made = adapter(rq)
    assert [each.task_id for each in made.lost()] == [task_id]
    assert [each.task_id for each in made.lost()] == [task_id], "also at the second look"
    assert worker.process.poll() is None


def test_one_past_its_timeout_is_given_the_time_that_its_worker_needs(
    rq: RQWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """rq lets its mark expire while it still runs; here by all that another host can see."""
    monkeypatch.setattr(losses.Look, "grace", 0.0)  # the server has just been started
    task_id, worker, _ = running(rq, tmp_path / "out", "x", 600)
    rq.kill(worker)
    monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
    (mark,) = rq.redis.scan_iter(f"rq:execution:{task_id}:*")
    rq.redis.pexpire(mark, 20_000)
    (lost,) = rq.adapter.lost()
    assert lost.confirms_in <= 20, "its timeout is far away"
    rq.redis.hset(f"rq:job:{task_id}", "timeout", 1)
    (lost,) = rq.adapter.lost()
    assert 45 < lost.confirms_in <= 51, "the mark has yet to expire"
    rq.let_expire(task_id)
    (lost,) = rq.adapter.lost()
    assert 29 < lost.confirms_in <= 31


def test_a_task_that_rq_found_first_is_a_loss(rq: RQWorld, tmp_path: Path) -> None:
    lost = lost_one(rq, tmp_path / "out", seconds=3)
    now = time.time()
    for member in rq.redis.zrange("rq:wip:default", 0, -1):
        rq.redis.zadd("rq:wip:default", {member: now - 1})
    worker = rq.worker("maintains")
    until(lambda: rq.status(lost.task_id) == "FAILED")
    assert rq.errors(lost.task_id) == ["rq.exceptions.AbandonedJobError"]
    (found,) = rq.adapter.lost()
    assert found.attempt == lost.attempt == 1
    assert "rq found it abandoned" in found.evidence
    assert not rq.adapter.requeue(lost, entry(rq, lost)), "it is not as it was read"
    assert rq.adapter.requeue(found, entry(rq, found))
    until(lambda: rq.status(found.task_id) == "SUCCESSFUL")
    assert rq.errors(found.task_id) == []
    assert LedgerEntry.objects.count() == 1
    assert worker.process.poll() is None


def test_a_horse_that_goes_on_is_not_lost(rq: RQWorld, tmp_path: Path) -> None:
    task_id, worker, horse = running(rq, tmp_path / "out", "x", 600)
    rq.kill_alone(worker)
    rq.let_expire(task_id)
    try:
        assert rq.adapter.lost() == []
        fleet._remembered.clear()
        rq.redis.delete("rq:worker:of-x")  # where it ran is not known any more
        (maybe,) = rq.adapter.lost()
        assert maybe.confirms_in == math.inf
        assert f"process {horse} of this host may be at it" in maybe.evidence
        assert [each.pid for each in processes.table().orphans()] == [horse]
    finally:
        os.kill(horse, signal.SIGKILL)
    until(lambda: not alive(horse) or psutil.Process(horse).status() == "zombie")
    assert [each.task_id for each in rq.adapter.lost()] == [task_id]


def test_a_worker_that_is_stopped_is_not_lost(rq: RQWorld, tmp_path: Path) -> None:
    task_id, worker, _ = running(rq, tmp_path / "out", "x", 5)
    worker.signal_tree(signal.SIGSTOP)
    rq.let_expire(task_id)
    assert rq.adapter.lost() == []
    worker.signal_tree(signal.SIGCONT)
    until(lambda: rq.status(task_id) == "SUCCESSFUL")


@pytest.mark.parametrize("name", ["of-x", "successor"])
def test_a_pid_that_another_worker_has_by_now_proves_nothing(
    rq: RQWorld, tmp_path: Path, name: str
) -> None:
    """As in containers: same host name, same pid, whatever its name."""
    task_id, worker, _ = running(rq, tmp_path / "out", "x", 600)
    rq.kill(worker)
    old = rq.redis.hgetall("rq:worker:of-x")
    rq.let_expire(task_id)
    assert len(rq.adapter.lost()) == 1
    rq.redis.delete("rq:worker:of-x")
    successor = rq.worker(name)
    if name != "of-x":
        rq.redis.hset("rq:worker:of-x", mapping={**old, "pid": successor.pid})
    assert [each.task_id for each in rq.adapter.lost()] == [task_id]


def test_where_no_process_can_be_looked_at_only_the_entry_counts(
    rq: RQWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = lost_one(rq, tmp_path / "out")
    assert lost.verdict == "exited"
    monkeypatch.setattr(processes, "PROC", tmp_path)
    (again,) = rq.adapter.lost()
    assert again.verdict == "expired"
    assert "no process table" in again.evidence
    assert "cannot be looked at" in rq.adapter.workers()[0].evidence


def test_a_task_of_another_host_says_that_only_its_entry_can_tell(
    rq: RQWorld, tmp_path: Path
) -> None:
    task_id, worker, _ = running(rq, tmp_path / "out", "x", 600)
    rq.redis.hset("rq:worker:of-x", "hostname", "elsewhere")
    rq.kill(worker)
    rq.let_expire(task_id)
    (lost,) = rq.adapter.lost()
    assert (lost.verdict, lost.host) == ("expired", "elsewhere")
    assert "only its entry can tell" in lost.evidence


def test_workers_are_told_alive_from_dead(rq: RQWorld, tmp_path: Path) -> None:
    task_id, worker, horse = running(rq, tmp_path / "out", "x", 600)
    idle = rq.worker("idle")
    known = {each.name: each for each in rq.adapter.workers()}
    assert (known["of-x"].task, known["of-x"].pid) == (task_id, worker.pid)
    assert {each.alive for each in known.values()} == {True}
    rq.kill_alone(worker)
    idle.stop()
    (dead,) = rq.adapter.workers()
    assert dead.alive is False
    assert f"its work horse {horse} goes on" in dead.evidence
    rq.redis.delete("rq:worker:of-x")
    (dead,) = rq.adapter.workers()
    assert dead.alive is False
    assert "expired" in dead.evidence
    os.kill(horse, signal.SIGKILL)


def test_a_task_that_was_taken_and_not_begun(
    rq: RQWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = rq.append(tmp_path / "out", "x")
    rq.redis.lmove("rq:queue:default", "rq:queue:default:intermediate")
    (lost,) = rq.adapter.lost()
    assert 50 < lost.confirms_in <= 60
    monkeypatch.setattr("argus_maint.backends.adapters.rq.losses.STUCK", 0.0)
    assert [act.action for act in rq.rescue()] == ["requeued"]
    rq.worker()
    until(lambda: rq.status(task_id) == "SUCCESSFUL")


@pytest.mark.parametrize(
    ("line", "is_rq"),
    [
        ("python manage.py rqworker default", True),
        ("/venv/bin/rq worker", True),
        ("rq:worker:w1: Processing x.y from default", True),
        ("sh -c exec-manage.py rqworker", True),
        ("python manage.py db_worker", False),
        ("vi rqworker.py", False),
    ],
)
def test_command_lines(line: str, is_rq: bool) -> None:
    words = [line] if line.startswith("rq:") else line.split(" ")
    assert processes.is_rq(words) is is_rq
