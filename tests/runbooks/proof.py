"""The proof of a page: its commands run as they are written, in a scratch project.

``Proof.goes(section)`` runs the commands of one section in order, and returns the outcome
that did not hold, or None. The values of the page's variables come from the finding, as
``maint runbook --run`` takes them; on a healthy site they are the names of what is well.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from argus_maint.drills.scratch import Scratch
from argus_maint.runbooks.calling import Calling
from argus_maint.runbooks.fence import Step
from argus_maint.runbooks.fill import values_of
from argus_maint.runbooks.page import Page
from argus_maint.runbooks.shell import Outcome, perform

PATIENCE = 6.0  # seconds for which a Verify is tried where it must not come true


class Proof:
    """One page in one scratch project."""

    def __init__(self, scratch: Scratch, page: Page, database: str) -> None:
        self.scratch, self.page, self.database = scratch, page, database
        self.evidence: Mapping[str, Any] = {}

    def look(self) -> dict[str, Any]:
        """A pass of the findings; evidence for the page, where its finding is among them."""
        done = self.scratch.manage("maint", "findings", "--look", "--json", check=False)
        document = told(done.output)
        # What cannot be written down, in a locked database, is only in what was seen.
        rows = document["findings"] or document["look"]["seen"]
        mine = [row for row in rows if row["code"] == self.page.name]
        if mine:
            self.evidence = mine[0]["evidence"]
        return {"all": sorted({row["code"] for row in rows}), "mine": len(mine)}

    def steps(self, section: str) -> list[Step]:
        """The commands of a section, for what runs here."""
        steps = self.page.steps_for(supervisor="hand", database=self.database)
        return [step for step in steps if step.section == section]

    def goes(self, section: str, patience: float | None = None) -> Outcome | None:
        """Run a section; None: all of it was as the page says."""
        values = values_of(self.page, self.evidence, {}).known
        folder = self.scratch.folder
        calling = Calling(str(folder / "bin" / "python"), str(folder / "manage.py"), str(folder))
        with calling.environment(values, self.scratch.env) as env:
            for step in self.steps(section):
                if patience is not None:
                    step = replace(step, retry=min(step.retry, patience))
                outcome = perform(step, folder, env, values)
                if not outcome.held:
                    return outcome
        return None

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


def told(output: str) -> dict[str, Any]:
    """The JSON document of a command, without what it said beside it."""
    found: dict[str, Any] = json.JSONDecoder().raw_decode(output[output.index("{\n") :])[0]
    return found


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
        "database": scratch.call("vendor"),
    }


def pages(folder: Path) -> list[Path]:
    """Every page there is."""
    return sorted(path for path in folder.glob("[A-Z]*.md") if path.stem != "README")
