"""Faults of workers: killed, stopped, unknown, or none there."""

from __future__ import annotations

import os
import signal

from argus_maint.drills.scratch import QUEUES, Scratch

# The stock command, which our app hides: it registers nowhere and beats for nobody.
STOCK = f"""
import os, django
os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
django.setup()
from django_tasks_db.management.commands.db_worker import Command
Command().run_from_argv(["manage.py", "db_worker", "--queue-name={QUEUES}", "--worker-id=old",
                         "--interval=0.1", "--no-startup-delay", "--no-reload"])
"""


QUARTER = 900.0  # seconds


def dead_worker(scratch: Scratch) -> None:
    """Kill one of two supervisors."""
    second = scratch.worker("w2", processes=1)
    second.end()
    scratch.until(
        lambda: not scratch.call("living", name="w2", kind="supervisor"), "the death of w2 is noted"
    )


def no_workers(scratch: Scratch) -> None:
    """Kill the only supervisor, and let tasks come in."""
    scratch.started["w1"].end()
    scratch.call("enqueue", task="send_receipt", arguments=[2], times=3)


def zombie_write(scratch: Scratch) -> None:
    """Stop a worker for longer than its lease, and let it go on when its task was given back."""
    worker = scratch.started["w1"]
    ids = scratch.call("enqueue", task="build_report", arguments=[1.5])
    scratch.has_status(ids, "RUNNING")
    worker.signal_all(signal.SIGSTOP)
    try:
        scratch.has_status(ids, "READY")
    finally:
        worker.signal_all(signal.SIGCONT)
    scratch.until(lambda: scratch.call("ledger", verdict="zombie"), "its result is refused")
    scratch.has_status(ids, "SUCCESSFUL")
    scratch.workers_ready("w1", 2)


def unregistered_worker(scratch: Scratch) -> None:
    """Have a stock worker take a task, and kill it in the middle: a quarter of an hour ago."""
    old = scratch.spawn("old", "-c", STOCK)
    scratch.until(lambda: "Starting worker" in old.log.read_text(), "the stock worker starts")
    # One for each worker, ours and this one, as none takes two at once.
    ids = scratch.call("enqueue", task="build_report", arguments=[2], times=3)
    taken = scratch.until(
        lambda: scratch.call("running_under", name="old"), "the stock worker takes a task"
    )
    os.kill(old.pid, signal.SIGKILL)
    old.process.wait()
    scratch.has_status([each for each in ids if each not in taken], "SUCCESSFUL")
    scratch.call("seen_under", name="old", ago=QUARTER)
