"""Pools of django-tasks-local: real processes with real pools, their word and their deaths."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from argus_maint.backends.adapters import adapters
from argus_maint.backends.adapters.base import CAPABILITIES, Adapter, Queue
from argus_maint.backends.database import QueueCounts
from argus_maint.findings.observation import Observation
from argus_maint.jobs import detect, rescue
from argus_maint.jobs.burials import bury, find
from argus_maint.models import Process
from argus_maint.workers.identity import this_host
from tests.lab import Lab, until

SETTING = {"PROCESSES": {"lease": 3, "beat": 0.5}}


class Pool:
    """A running ``tests.backends.adapters.pooling``."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self.log_path = process, log
        assert process.stdout is not None
        words = process.stdout.readline().split()
        assert words[:1] == [b"ready"], self.log
        self.children = [int(word) for word in words[1:]]

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def end(self) -> int:
        """Let it exit as a process should."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(30)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)


@pytest.fixture
def pool(lab: Lab, tmp_path: Path) -> Iterator[Callable[..., Pool]]:
    """Starts processes that use a pool; ends them, and what they forked."""
    pools: list[Pool] = []
    lab.setting(**SETTING)

    def start(alias: str = "threads", **order: Any) -> Pool:
        order = {"alias": alias, "file": str(tmp_path / "go"), **order}
        env = {**lab.env, **order.pop("env", {})}
        log = tmp_path / f"pool{len(pools)}.log"
        command = [sys.executable, "-m", "tests.backends.adapters.pooling", json.dumps(order)]
        with log.open("wb") as err:
            process = subprocess.Popen(
                command,
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=err,
                start_new_session=True,
            )
        try:
            pools.append(Pool(process, log))
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
            raise
        return pools[-1]

    try:
        yield start
    finally:
        for each in pools:
            print(each.log)
            try:  # its own group, with the children of a pool of processes
                os.killpg(each.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            each.process.wait(10)


def adapter(alias: str = "threads") -> Adapter:
    return next(each for each in adapters("default") if each.alias == alias)


def only(alias: str = "threads") -> Queue:
    empty = [Queue(QueueCounts(alias, "default", 0, 0, 0, None))]
    (queue,) = adapter(alias).queues() or empty
    return queue


def rows() -> list[Process]:
    return list(Process.objects.filter(kind="pool").exclude(state="ended"))


def dead_workers() -> list[Observation]:
    seen = detect.observe("default", codes=["DeadWorker"])
    assert not seen.errors
    return seen.observations


def look() -> list[str]:
    """A pass of the rescue, as any scheduler makes it."""
    return rescue.run(rescue.View("default", "me@here", this_host())).ended


@pytest.mark.parametrize("alias", ["threads", "processes"])
def test_a_process_says_what_its_pool_holds(pool: Callable[..., Pool], alias: str) -> None:
    pool(alias, tasks=8, short=2, failing=1)

    def busy() -> Queue | None:
        now = only(alias)
        return now if now.counts.ready and now.counts.running >= 2 else None

    queue = until(busy)
    # A pool of processes counts as running what it has handed over: its two, and up to three.
    assert 2 <= queue.counts.running <= 5 and queue.counts.ready == 8 - queue.counts.running
    assert (queue.finished, queue.failed) == (2, 1)
    assert queue.counts.backend_name == alias and queue.counts.queue_name == "default"
    assert queue.counts.oldest_ready_at is not None
    (worker,) = adapter(alias).workers()
    assert worker.alive and worker.pid == rows()[0].pid and worker.queues == ("default",)
    assert "busy" in worker.evidence


def test_counts_are_sums_over_the_living(pool: Callable[..., Pool]) -> None:
    pool(tasks=3)
    second = pool(tasks=3)
    until(lambda: only().counts.running == 4 and only().counts.ready == 2)
    second.kill()
    assert only().counts.running == 2 and only().counts.ready == 1
    assert sorted(str(each.alive) for each in adapter().workers()) == ["False", "True"]


def test_a_killed_process_opens_a_finding_that_names_its_tasks(pool: Callable[..., Pool]) -> None:
    victim = pool(tasks=5, short=3)
    until(lambda: only().counts.ready == 3)
    assert dead_workers() == []
    victim.kill()
    for _ in range(2):  # before and after somebody has noted its death
        (found,) = dead_workers()
        assert found.summary.startswith("5 tasks died with 1 process of ")
        assert "5 tests.tasks.wait_for" in found.summary
        assert found.evidence["tasks"] == 5
        assert found.evidence["backend"] == "threads"
        assert found.evidence["pid"] == victim.process.pid
        look()
    assert rows() == []
    ended = Process.objects.get(kind="pool")
    assert (ended.verdict, ended.reason) == ("exited", "lost")


def test_those_of_one_host_are_one_finding_and_a_person_ends_it(pool: Callable[..., Pool]) -> None:
    victims, living = [pool(tasks=2), pool(tasks=1)], pool(tasks=1)
    until(lambda: only().counts.running == 4)
    for each in victims:
        each.kill()
    (found,) = dead_workers()
    assert "3 tasks died with 2 processes" in found.summary
    look()
    grave = find(str(found.evidence["worker"]), "default")
    bury(grave, "me@here", "they were stopped hard", "default")
    assert dead_workers() == []
    assert [each.pid for each in rows()] == [living.process.pid]


def test_a_process_that_dies_with_nothing_in_hand_is_no_finding(pool: Callable[..., Pool]) -> None:
    victim = pool(short=3)
    until(lambda: rows() and only().finished == 3)
    victim.kill()
    assert dead_workers() == []
    assert look() == [rows_ended().worker_id]
    assert dead_workers() == []


def rows_ended() -> Process:
    return Process.objects.get(kind="pool", state="ended")


@pytest.mark.parametrize("alias", ["threads", "processes"])
def test_a_process_that_is_recycled_leaves_nothing(
    pool: Callable[..., Pool], alias: str, tmp_path: Path
) -> None:
    process = pool(alias, tasks=3)
    until(rows)
    (tmp_path / "go").touch()  # its exit waits for what it has
    assert process.end() == 0, process.log
    assert not Process.objects.filter(kind="pool").exists()
    assert dead_workers() == [] and adapter(alias).queues() == []
    assert "Traceback" not in process.log


def test_each_child_of_a_server_that_forks_speaks_for_itself(pool: Callable[..., Pool]) -> None:
    server = pool(children=3, tasks=2)
    until(lambda: {each.pid for each in rows()} == set(server.children))
    until(lambda: only().counts.running == 6)
    os.kill(server.children[0], signal.SIGKILL)
    until(lambda: len([each for each in adapter().workers() if each.alive]) == 2)
    (found,) = dead_workers()
    assert found.evidence["tasks"] == 2


def test_a_child_does_not_count_what_its_parent_had(pool: Callable[..., Pool]) -> None:
    server = pool("processes", children=1, tasks=1, first=True)
    until(lambda: {each.pid for each in rows()} >= {server.process.pid})
    until(lambda: only("processes").counts.running)
    time.sleep(1)
    counts = only("processes").counts
    # What is broken by the fork is the package's pool; what is counted twice would be ours.
    assert counts.running + counts.ready <= 2


def test_a_database_that_is_away_costs_the_request_nothing(
    pool: Callable[..., Pool], tmp_path: Path
) -> None:
    # Whatever the database, there is none of this name: no folder, no such database.
    process = pool(short=3, env={"ARGUS_MAINT_TEST_DB_NAME": str(tmp_path / "no" / "db")})
    until(lambda: "pool.silent" in process.log)
    time.sleep(1.6)  # three beats
    assert process.log.count("pool.silent") == 1
    assert process.end() == 0
    assert "Traceback" not in process.log


def test_one_that_was_taken_for_dead_comes_back_and_lost_nothing(
    pool: Callable[..., Pool],
) -> None:
    process = pool(tasks=2)
    (row,) = until(lambda: rows() if only().counts.running == 2 else None)
    Process.objects.filter(pk=row.pk).update(
        state="ended", verdict="expired", reason="lost", ended_at=row.last_beat_at
    )
    assert len(dead_workers()) == 1
    (again,) = until(rows)
    assert again.pid == process.process.pid and again.worker_id != row.worker_id
    until(lambda: not dead_workers())


def test_a_lost_lease_is_a_death_too(pool: Callable[..., Pool]) -> None:
    victim = pool(tasks=2)
    until(lambda: rows() and only().counts.running == 2)
    victim.kill()
    # As if it had been on another host: nobody here can look its pid up.
    Process.objects.filter(kind="pool").update(boot_id="another", last_beat_at="2020-01-01T00:00Z")
    (found,) = dead_workers()
    assert found.evidence["tasks"] == 2


def test_it_says_what_a_site_should_know() -> None:
    threads, processes = adapter("threads"), adapter("processes")
    assert threads.name == processes.name == "threadpool"
    assert "memory of the process" in threads.warnings()[0]
    assert "takes_context" in threads.warnings()[1]
    assert len(processes.warnings()) == 3 and len(threads.warnings()) == 2
    missing = {each for each in CAPABILITIES if not threads.supports(each)}
    assert missing == set(threads.why_not)


@pytest.mark.django_db
def test_a_site_that_names_no_pool_imports_none(child_env: dict[str, str]) -> None:
    code = (
        "import django, sys; django.setup(); import argus_maint.backends.adapters.threadpool, "
        "argus_maint.backends.pools, argus_maint.jobs.detect; "
        "sys.exit(any(name.startswith('django_tasks_local') for name in sys.modules))"
    )
    env = {**child_env, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    assert subprocess.run([sys.executable, "-c", code], env=env).returncode == 0


@override_settings(TASKS={"x": {"BACKEND": "tests.backends.adapters.pool_of_site.Pool"}})
def test_a_pool_of_the_sites_own_is_one() -> None:
    from argus_maint.backends import hooks

    assert hooks._is_pool("tests.backends.adapters.pool_of_site.Pool")
    assert not hooks._is_pool("tests.backends.adapters.pool_of_site.NoPool")
    assert not hooks._is_pool("tests.backends.adapters.pool_of_site.Missing")
    assert not hooks._is_pool("django_tasks_db.DatabaseBackend")
    assert adapter("x").name == "threadpool"
