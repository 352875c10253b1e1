"""Processes that are stopped and go on, killed and started again."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from argus_maint.models import Process
from tests import tasks
from tests.faults import namespace
from tests.faults.conftest import hold, servers, through
from tests.faults.evidence import acts, announced, deaths, runs, undisturbed
from tests.faults.proxy import Proxy
from tests.faults.tasks import append_and_wait
from tests.faults.test_lost_replies import CLAIM
from tests.lab import Lab, Supervised, until


def worker_pids(supervised: Supervised) -> list[int]:
    """Pids of its workers as its log tells them: a proxy's thread has no database."""
    lines = [line for line in supervised.log.splitlines() if "event=worker.started" in line]
    return [int(line.rpartition("pid=")[2]) for line in lines]


def stopped_after_its_claim(lab: Lab, proxy: Proxy, *arguments: str) -> tuple[Supervised, int]:
    """A worker that stands still, its claim committed and the reply on its way; its pid."""
    stopped: list[int] = []

    def stop() -> None:
        (pid,) = worker_pids(worker)
        os.kill(pid, signal.SIGSTOP)
        stopped.append(pid)

    proxy.before_reply(CLAIM, stop)
    worker = lab.worker(*arguments, **through(proxy))
    return worker, until(lambda: stopped)[0]


# -- shorter than the lease --------------------------------------------------------


def test_a_worker_that_is_stopped_in_the_middle_of_a_task_goes_on(
    lab: Lab, alone: tuple[str, ...]
) -> None:
    worker = lab.worker("--lease=4").ready()
    far = lab.worker("--lease=4", name="far", prefix=alone).ready()
    lab.setting()
    result = tasks.wait_for.enqueue(lab.path("go"))
    holder = lab.holder(result)
    stopped, other = (worker, far) if holder.name == worker.name else (far, worker)
    pid = holder.pid if stopped is worker else namespace.outside(far, holder.pid)

    os.kill(pid, signal.SIGSTOP)
    hold(3)
    os.kill(pid, signal.SIGCONT)
    lab.folder.joinpath("go").touch()

    undisturbed(lab, result)
    assert deaths() == []
    assert len(other.rows()) == 1


def test_a_whole_supervisor_that_is_stopped_for_less_than_its_lease_goes_on(
    lab: Lab, alone: tuple[str, ...]
) -> None:
    worker = lab.worker("--lease=6").ready()
    result = tasks.wait_for.enqueue(lab.path("go"))
    lab.until_status(result, "RUNNING")
    lab.worker("--lease=6", name="far", prefix=alone).ready()

    worker.signal_tree(signal.SIGSTOP)
    hold(3.5)
    worker.signal_tree(signal.SIGCONT)
    (row,) = worker.rows()
    until(lambda: worker.rows()[0].beats > row.beats + 1)
    lab.folder.joinpath("go").touch()

    undisturbed(lab, result)
    assert deaths() == []


@servers
def test_a_worker_that_is_stopped_between_claim_and_start_begins_late(
    lab: Lab, proxy: Proxy
) -> None:
    result = tasks.append.using(queue_name="q").enqueue(lab.path("out"), "a")

    _, pid = stopped_after_its_claim(lab, proxy, "--lease=9", "--queue-name=q")
    hold(2.5)  # less than a beat, which is when its keeper would call the task an orphan
    os.kill(pid, signal.SIGCONT)

    undisturbed(lab, result)
    assert len(runs(lab, "a")) == 1


# -- longer ------------------------------------------------------------------------


@servers
def test_a_worker_that_stands_still_between_claim_and_start_loses_the_task_unharmed(
    lab: Lab, proxy: Proxy
) -> None:
    """Frozen inside its claim, a worker hides no task; woken, it does not run it as well."""
    result = tasks.append.enqueue(lab.path("out"), "a")
    worker, pid = stopped_after_its_claim(lab, proxy, "--lease=6")
    lab.worker("--lease=6", name="other").ready()

    lab.until_status(result, "SUCCESSFUL")

    (entry,) = lab.ledger(result)
    assert (entry.verdict, entry.action, entry.counted) == ("orphaned", "requeued", False)
    with contextlib.suppress(ProcessLookupError):  # ended for standing still that long
        os.kill(pid, signal.SIGCONT)
    undisturbed(lab, tasks.add.enqueue(1, 2))
    assert len(runs(lab, "a")) == 1
    announced(lab, result)
    assert worker.stop() == 0


def test_a_supervisor_that_comes_back_finds_itself_replaced(
    lab: Lab, alone: tuple[str, ...]
) -> None:
    first = lab.worker("--lease=3", name="first").ready()
    result = append_and_wait.enqueue(lab.path("out"), "a", lab.path("go"))
    until(lambda: runs(lab, "a"))
    old = lab.holder(result).worker_id
    far = lab.worker("--lease=3", name="far", prefix=alone).ready()

    first.signal_tree(signal.SIGSTOP)
    until(lambda: len(runs(lab, "a")) == 2, 40)
    first.signal_tree(signal.SIGCONT)
    until(lambda: len(first.rows()) == 1 and first.rows()[0].worker_id == f"{old}-1")
    lab.folder.joinpath("go").touch()

    row = lab.until_status(result, "SUCCESSFUL")
    assert row.worker_ids[0] == old
    assert row.worker_ids[1].startswith("far.")
    until(lambda: len(lab.ledger(result)) == 2)
    rescue, refusal = lab.ledger(result)
    assert (rescue.verdict, rescue.action) == ("expired", "requeued")
    assert (refusal.verdict, refusal.action) == ("zombie", "refused")
    assert (refusal.attempt, refusal.worker_id, refusal.counted) == (1, old, False)
    assert len(runs(lab, "done-a")) == 2  # both came to their end; one of them counts
    assert "process.replaced" in first.log
    assert namespace.stop(far) == 0

    after = tasks.add.enqueue(1, 2)
    undisturbed(lab, after)
    assert lab.row(after).worker_ids == [f"{old}-1"]
    announced(lab, result)
    assert first.stop() == 0
    assert not Process.objects.exclude(state="ended").exists()


def test_a_worker_whose_keeper_and_supervisor_stand_still_claims_nothing(lab: Lab) -> None:
    worker = lab.worker("--lease=2").ready()
    undisturbed(lab, tasks.add.enqueue(1, 2))
    still = [worker.pid, worker.keeper_pid()]
    for pid in still:
        os.kill(pid, signal.SIGSTOP)
    hold(2.5)
    result = tasks.append.enqueue(lab.path("out"), "a")

    hold(1.5)  # thirty looks at the queue, had it looked

    assert lab.row(result).status == "READY"
    for pid in still:
        os.kill(pid, signal.SIGCONT)
    undisturbed(lab, result)


# -- killed ------------------------------------------------------------------------


def test_a_restart_under_the_same_name_is_not_taken_for_the_dead_one(lab: Lab) -> None:
    old = lab.worker(name="w1").ready()
    result = append_and_wait.enqueue(lab.path("out"), "a", lab.path("go"))
    until(lambda: runs(lab, "a"))

    old.signal_tree(signal.SIGKILL)
    # Idle, and of the same name: it works another queue.
    new = lab.worker("--queue-name=other", name="w1")

    row = lab.until_status(result, "READY")
    (entry,) = lab.ledger(result)
    assert (entry.verdict, entry.action) == ("exited", "requeued")
    new.ready()
    (now,) = new.rows()
    assert entry.worker_id == row.worker_ids[0] != now.worker_id
    assert now.worker_id.startswith("w1.")
    lab.folder.joinpath("go").touch()
    lab.worker(name="w1")
    assert len(lab.until_status(result, "SUCCESSFUL").worker_ids) == 2
    assert len(lab.ledger(result)) == 1
    announced(lab, result)


def test_a_supervisor_that_is_killed_far_away_is_found_by_its_lease(
    lab: Lab, alone: tuple[str, ...]
) -> None:
    far = lab.worker("--lease=3", "--processes=2", name="far", prefix=alone).ready(2)
    results = [append_and_wait.enqueue(lab.path("out"), n, lab.path("go")) for n in "ab"]
    until(lambda: runs(lab, "a") and runs(lab, "b"))
    lab.worker("--lease=3", name="near").ready()

    tree = far.tree()
    far.process.kill()
    far.wait()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in tree))
    lab.folder.joinpath("go").touch()

    for result in results:
        row = lab.until_status(result, "SUCCESSFUL", 40)
        (entry,) = lab.ledger(result)
        assert (entry.verdict, entry.action) == ("expired", "requeued")
        assert entry.last_proof_of_life is not None
        silent = entry.acted_at - entry.last_proof_of_life
        assert silent.total_seconds() > 3
        assert row.worker_ids[0].startswith("far.") and row.worker_ids[1].startswith("near.")
        announced(lab, result)
    assert len(acts()) == 2


@servers
def test_a_host_that_freezes_inside_a_beat_does_not_keep_its_tasks(
    lab: Lab, proxy: Proxy, alone: tuple[str, ...]
) -> None:
    """Its transaction holds its own rows, which others must mark as ended."""
    first = lab.worker("--lease=4", name="first", **through(proxy)).ready()
    result = append_and_wait.enqueue(lab.path("out"), "a", lab.path("go"))
    until(lambda: runs(lab, "a"))
    lab.worker("--lease=4", name="far", prefix=alone).ready()

    frozen = proxy.before_reply(
        "UPDATE .argus_maint_process. SET .beats.", lambda: first.signal_tree(signal.SIGSTOP)
    )
    until(lambda: frozen.hit)
    lab.folder.joinpath("go").touch()

    row = lab.until_status(result, "SUCCESSFUL", 60)
    assert len(row.worker_ids) == 2
    (entry,) = lab.ledger(result)
    assert (entry.verdict, entry.action) == ("expired", "requeued")


@servers
def test_a_host_that_freezes_inside_a_claim_hides_no_task(
    lab: Lab, proxy: Proxy, alone: tuple[str, ...]
) -> None:
    """Nobody is left there to end it; the statement must be over by itself."""
    result = tasks.append.enqueue(lab.path("out"), "a")
    frozen = proxy.before_reply(
        ".* FOR UPDATE SKIP LOCKED", lambda: first.signal_tree(signal.SIGSTOP)
    )
    first = lab.worker("--lease=4", name="first", **through(proxy))
    until(lambda: frozen.hit)
    lab.worker("--lease=4", name="far", prefix=alone).ready()

    lab.until_status(result, "SUCCESSFUL", 60)

    assert len(runs(lab, "a")) == 1
    first.signal_tree(signal.SIGCONT)
    undisturbed(lab, tasks.add.enqueue(1, 2))
    announced(lab, result)


# -- shutdown ------------------------------------------------------------------------


def test_a_shutdown_under_load_finishes_what_is_in_hand_and_leaves_the_rest(lab: Lab) -> None:
    results = [tasks.append.enqueue(lab.path("out"), f"n{n}", 0.1) for n in range(40)]
    worker = lab.worker("--processes=4").ready(4)
    until(lambda: len(lab.lines("out")) > 20)

    assert worker.stop() == 0

    states = [lab.row(result).status for result in results]
    assert set(states) == {"SUCCESSFUL", "READY"}
    assert len(lab.lines("out")) == 2 * states.count("SUCCESSFUL")
    assert not Process.objects.exclude(state="ended").exists()
    lab.worker("--processes=4", name="next")
    for result in results:
        undisturbed(lab, result)
    assert len(lab.lines("out")) == 80
