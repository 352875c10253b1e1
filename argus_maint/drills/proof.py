"""A page of the runbooks in a scratch project: its commands run as they are written.

    proof = Proof(scratch, page)
    proof.look()                  # a pass of the findings, which fills the page's variables
    proof.goes("Diagnosis")       # None: all of the section was as the page says

The commands are run as ``maint runbook --run`` runs them, on a site without a service manager.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from argus_maint.drills.scratch import Scratch
from argus_maint.runbooks.calling import Calling
from argus_maint.runbooks.fence import Step
from argus_maint.runbooks.fill import database_name, values_of
from argus_maint.runbooks.page import Page
from argus_maint.runbooks.shell import Outcome, perform


class Proof:
    """One page in one scratch project.

    Attributes:
        evidence: of its finding, as it was seen last; fills the page's variables.
    """

    def __init__(self, scratch: Scratch, page: Page) -> None:
        self.scratch, self.page = scratch, page
        self.evidence: Mapping[str, Any] = {}

    def look(self) -> set[str]:
        """The codes that a pass of the findings sees now; keeps the evidence of the page's."""
        done = self.scratch.manage("maint", "findings", "--look", "--json", check=False)
        document = told(done.output)
        # What cannot be written down, in a locked database, is only in what was seen.
        rows = document["findings"] or document["look"]["seen"]
        self.evidence = next(
            (row["evidence"] for row in rows if row["code"] == self.page.name), self.evidence
        )
        return {row["code"] for row in rows}

    def steps(self, section: str) -> list[Step]:
        """The commands of a section, for what runs here."""
        database = database_name(self.scratch.vendor)
        steps = self.page.steps_for(supervisor="hand", database=database)
        return [step for step in steps if step.section == section]

    def goes(self, section: str, patience: float | None = None) -> Outcome | None:
        """Run a section; None: all of it was as the page says."""
        values = values_of(self.page, self.evidence, {}).known
        folder = self.scratch.folder
        calling = Calling(str(folder / "bin" / "python"), str(folder / "manage.py"), str(folder))
        env = calling.environment(values, self.scratch.env)
        for step in self.steps(section):
            if patience is not None:
                step = replace(step, retry=min(step.retry, patience))
            outcome = perform(step, folder, env, values)
            if not outcome.held:
                return outcome
        return None


def told(output: str) -> dict[str, Any]:
    """The JSON document of a command, without what it said beside it."""
    found: dict[str, Any] = json.JSONDecoder().raw_decode(output[output.index("{\n") :])[0]
    return found
