"""``maint runbook --run``: the person at the keyboard, who is led through a page."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.db import Error, connections

from argus_maint.database import in_plain_words
from argus_maint.management.maint.context import Context, term_is_an_interrupt
from argus_maint.observe.screen import BAD, DIM, GOOD, HEAD, WARN, join, span, styled
from argus_maint.runbooks import timeline
from argus_maint.runbooks.fence import Step
from argus_maint.runbooks.shell import Outcome
from argus_maint.runbooks.timeline import Timeline
from argus_maint.runbooks.walk import Answer, Walk
from argus_maint.workers.identity import operator

if TYPE_CHECKING:
    from argus_maint.management.maint.runbook import Opened

JUDGE = 3  # exit status: a person has to judge a step
BEFORE = {"y": Answer.RUN, "s": Answer.SKIP, "q": Answer.QUIT}
AFTER = {"a": Answer.RUN, "g": Answer.SKIP, "q": Answer.QUIT}


class Person:
    """Asks before each command, and after one that was not as the page says."""

    def __init__(self, context: Context, page: str, acked: str = "") -> None:
        self.context, self.page = context, page
        self.acked = acked  # by whom and until when the finding is
        self.section = ""

    def before(self, step: Step, shown: str, number: int, total: int) -> Answer:
        """Show it, and ask."""
        if step.section != self.section:
            self.section = step.section
            self.context.show(["", styled(step.section, HEAD)])
        where = f"{number}/{total}  {self.page}:{step.line}  {step.title}".rstrip()
        marks = ["$", *[">"] * shown.count("\n")]
        lines = zip(marks, shown.split("\n"), strict=True)
        self.context.show(
            [
                "",
                styled(where, DIM),
                *(styled(f"{mark} {line}", "bold cyan") for mark, line in lines),
            ]
        )
        if step.ask:
            self.context.show([join(styled("to be judged: ", WARN), step.ask)])
            return self.judge("is it so? run it: [y]es, [s]kip, [q]uit")
        return self.ask("run it? [y]es, [s]kip, [q]uit", BEFORE)

    def judge(self, question: str) -> Answer:
        """Ask of a step that nobody may run without a judgement."""
        return self.ask(question, BEFORE)

    def output(self, line: str) -> None:
        """A line of what it prints; the screen shows control characters, and sends none."""
        self.context.show([f"    {line}"])

    def after(self, step: Step, outcome: Outcome) -> Answer:
        """Say how it went; ask where it was not as the page says."""
        tries = f", {outcome.tries} tries" if outcome.tries > 1 else ""
        took = span(outcome.seconds) + tries
        if outcome.held:
            self.context.show([join(styled("as the page says", GOOD), styled(f"  {took}", DIM))])
            return Answer.RUN
        self.context.show(
            [join(styled("not as the page says", BAD), f"  {self.page}:{outcome.line}: ",
                  outcome.problem)]
        )  # fmt: skip
        if outcome.expected or outcome.got:
            self.context.show(
                [
                    join(styled("  page  ", DIM), outcome.expected or "(nothing more)"),
                    join(styled("  came  ", DIM), outcome.got or "(nothing more)"),
                ]
            )
        if step.section == "Diagnosis":
            hint = "It may be over already, or another problem: maint findings"
            if self.acked and outcome.status == 0:
                hint = f"It is {self.acked}: maint findings does not count it, and exits with 0"
            self.context.show([styled(hint, WARN)])
        return self.ask("[a]gain, [g]o on, [q]uit", AFTER)

    def ask(self, question: str, answers: dict[str, Answer]) -> Answer:
        """Until there is an answer; the end of input quits."""
        while True:
            self.context.err.out.write(f"{question}: ")
            self.context.err.out.flush()
            line = sys.stdin.readline()
            if not line:
                return Answer.QUIT
            if (answer := answers.get(line.strip().lower()[:1])) is not None:
                return answer


class Nobody(Person):
    """``--yes``: runs everything, and stops where the page is not right, or needs a person."""

    def judge(self, question: str) -> Answer:
        """A person is asked all the same; where none sits there it stops."""
        return super().ask(question, BEFORE) if self.context.can_ask() else Answer.STOP

    def ask(self, question: str, answers: dict[str, Answer]) -> Answer:
        """Nobody is there to answer."""
        return Answer.RUN if answers is BEFORE else Answer.QUIT


def run(context: Context, opened: Opened, options: dict[str, Any]) -> int:
    """Go through the page; the exit status."""
    _check_ready(context, opened, options)
    try:
        file = Timeline.at(options["timeline"], opened.page.name)
    except OSError as error:
        name = options["timeline"] or "The timeline"
        raise CommandError(f"{name} cannot be written: {error.strerror or error}") from error
    name = opened.page.path.name
    person = (Nobody if options["yes"] else Person)(context, name, opened.acked)
    walk = Walk(opened.page, opened.steps, opened.values, opened.calling, person, file)
    context.show([*opened.head(), join(styled(f"{'timeline':<9}", DIM), str(file.path))])
    file.write(
        "started",
        code=opened.page.name,
        object=opened.finding.object if opened.finding else "",
        by=operator(),
        values=dict(opened.values.known),
    )
    _let_go(context.using)
    try:
        with term_is_an_interrupt():
            verified = walk.go()
    finally:
        _keep(context, opened, walk)
        file.close()
        if file.failed:
            context.note(styled(f"The timeline is not whole: {file.failed}", WARN))
    stopped = walk.ended == Answer.STOP.value
    why = ": a person has to judge this step, and it was not run" if stopped else ""
    context.show(["", styled(f"{walk.ended}{why}", GOOD if verified else BAD)])
    return JUDGE if stopped else int(not verified)


def _let_go(using: str) -> None:
    """Hold no connection meanwhile: the database may be what the page restarts."""
    if not connections[using].in_atomic_block:
        connections[using].close()


def _check_ready(context: Context, opened: Opened, options: dict[str, Any]) -> None:
    """What has to be known before the first command."""
    page = opened.page
    if not options["yes"] and not context.can_ask():
        raise CommandError("--run asks before each step and needs a terminal; else add --yes.")
    if opened.supervisor and opened.supervisor not in page.matter.supervisors:
        known = ", ".join(page.matter.supervisors)
        raise CommandError(
            f"{page.name} says nothing of {opened.supervisor}: it can be shown, and not run. "
            f"It is for: {known}.",
            returncode=2,
        )
    variants = {step.supervisor for step in opened.steps} - {""}
    if variants and not opened.supervisor:
        known = ", ".join(page.matter.supervisors)
        raise CommandError(
            f"{page.name} depends on who runs your processes: add --supervisor, one of {known}.",
            returncode=2,
        )
    missing = opened.values.missing_in(opened.steps)
    if missing and opened.rivals:
        objects = ", ".join(each.object for each in opened.rivals[:10])
        raise CommandError(
            f"Several findings {page.name} are open. Name one: {objects}", returncode=2
        )
    if missing:
        why = f" ({opened.trouble})" if opened.trouble else ""
        sets = " ".join(f"--set {name}=..." for name in missing)
        raise CommandError(f"The page needs values that are not known: {sets}{why}", returncode=2)


def _keep(context: Context, opened: Opened, walk: Walk) -> None:
    """Leave a trace in the database, if it can be written."""
    object = opened.finding.object if opened.finding else ""
    details = {"result": walk.ended, "timeline": str(walk.timeline.path), "steps": walk.told}
    try:
        subject = f"{opened.page.name} {object}".rstrip()
        timeline.keep_act(context.using, subject, operator(), details)
    except (Error, ImproperlyConfigured) as error:
        context.note(styled(f"Only the timeline knows of this walk. {in_plain_words(error)}", WARN))
