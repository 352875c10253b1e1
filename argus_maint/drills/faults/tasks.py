"""Faults of tasks: stuck, deadly, failing, or too many."""

from __future__ import annotations

from argus_maint.drills.scratch import Scratch


def stuck_task(scratch: Scratch) -> None:
    """A task waits for an answer that never comes, past its time limit."""
    ids = scratch.call("enqueue", task="sync_stock", arguments=[])
    scratch.until(
        lambda: scratch.call("ledger", task_id=ids[0], verdict="overdue"), "the task is overdue"
    )


def poison_task(scratch: Scratch) -> None:
    """A task ends with its worker each time, until it is put in quarantine."""
    ids = scratch.call("enqueue", task="import_catalogue", arguments=[])
    scratch.has_status(ids, "FAILED")
    scratch.workers_ready("w1", 2)


def rescue_loop(scratch: Scratch) -> None:
    """A task ends with its worker again and again, and its policy lets it."""
    scratch.call("enqueue", task="resize_picture", arguments=[1])
    losses = {"task_path": "shop.tasks.resize_picture", "counted": True}
    scratch.until(lambda: scratch.call("ledger", **losses) >= 3, "three losses")


def queue_backlog(scratch: Scratch) -> None:
    """More slow tasks come in than two workers get done."""
    scratch.call("enqueue", task="build_report", arguments=[5], times=190)


def unattended_queue(scratch: Scratch) -> None:
    """Tasks come into a queue that no worker takes from."""
    scratch.call("enqueue", task="send_receipt", arguments=[3], times=3, queue="reports")


def failure_spike(scratch: Scratch) -> None:
    """The bank was down for a moment, and all that was to be paid then has failed."""
    down = scratch.folder / "var" / "bank-is-down"
    down.touch()
    ids = scratch.call("enqueue", task="charge_card", arguments=[4], times=10)
    scratch.has_status(ids, "FAILED")
    down.unlink()
