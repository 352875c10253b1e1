"""Faults of the task table: not pruned, not archived, bloated, locked."""

from __future__ import annotations

from argus_maint.drills.scratch import Broken, Scratch

DAY = 86_400.0
HOUR = 3600.0


def prune_behind(scratch: Scratch) -> None:
    """A deploy bounds the prune to so little that old tasks pile up."""
    scratch.deploy(
        "shop/settings.py",
        '"prune": {"schedule": "17 3 * * *"}',
        '"prune": {"schedule": "17 3 * * *", "options": {"max_rows": 10}}',
        "Prune more gently",
    )
    scratch.call("add_finished", times=300, ago=30 * DAY)
    scratch.manage("maint", "run", "prune")


def table_bloat(scratch: Scratch) -> None:
    """A script deletes nearly all of a large table, and nobody gives the space back."""
    scratch.call("add_finished", times=4000, ago=HOUR, size=2000)
    scratch.call("delete_most", ago=HOUR / 2)


def archive_failed(scratch: Scratch) -> None:
    """Something else stands where the archive's folder should be, when the prune runs."""
    archive = scratch.folder / "var" / "archive"
    archive.write_text("not a folder")  # even root cannot write into it
    scratch.call("add_finished", times=20, ago=14 * DAY + HOUR)
    if not scratch.manage("maint", "run", "prune", check=False).status:
        raise Broken("the prune did not fail")


def database_locked(scratch: Scratch) -> None:
    """A script forgets to end its transaction."""
    script = scratch.spawn("nightly", "nightly_report.py")
    scratch.until(lambda: "at work" in script.log.read_text(), "the script holds its locks")
