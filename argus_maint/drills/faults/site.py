"""Faults of the site around the queue: a clock, a setting."""

from __future__ import annotations

from argus_maint.drills import clock
from argus_maint.drills.scratch import Scratch

LONG = 300  # seconds


def clock_skew(scratch: Scratch) -> None:
    """A worker on a host whose clock is an hour ahead joins.

    Without libfaketime: tasks that a web process on such a host has enqueued.
    """
    if clock.missing():
        ids = scratch.call("enqueue", task="build_report", arguments=[0], queue="reports")
        scratch.call("date_ahead", ids=ids, seconds=3600)
        return
    scratch.worker("w2", processes=1, env=clock.wrong("+1h"))
    # Three workers, and none takes two at once: so that one runs here, with a start to come.
    ids = scratch.call("enqueue", task="build_report", arguments=[LONG], times=3)
    scratch.has_status(ids, "RUNNING")


def misconfigured(scratch: Scratch) -> None:
    """A deploy brings a setting with a mistake, and restarts all."""
    scratch.deploy(
        "shop/settings.py",
        '"schedule": "30 2 * * *"',
        '"schedule": "30 25 * * *"',
        "Export after the backup",
    )
    scratch.restart()
