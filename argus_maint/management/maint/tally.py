"""What became of the tasks of a lever, of ``maint requeue`` for example: counted and told."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.text import Text

from argus_maint.jobs.levers import COULD_NOT, Lever, Outcome, Result, Verb
from argus_maint.jobs.targets import MOST, Targets
from argus_maint.observe.screen import BAD, DIM, GOOD, HEAD, WARN, join, span, styled

NAMED = 20  # tasks named one by one
KEPT = 1000  # of each kind, for the JSON form
WORDS = {
    Verb.REQUEUE: ("requeue", "requeued"),
    Verb.FAIL: ("fail", "failed"),
    Verb.RELEASE: ("release", "released"),
    Verb.DISCARD: ("discard", "discarded"),
    Verb.MOVE: ("move", "moved"),
    Verb.PRIORITY: ("prioritize", "prioritized"),
}
STYLES = {Outcome.DONE: GOOD, Outcome.NOTHING: DIM, Outcome.YOUNG: WARN, Outcome.CHANGED: WARN}
_YOUNG = """\
  An unregistered task counts as stuck {wait} after its first look by a supervisor,
  maint rescue or this command, on the database's clock: the clock of its own host
  proves nothing. {seen}"""


class Tally:
    """What became of the tasks, by outcome; the first of them by name."""

    def __init__(self, lever: Lever, found: Targets, by_id: bool) -> None:
        self.lever, self.found, self.by_id = lever, found, by_id
        self.counts: Counter[Outcome] = Counter()
        self.done: list[Result] = []
        self.others: list[Result] = []  # every one that was not done, up to a bound
        self.stopped = ""

    def add(self, result: Result) -> None:
        """Count one."""
        self.counts[result.outcome] += 1
        names = self.done if result.outcome is Outcome.DONE else self.others
        if len(names) < KEPT:
            names.append(result)

    @property
    def failed(self) -> bool:
        """Whether something that was asked for could not be done."""
        counted = COULD_NOT | ({Outcome.CHANGED} if self.by_id else set())
        gone_wrong = self.stopped or self.found.troubles
        return bool(gone_wrong) or any(self.counts[each] for each in counted)

    def as_dict(self) -> dict[str, Any]:
        """The JSON form (``schemas/levers.json``)."""
        return {
            "kind": f"argus_maint.{self.lever.verb.value}",
            "version": 1,
            "dry_run": self.lever.dry_run,
            "noticed_by": self.lever.noticed_by,
            **({"to": self.lever.to} if self.lever.verb is Verb.MOVE else {}),
            **({"priority": self.lever.priority} if self.lever.verb is Verb.PRIORITY else {}),
            "found": len(self.found),
            "counts": {each.value: self.counts[each] for each in Outcome},
            "tasks": [
                {
                    "task_id": str(each.task_id),
                    "task": each.task_path,
                    "status": each.status,
                    "outcome": each.outcome.value,
                    "message": each.message,
                }
                for each in [*self.others, *self.done]
            ],
            "more": self.found.more,
            "stopped": self.stopped or None,
            "not_asked": self.found.troubles,
        }

    def page(self) -> list[Text]:
        """Counts first, then names, then what to do about the rest."""
        if not len(self.found):
            return [styled("no such tasks, nothing to do", DIM)]
        lines = [self._headline()]
        for each in [*self.others[:NAMED], *self.done[: NAMED - len(self.others[:NAMED])]]:
            lines.append(_named(each, self.lever))
        left_out = sum(self.counts.values()) - (len(lines) - 1)
        if left_out > 0:
            lines.append(styled(f"  and {left_out:,} more", DIM))
        return lines + self._loose_ends()

    def _headline(self) -> Text:
        would, done = WORDS[self.lever.verb]
        head = "DRY RUN" if self.lever.dry_run else "STOPPED" if self.stopped else self._done()
        told = f"would {would}" if self.lever.dry_run else done
        parts = [f"{self.counts[Outcome.DONE]:,} {told}"]
        parts += [
            f"{self.counts[each]:,} {_SHORT[each]}"
            for each in Outcome
            if each is not Outcome.DONE and self.counts[each]
        ]
        return join(styled(head, HEAD + (" red" if self.failed else "")), "  ", ", ".join(parts))

    def _done(self) -> str:
        if self.counts[Outcome.DONE]:
            return "DONE"
        return "REFUSED" if self.counts[Outcome.REFUSED] else "NOTHING DONE"

    def _loose_ends(self) -> list[Text]:
        lines = []
        if self.stopped:
            left = len(self.found) - sum(self.counts.values())
            lines.append(styled(f"  stopped with {left:,} tasks not tried: {self.stopped}", BAD))
        if self.found.more:
            lines.append(styled(f"  there are more than {MOST:,}: run it again for the rest", WARN))
        if self.counts[Outcome.YOUNG] and self.lever.unregistered_after is not None:
            wait = span(self.lever.unregistered_after)
            seen = "A dry run records no such look." if self.lever.dry_run else ""
            lines += [Text(line) for line in _YOUNG.format(wait=wait, seen=seen).splitlines()]
        return lines


_SHORT = {
    Outcome.NOTHING: "with nothing to do",
    Outcome.REFUSED: "refused",
    Outcome.CHANGED: "changed meanwhile",
    Outcome.YOUNG: "not seen for long enough",
    Outcome.LOCKED: "locked",
    Outcome.ERROR: "with an error",
    Outcome.ASKED: "not yet done",
}


def _named(each: Result, lever: Lever) -> Text:
    would, done = WORDS[lever.verb]
    word = each.outcome.value
    if each.outcome is Outcome.DONE:
        word = f"would {would}" if lever.dry_run else done
    style = STYLES.get(each.outcome, BAD)
    path = f"  {each.task_path}" if each.task_path else ""
    return join("  ", str(each.task_id), "  ", styled(word, style), f"{path}: {each.message}")
