"""The supervisor keeps its keeper and its workers going, and takes them with it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest

from argus_maint.clock import now
from argus_maint.jobs.duties import threaded_duties
from argus_maint.models import Process
from argus_maint.workers import keeper as keeper_module
from argus_maint.workers import supervisor as module
from argus_maint.workers.board import Board
from argus_maint.workers.children import Child
from argus_maint.workers.identity import this_host
from argus_maint.workers.keeper import Keeper
from argus_maint.workers.registry import Group
from argus_maint.workers.supervisor import Supervisor, SupervisorOptions
from tests import tasks
from tests.lab import Lab, Supervised, gone, until


def beats(worker: Supervised) -> int:
    (row,) = worker.rows("supervisor")
    return row.beats


# -- workers -----------------------------------------------------------------------


def restarted(worker: Supervised) -> float:
    """Kill its only worker, and return how long there was none."""
    (pid,) = worker.worker_pids()
    os.kill(pid, signal.SIGKILL)
    since = time.monotonic()
    until(lambda: worker.worker_pids() not in ([], [pid]), what="a new worker")
    return time.monotonic() - since


def test_a_worker_that_dies_without_work_is_restarted_later_each_time(lab: Lab) -> None:
    worker = lab.worker().ready()
    delays = [restarted(worker) for _ in range(2)]
    # Machines are slow, clocks are not: at least the delay has passed each time.
    assert delays[0] >= 0.5
    assert delays[1] >= 1.0
    lab.until_status(tasks.add.enqueue(1, 2), "SUCCESSFUL")


@pytest.fixture
def idle() -> Iterator[Supervisor]:
    """A supervisor that has started nothing."""
    options = SupervisorOptions(processes=1, grace=30, lease=15, beat=5, batch=False)
    supervisor = Supervisor(options, Board(1), lambda *_: None, lambda *_: None)
    yield supervisor
    for descriptor in (*supervisor.lifeline, *supervisor.wakeup, supervisor.places[0].stack):
        os.close(descriptor)


def test_the_delay_grows_to_a_bound_and_starts_anew_after_a_finished_task(
    idle: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "now", lambda: 0.0)
    (place,), (slot,) = idle.places, idle.board.slots

    def delay(clean: bool, finished: int) -> float:
        slot.raw.finished = finished
        idle._plan_restart(place, Child(1, 0, 1, -1, slot, -1), clean)
        return place.start_at

    assert [delay(clean=False, finished=0) for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert delay(clean=False, finished=1) == 0.5
    assert [delay(clean=False, finished=0) for _ in range(2)] == [0.5, 1]
    assert delay(clean=True, finished=1) == 0  # recycled, and useful


def test_every_child_has_a_worker_id_of_its_own(lab: Lab) -> None:
    first = lab.worker("--processes=2", name="same").ready(2)
    ids = {row.worker_id for row in first.rows()}
    os.kill(first.worker_pids()[0], signal.SIGKILL)

    def replaced() -> bool:
        now = {row.worker_id for row in first.rows()}
        return len(now) == 2 and now != ids

    until(replaced, what="two workers again")
    first.stop()
    second = lab.worker("--processes=2", name="same").ready(2)
    assert second.stop() == 0
    rows = Process.objects.filter(kind="worker", name="same")
    assert rows.count() == 5
    assert all(row.worker_id.startswith("same.") for row in rows)


def test_a_fork_that_fails_is_tried_again(life: Lab) -> None:
    # The keeper is forked first, then two workers; the third try of all fails, twice.
    worker = life.worker("--processes=2", LIFE_FORKS_FAIL="[2, 2]").ready(2)
    life.until_status(tasks.add.enqueue(1, 2), "SUCCESSFUL")
    assert worker.log.count("fork.failed") == 2
    assert worker.stop() == 0


def test_a_supervisor_has_no_database_connection_and_no_thread(lab: Lab) -> None:
    worker = lab.worker().ready()
    lab.until_status(tasks.add.enqueue(1, 2), "SUCCESSFUL")
    process = psutil.Process(worker.pid)
    assert process.num_threads() == 1
    assert process.net_connections() == []
    assert [file.path for file in process.open_files() if "test_argus_maint" in file.path] == []


# -- the keeper ----------------------------------------------------------------------


def undisturbed(lab: Lab, result: Any) -> None:
    """Let the task end: it was run once, by one worker, and taken from nobody."""
    Path(lab.path("go")).touch()
    row = lab.until_status(result, "SUCCESSFUL")
    assert len(row.worker_ids) == 1
    assert lab.ledger(result) == []


def another_keeper(worker: Supervised, old: int) -> int:
    """The pid of the keeper that has replaced this one."""

    def replaced() -> int:
        with contextlib.suppress(StopIteration, psutil.NoSuchProcess):  # there is none yet
            return gone(old) and worker.keeper_pid()
        return 0

    return until(replaced, what="another keeper")


def test_a_killed_keeper_is_replaced_and_the_task_in_hand_goes_on(lab: Lab) -> None:
    worker = lab.worker("--lease=1.5").ready()
    result = tasks.wait_for.enqueue(lab.path("go"))
    lab.until_status(result, "RUNNING")

    before = worker.keeper_pid()
    os.kill(before, signal.SIGKILL)
    another_keeper(worker, before)
    seen = beats(worker)
    until(lambda: beats(worker) > seen + 1, what="beats of the new keeper")

    undisturbed(lab, result)
    # The new keeper knows the workers of the old one: a death is still seen to.
    result = tasks.append.enqueue(lab.path("out"), "a", 1)
    until(lambda: lab.lines("out"))
    os.kill(lab.holder(result).pid, signal.SIGKILL)
    assert len(lab.until_status(result, "SUCCESSFUL").worker_ids) == 2


def test_a_stopped_keeper_is_replaced_after_half_a_lease(lab: Lab) -> None:
    worker = lab.worker("--lease=2").ready()
    result = tasks.wait_for.enqueue(lab.path("go"))
    lab.until_status(result, "RUNNING")

    before = worker.keeper_pid()
    os.kill(before, signal.SIGSTOP)
    since = time.monotonic()
    another_keeper(worker, before)

    assert time.monotonic() - since > 0.5  # a beat takes two thirds of that: no hasty end
    assert "keeper.silent" in worker.log
    undisturbed(lab, result)


def test_a_death_that_no_keeper_was_there_for_is_seen_to_by_the_next(lab: Lab) -> None:
    worker = lab.worker("--lease=3").ready()
    result = tasks.append.enqueue(lab.path("out"), "a", 2)
    until(lambda: lab.lines("out"))
    keeper = worker.keeper_pid()
    os.kill(keeper, signal.SIGSTOP)

    os.kill(lab.holder(result).pid, signal.SIGKILL)
    until(lambda: "worker.ended" in worker.log)
    os.kill(keeper, signal.SIGKILL)

    lab.until_status(result, "SUCCESSFUL")
    (entry,) = lab.ledger(result)
    assert (entry.verdict, entry.exit_signal) == ("exited", "SIGKILL")


def test_a_keeper_never_waits_so_long_that_it_would_be_taken_for_silent() -> None:
    """A lease of two beats is allowed, and half of it is a whole beat."""
    group = Group(uuid4(), "w", this_host(), lease=10, info={})
    keeper = Keeper(group, "0" * 12, Board(1), [], [], -1, threaded_duties(), beat=5, retention=1)
    keeper.next_beat = keeper.next_pass = now() + 5
    assert 0 < keeper._until_next() <= 10 / 4
    keeper.next_beat = now() - 1
    assert keeper._until_next() < 0


def test_beats_go_from_start_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that takes its time does not stretch the rhythm; one that outlasts it does."""
    clock, began = [1000.0], []
    takes = iter([0.0, 2.0, 1.0, 7.0, 0.5, 0.0])

    def slow(*arguments: Any) -> int:
        began.append(clock[0])
        clock[0] += next(takes)
        return 0

    monkeypatch.setattr(keeper_module, "now", lambda: clock[0])
    monkeypatch.setattr(keeper_module.registry, "beat", slow)
    group = Group(uuid4(), "w", this_host(), lease=15, info={})
    keeper = Keeper(group, "0" * 12, Board(1), [], [], -1, threaded_duties(), beat=5, retention=1)
    for _ in range(6):
        clock[0] = max(clock[0], keeper.next_beat)
        keeper._beat()
    assert began == [1000, 1005, 1010, 1015, 1022, 1027]


def test_a_keeper_that_fails_again_and_again_is_restarted_later_each_time(
    idle: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = 100.0
    monkeypatch.setattr(module, "now", lambda: clock)
    started: list[float] = []

    def start() -> None:
        started.append(clock)
        idle.keeper_pid, idle.keeper_orders = 1, os.open(os.devnull, os.O_WRONLY)
        idle.keeper_started_at = clock

    monkeypatch.setattr(idle, "_start_keeper", start)
    while len(started) < 6:
        idle.board.header.keeper_alive = clock
        idle._see_to_keeper()
        if idle.keeper_pid:
            clock += 0.2
            idle.board.header.last_commit = clock  # it beats, and then fails
            idle._keeper_ended(1 << 8)
        clock += 0.01
    gaps = [after - before for before, after in zip(started, started[1:], strict=False)]
    assert gaps[0] < 0.3  # the first death may be bad luck
    assert gaps == sorted(gaps)
    assert gaps[-1] > 1


def test_one_update_a_beat_whatever_the_number_of_workers(life: Lab) -> None:
    worker = life.worker("--processes=4", "--lease=3", LIFE_SQL=life.path("sql")).ready(4)
    until(lambda: beats(worker) >= 6)
    assert worker.stop() == 0
    rows = Process.objects.filter(name=worker.name)
    (supervisor,) = rows.filter(kind="supervisor")
    updates = [
        line
        for line in life.lines("sql")
        if "UPDATE" in line.split()
        and '"beats"' in line
        or "UPDATE `argus_maint_process` SET `beats`" in line
    ]
    assert len(updates) == supervisor.beats
    assert all(row.beats >= 4 for row in rows)
    assert len({line.split()[0] for line in updates}) == 1  # and from one process


# -- the end -------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", [True, False], ids=["by the kernel", "by the lifeline"])
def test_a_killed_supervisor_takes_its_children_with_it(life: Lab, kernel: bool) -> None:
    patch = {} if kernel else {"argus_maint.workers.children._ask_kernel()": False}
    worker = life.worker("--processes=2", LIFE_PATCH=json.dumps(patch)).ready(2)
    life.until_status(tasks.sleep.enqueue(600), "RUNNING")
    tree = worker.tree()
    assert len(tree) == 4
    threads = {psutil.Process(pid).num_threads() for pid in tree[1:]}
    assert threads == {1 if kernel else 2}

    os.kill(worker.pid, signal.SIGKILL)

    until(lambda: all(map(gone, tree)), 10, "all of them gone")


def test_a_messenger_that_hangs_in_a_receiver_goes_with_them(life: Lab) -> None:
    life.setting(RESCUE={"*": {"max_losses": 1}})
    worker = life.worker(LIFE_SIGNALS=life.path("signals"), LIFE_HANG="1").ready()
    result = tasks.os_exit.enqueue(0)
    life.until_status(result, "FAILED")
    until(lambda: any(line.startswith("hanging") for line in life.lines("signals")))
    tree = worker.tree()
    (messenger,) = [int(x.split()[2]) for x in life.lines("signals") if x.startswith("hanging")]
    assert messenger in tree

    os.kill(worker.pid, signal.SIGKILL)

    until(lambda: all(map(gone, tree)), 10, "all of them gone")
