"""What the proof of the pages adds to ``drills.proof``: judgement, and the line at fault."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from argus_maint.drills import proof
from argus_maint.drills.scratch import Scratch
from argus_maint.runbooks.shell import Outcome

PATIENCE = 6.0  # seconds for which a section is tried that must not hold


class Proof(proof.Proof):
    """One page in one scratch project."""

    def must(self, section: str) -> None:
        """Run a section that has to hold."""
        if outcome := self.goes(section):
            raise AssertionError(f"{section} does not hold.\n{self.at_fault(outcome)}")

    def at_fault(self, outcome: Outcome) -> str:
        """The line of the page, both texts, and what was printed."""
        lines = self.page.text.split("\n")
        return "\n".join(
            [
                f"{self.page.path}:{outcome.line}: {outcome.problem}",
                f"  the page: {lines[outcome.line - 1]}",
                f"  it came:  {outcome.got}",
                f"after {outcome.tries} tries in {outcome.seconds:.1f} s, with {self.evidence}:",
                *outcome.output,
                self.scratch.logs(),
            ]
        )


def of_what_is_well(scratch: Scratch) -> dict[str, Any]:
    """Evidence that names something of a healthy site for each variable there is."""
    return {
        "queue": "default",
        "backend": "default",
        "worker": "w1",
        "host": socket.gethostname(),
        "pid": scratch.started["w1"].pid,
        "task": "shop.tasks.send_receipt",
        "task_id": scratch.call("a_finished_task"),
        "job": "export",
        "check": "E001",
        "tasks": 1,
        "database": scratch.vendor,
    }


def pages(folder: Path) -> list[Path]:
    """Every page there is."""
    return sorted(path for path in folder.glob("[A-Z]*.md") if path.stem != "README")
