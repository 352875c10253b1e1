"""SIGKILL at random moments: every task ends once, and repeats only where a kill hit it."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections import Counter

import psutil
import pytest
from django_tasks_db.models import DBTaskResult

from argus_maint.models import LedgerEntry
from tests import tasks
from tests.faults.evidence import SIGNALS
from tests.lab import Lab, until

TASKS, KILLS = 200, 20


@pytest.mark.parametrize("victims", ["workers", "workers and keepers"])
def test_every_task_ends_once_whoever_is_killed(lab: Lab, victims: str) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    dice = random.Random(seed)
    lab.setting(RESCUE={"*": {"backoff": [0, 0], "max_losses": 100}})
    for n in range(TASKS):
        tasks.append.enqueue(lab.path("out"), f"n{n}", 0.05)
    worker = lab.worker("--processes=4", "--lease=6").ready(4)
    root = psutil.Process(worker.pid)

    kills = 0
    while kills < KILLS:
        time.sleep(dice.uniform(0, 0.15))  # a random moment is the point
        keeper = worker.keeper_pid() if victims == "workers" else 0
        pids = [child.pid for child in root.children() if child.pid != keeper]
        with contextlib.suppress(ProcessLookupError, IndexError):
            os.kill(dice.choice(pids), signal.SIGKILL)
            kills += 1

    until(lambda: not DBTaskResult.objects.exclude(status="SUCCESSFUL").exists(), 90)
    begun = Counter(line.split()[1] for line in lab.lines("out") if line.startswith("begin"))
    ended = Counter(line.split()[1] for line in lab.lines("out") if line.startswith("end"))
    sent = Counter(line.split()[0] for line in lab.lines(SIGNALS))
    assert set(begun) == set(ended) == {f"n{n}" for n in range(TASKS)}
    assert set(sent.values()) == {1}
    # A kill between the outcome and its announcement takes the announcement with it.
    assert len(sent) >= TASKS - KILLS
    acts = Counter(LedgerEntry.objects.values_list("task_id", flat=True))
    losses = set(LedgerEntry.objects.values_list("task_id", "attempt"))
    assert len(losses) == sum(acts.values()) <= KILLS
    assert set(LedgerEntry.objects.values_list("action", flat=True)) <= {"requeued"}
    for row in DBTaskResult.objects.all():
        name = row.args_kwargs["args"][1]
        assert len(row.worker_ids) == len(set(row.worker_ids)) == 1 + acts[row.pk]
        assert begun[name] <= 1 + acts[row.pk], name
