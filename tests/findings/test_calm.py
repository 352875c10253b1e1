"""A healthy, busy site opens nothing: mixed load, bursts, failures, losses and deploys."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from argus_maint.jobs import detect
from argus_maint.models import Finding, Run
from tests import tasks
from tests.lab import Lab, Supervised, gone, until

pytestmark = pytest.mark.django_db(transaction=True)

SEED = 5


def _traffic(seconds: float, burst_every: float, burst: int) -> Iterator[float]:
    """Enqueue as a site does, and yield the seconds since the beginning now and then."""
    dice, began = random.Random(SEED), time.monotonic()
    next_burst = burst_every
    while (at := time.monotonic() - began) < seconds:
        kind = dice.random()
        if kind < 0.15:
            there = dice.random() < 0.7  # a kind of task that fails now and then
            tasks.wait_for.enqueue("/" if there else "/nowhere", 0)
        elif kind < 0.4:
            tasks.sleep.enqueue(dice.random() / 2)
        elif kind < 0.45:
            later = timezone.now() + timedelta(seconds=dice.uniform(1, 20))
            tasks.add.using(run_after=later).enqueue(1, 2)
        else:
            tasks.add.enqueue(1, 2)
        if at > next_burst:
            next_burst += burst_every
            for _ in range(burst):
                tasks.add.enqueue(1, 2)
        yield at
        time.sleep(dice.uniform(0.05, 0.4))  # the rhythm of the load, nothing is waited for


def _opened() -> list[str]:
    return [f"{each}: {each.summary}" for each in Finding.objects.filter(opened_at__isnull=False)]


def _start(lab: Lab, name: str) -> Supervised:
    return lab.worker("--processes=2", "--queue-name=*", name=name)


@pytest.mark.slow
def test_half_a_minute_of_load_with_a_pass_every_second_opens_nothing(lab: Lab) -> None:
    """Thresholds as they are, so sixty times as many passes as there would be see it all."""
    workers = {name: _start(lab, name).ready(2) for name in ("w1", "w2")}
    next_pass, next_deploy, turn = 0.0, 8.0, 0
    for at in _traffic(30, burst_every=10, burst=100):
        if at >= next_pass:
            next_pass = at + 1
            detect.make("default", "test")
        if at >= next_deploy:  # one after the other
            next_deploy, name = at + 8, ("w1", "w2")[turn % 2]
            turn += 1
            workers[name].signal(signal.SIGTERM)
            workers[name] = _start(lab, name)
    assert turn
    assert _opened() == []


@pytest.mark.bench
@pytest.mark.timeout(1200)
def test_ten_minutes_of_load_bursts_and_deploys_open_nothing(lab: Lab) -> None:
    """With everything as it ships: a scheduler and two workers make the passes."""
    lab.setting(RESCUE={})
    names = ("w1", "w2")
    workers = {name: _start(lab, name).ready(2) for name in names}
    scheduler = lab.start("s1", "crontask")
    did: list[str] = []

    def rolling_deploy() -> None:
        for name in names:
            workers[name].signal(signal.SIGTERM)
            until(lambda name=name: workers[name].process.poll() is not None, 60)  # type: ignore[misc]
            workers[name] = _start(lab, name)

    def all_down() -> None:
        for name in names:
            workers[name].signal(signal.SIGTERM)

    def all_up() -> None:
        for name in names:
            workers[name] = _start(lab, name)

    def lose_a_worker() -> None:
        os.kill(workers["w1"].worker_pids()[0], signal.SIGKILL)

    def lose_a_supervisor() -> None:
        pids = workers["w2"].tree()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        workers["w2"].wait()
        assert all(until(lambda pid=pid: gone(pid)) for pid in pids)  # type: ignore[misc]
        workers["w2"] = _start(lab, "w2")

    def new_scheduler() -> None:
        scheduler.signal(signal.SIGTERM)
        lab.start("s2", "crontask")

    plan: list[tuple[float, Callable[[], None]]] = [
        (60, lose_a_worker),
        (120, rolling_deploy),
        (200, new_scheduler),
        (260, all_down),
        (305, all_up),
        (400, lose_a_supervisor),
        (500, rolling_deploy),
    ]
    for at in _traffic(610, burst_every=55, burst=600):
        if plan and at >= plan[0][0]:
            _, act = plan.pop(0)
            act()
            did.append(f"{act.__name__} at {at:.0f} s")
    assert not plan
    passes = list(Run.objects.filter(job="findings", state="done").values_list("driver", flat=True))
    print(f"{len(passes)} passes, {DBTaskResult.objects.count():,} tasks; {'; '.join(did)}")
    print("pending at the end:", [str(each) for each in Finding.objects.filter(state="pending")])
    assert len(passes) >= 9
    assert _opened() == []
