"""Faults of the schedule: the scheduler is gone, a tick is missed, a job fails."""

from __future__ import annotations

from argus_maint.drills.scratch import Broken, Scratch

DAY = 86_400.0


def scheduler_down(scratch: Scratch) -> None:
    """Kill the only scheduler."""
    scratch.started["s1"].end()
    scratch.until(
        lambda: not scratch.call("living", name="s1", kind="scheduler"), "the death of s1 is noted"
    )


def missed_tick(scratch: Scratch) -> None:
    """Stop the scheduler properly, and start none: yesterday's export was never made."""
    scratch.started["s1"].stop()
    scratch.call("last_ran", job="export", ago=2 * DAY)


def job_failed(scratch: Scratch) -> None:
    """A deploy breaks a job, and it fails when it runs."""
    scratch.deploy(
        "shop/jobs.py", 'each["price"]', 'each["price_in_cents"]', "Say what the prices are in"
    )
    if not scratch.manage("maint", "run", "export", check=False).status:
        raise Broken("the job did not fail")
