"""What the tests of this folder look at in the end."""

from __future__ import annotations

from typing import Any

from argus_maint.models import LedgerEntry, Process
from tests.lab import Lab, until

SIGNALS = "signals"


def finished(lab: Lab, result: Any) -> list[str]:
    """The statuses that ``task_finished`` was sent with for this task."""
    lines = (line.split() for line in lab.lines(SIGNALS))
    return [status for task_id, status, _pid in lines if task_id == str(result.id)]


def undisturbed(lab: Lab, result: Any, seconds: float = 60) -> None:
    """The task ran once, was taken from nobody, and ended once."""
    row = lab.until_status(result, "SUCCESSFUL", seconds)
    assert lab.ledger(result) == []
    assert len(row.worker_ids) == 1, row.worker_ids
    announced(lab, result)


def announced(lab: Lab, result: Any, status: str = "SUCCESSFUL") -> None:
    """``task_finished`` was sent once, with this status."""
    until(lambda: finished(lab, result), what="task_finished")
    assert finished(lab, result) == [status]


def runs(lab: Lab, text: str) -> list[str]:
    """The line that every start of the task ``append`` with this text left."""
    return [line for line in lab.lines("out") if line.split()[:2] == ["begin", text]]


def acts() -> list[tuple[str, str]]:
    """Verdict and action of every ledger entry."""
    return list(LedgerEntry.objects.order_by("pk").values_list("verdict", "action"))


def deaths() -> list[tuple[str, str, str]]:
    """Worker id, verdict and reason of every process that has ended other than cleanly."""
    ended = Process.objects.filter(state="ended").exclude(reason="stopped")
    return list(ended.values_list("worker_id", "verdict", "reason"))
