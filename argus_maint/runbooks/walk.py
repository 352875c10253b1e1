"""Walking through a page: show a command, ask, run it, compare, and write it down.

Using it::

    walk = Walk(page, steps, values, calling, guide, timeline)
    walk.go()          # True: it came to its end, and all that Verify says holds

The guide is the person, or what stands for one (``--yes``): it is shown each command, says
what becomes of it, and after one that did not come out as the page says, whether to go on.
A step that has to be judged (``ask``) is stopped before where nobody is there who could.

Errors: KeyboardInterrupt goes through, written down. Events: none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from argus_maint.runbooks.calling import Calling
from argus_maint.runbooks.fence import Step
from argus_maint.runbooks.fill import Values, filled_command
from argus_maint.runbooks.page import Page
from argus_maint.runbooks.shell import Outcome, perform
from argus_maint.runbooks.timeline import Timeline, facts_of


class Answer(Enum):
    """What the guide wants."""

    RUN = "run"  # it, or after one that did not hold: it once more
    SKIP = "skip"  # it, or after one that did not hold: go on all the same
    QUIT = "quit"
    STOP = "stopped"  # before it: it has to be judged, and nobody is there


class Guide(Protocol):
    """Who is led through the page."""

    def before(self, step: Step, shown: str, number: int, total: int) -> Answer:
        """A command comes; RUN, SKIP, QUIT or STOP."""

    def output(self, line: str) -> None:
        """A line of what it prints. It may hold anything: control characters too."""

    def after(self, step: Step, outcome: Outcome) -> Answer:
        """It has ended. Where it did not hold: RUN again, SKIP (go on), or QUIT."""


@dataclass(slots=True)
class Walk:
    """One walk through the steps of a page."""

    page: Page
    steps: list[Step]
    values: Values
    calling: Calling
    guide: Guide
    timeline: Timeline
    told: list[dict[str, Any]] = field(default_factory=list)
    ended: str = "interrupted"

    def go(self) -> bool:
        """Through all steps, or until the guide quits; whether Verify holds at the end."""
        results: list[tuple[Step, bool]] = []
        try:
            env = self.calling.environment(self.values.known)
            for number, step in enumerate(self.steps, 1):
                held = self._step(step, number, env)
                if held is None:
                    return False
                results.append((step, held))
            verified = all(held for step, held in results if step.section == "Verify")
            self.ended = "verified" if verified else "not verified"
            return verified
        finally:
            self.timeline.write("ended", code=self.page.name, result=self.ended)

    def _step(self, step: Step, number: int, env: dict[str, str]) -> bool | None:
        """Whether it held (what was skipped did not); None to quit."""
        shown = filled_command(step.command, self.values.known, self.calling)
        answer = self.guide.before(step, shown, number, len(self.steps))
        while answer is Answer.RUN:
            try:
                outcome = perform(
                    step, self.calling.folder, env, self.values.known, self.guide.output
                )
            except KeyboardInterrupt:
                self._note(step, shown, None)
                raise
            self._note(step, shown, outcome)
            answer = self.guide.after(step, outcome)
            if outcome.held:
                return True
            if answer is Answer.SKIP:
                return False
        if answer in (Answer.QUIT, Answer.STOP):
            self.ended = answer.value
            if answer is Answer.STOP:
                self.timeline.stop(self.page.name, step, shown)
            return None
        self._note(step, shown, None)
        return False

    def _note(self, step: Step, shown: str, outcome: Outcome | None) -> None:
        self.timeline.step(step, shown, outcome)
        self.told.append(facts_of(step, outcome))
