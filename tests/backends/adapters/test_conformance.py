"""The same questions to every backend that can be run here, with its real workers."""

from __future__ import annotations

import contextlib
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.utils.module_loading import import_string

from argus_maint.management.commands.maint import Command
from argus_maint.models import LedgerEntry
from argus_maint.retention import Retention
from tests import tasks
from tests.backends.adapters.conftest import Broker
from tests.backends.adapters.world import World, began, ended
from tests.commands.calls import as_json, maint
from tests.lab import Lab, until

HERE = "tests.backends.adapters"
WORLDS = {
    "database": f"{HERE}.world_database.DatabaseWorld",
    "redis": f"{HERE}.world_redis.RedisWorld",
    "rq": f"{HERE}.world_rq.RQWorld",
}
POLICIES = {
    "*": {"on_lost": "requeue", "max_losses": 2, "backoff": (0, 0)},
    "tests.tasks.wait_for": {"on_lost": "fail"},
}


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest, lab: Lab, broker: Broker, settings: Any) -> World:
    settings.ARGUS_MAINT = {"RESCUE": POLICIES}
    made: World = import_string(WORLDS[request.param])(lab)
    return made


def until_status(world: World, task_id: str, status: str, seconds: float = 30) -> None:
    until(lambda: world.status(task_id) == status, seconds, f"{task_id} {status}")


def test_what_is_enqueued_is_worked(world: World, tmp_path: Path) -> None:
    ids = [world.append(tmp_path / "out", f"n{number}") for number in range(5)]
    world.worker()
    for number, task_id in enumerate(ids):
        until_status(world, task_id, "SUCCESSFUL")
        assert ended(tmp_path / "out", f"n{number}") == 1
    assert world.rescue() == []


def test_stats_are_what_is_there(world: World, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    first = world.enqueue(tasks.wait_for, str(gate))
    world.enqueue(tasks.fail, "on purpose")
    rest = [world.append(tmp_path / "out", "x") for _ in range(4)]
    counts = one_queue(world)
    assert (counts.counts.ready, counts.counts.running) == (6, 0)
    assert counts.counts.oldest_ready_at is not None
    world.worker()
    until_status(world, first, "RUNNING")
    counts = one_queue(world)
    assert (counts.counts.ready, counts.counts.running) == (5, 1)
    gate.touch()
    until(lambda: world.status(rest[-1]) == "SUCCESSFUL")
    if counts.finished is not None:
        counts = until(lambda: one_queue(world) if one_queue(world).finished else None)
        assert (counts.finished, counts.failed) == (ended(tmp_path / "out", "x") + 1, 1)
    if world.adapter.supports_liveness:
        assert len([each for each in world.adapter.workers() if each.alive is not False]) == 1


def one_queue(world: World) -> Any:
    return next(each for each in world.adapter.queues() if each.counts.queue_name == world.queue)


def test_a_person_lists_tasks_and_acts_on_them(world: World, tmp_path: Path) -> None:
    """Through the commands, which know no backend."""
    never, out = tmp_path / "never", tmp_path / "out"
    bad = world.enqueue(tasks.fail, "on purpose")
    worse = world.enqueue(tasks.fail, "again")
    done = world.append(out, "done")
    runs = world.enqueue(tasks.wait_for, str(never), 600)
    waits, last = world.append(out, "waits"), world.append(out, "last")
    assert listed(world, "ready") == [bad, worse, done, runs, waits, last]
    worker = world.worker()
    until_status(world, runs, "RUNNING")
    assert listed(world, "ready") == [waits, last]
    assert listed(world, "running") == [runs]
    assert listed(world, "successful") == [done]
    assert sorted(listed(world, "failed")) == sorted([bad, worse])
    assert listed(world, "lost") == []
    assert "on purpose" in maint("history", "--task", bad)

    for refused in (("requeue", runs), ("fail", runs), ("discard", waits), ("requeue", done)):
        assert pulled(*refused) == "refused"
    assert world.status(runs) == "RUNNING"
    assert pulled("discard", worse) == "done"
    assert world.errors(worse)[-1] == "argus_maint.exceptions.TaskDiscarded"
    assert pulled("requeue", bad, "--dry-run") == "done"
    assert world.status(bad) == "FAILED"
    assert pulled("fail", waits) == "done"
    assert pulled("requeue", waits) == "done"
    assert pulled("fail", last) == "done"
    never.touch()
    until_status(world, waits, "SUCCESSFUL")
    assert world.status(last) == "FAILED"
    assert ended(out, "last") == 0
    told = as_json("levers", "requeue", "--failed", "--task", "*.fail", "--since", "1h")
    assert told["counts"]["done"] == 2
    until(lambda: sorted(listed(world, "failed")) == sorted([bad, worse, last]))
    assert LedgerEntry.objects.filter(verdict="manual", backend_name=world.alias).count() == 6
    worker.stop()


def test_a_worker_is_started_by_hand_whatever_its_program_is(world: World, tmp_path: Path) -> None:
    task_id = world.append(tmp_path / "out", "x")
    options = (f"--backend={world.alias}", f"--queue={world.queue}", "--skip-checks")
    world.lab.start("by-hand", "maint", "work", *options)
    until_status(world, task_id, "SUCCESSFUL")
    assert ended(tmp_path / "out", "x") == 1


def listed(world: World, state: str) -> list[str]:
    told = as_json("tasks", "tasks", "--backend", world.alias, "--state", state)
    return [each["task_id"] for each in told["tasks"]]


def pulled(verb: str, task_id: str, *options: str) -> str:
    """What became of it."""
    if verb == "discard":
        options = (*options, "--why", "seen to")
    out = io.StringIO()
    with contextlib.suppress(SystemExit):
        call_command(Command(), verb, task_id, *options, "--json", stdout=out, stderr=io.StringIO())
    (told,) = json.loads(out.getvalue())["tasks"]
    return str(told["outcome"])


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_tasks_of_killed_workers(world: World, tmp_path: Path) -> None:
    """Requeued and run again, failed by policy, and quarantined when it is poison."""
    out, never = tmp_path / "out", tmp_path / "never"
    kept = world.append(out, "kept", 25)
    first = world.worker("first")
    until_status(world, kept, "RUNNING")
    poison = world.append(out, "poison", 600)
    second = world.worker("second")
    until_status(world, poison, "RUNNING")
    delicate = world.enqueue(tasks.wait_for, str(never), 600)
    third = world.worker("third")
    until_status(world, delicate, "RUNNING")
    until(lambda: began(out, "kept") and began(out, "poison"))
    for worker in (first, second, third):
        world.kill(worker)
    acts = rescued(world, 3)
    assert Counter(act.action for act in acts) == {"requeued": 2, "failed": 1}
    assert world.status(delicate) == "FAILED"
    assert world.errors(delicate) == ["argus_maint.exceptions.WorkerLost"]

    fourth, fifth = world.worker("fourth"), world.worker("fifth")
    until_status(world, kept, "SUCCESSFUL", 60)
    assert (len(began(out, "kept")), ended(out, "kept")) == (2, 1)
    until(lambda: len(began(out, "poison")) == 2)
    world.kill(fourth)
    world.kill(fifth)
    (act,) = rescued(world, 1)
    assert (act.action, act.losses, act.attempt) == ("quarantined", 2, 2)
    assert world.status(poison) == "FAILED"
    assert world.errors(poison)[0] == "argus_maint.exceptions.TaskQuarantined"
    assert world.rescue() == []
    assert LedgerEntry.objects.count() == 4
    assert all(act.evidence and act.backend_name == world.alias for act in acts)


def rescued(world: World, number: int) -> list[LedgerEntry]:
    """Acts of as many passes as it takes, but no longer than the backend may take."""
    acts: list[LedgerEntry] = []

    def enough() -> bool:
        acts.extend(world.rescue())
        return len(acts) >= number

    until(enough, world.patience, f"{number} tasks rescued")
    return acts


def test_what_is_past_its_retention_goes_and_nothing_else(world: World, tmp_path: Path) -> None:
    old = [world.append(tmp_path / "out", "old") for _ in range(5)]
    failed = world.enqueue(tasks.fail, "on purpose")
    worker = world.worker()
    for task_id in old:
        until_status(world, task_id, "SUCCESSFUL")
    until_status(world, failed, "FAILED")
    world.age(7200)
    new = world.append(tmp_path / "out", "new")
    until_status(world, new, "SUCCESSFUL")
    running = world.enqueue(tasks.wait_for, str(tmp_path / "gate"))
    until_status(world, running, "RUNNING")
    ready = world.append(tmp_path / "out", "ready")
    ages = {"successful": 3600.0, "failed": None, "quarantined": None}
    assert world.prune(Retention(ages), pattern="*.wait_for") == 0
    assert world.prune(Retention(ages), queues=("another",)) == 0
    assert world.prune(Retention(ages), pattern="*.append") == 5
    for task_id, status in ((failed, "FAILED"), (new, "SUCCESSFUL"), (running, "RUNNING")):
        assert world.status(task_id) == status
    assert world.prune(Retention({**ages, "failed": 3600.0})) == 1
    (tmp_path / "gate").touch()
    until_status(world, ready, "SUCCESSFUL")
    worker.stop()
