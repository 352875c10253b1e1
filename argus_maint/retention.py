"""How long finished tasks are kept: ``ARGUS_MAINT["RETENTION"]``.

Using it::

    retention = get_settings().retention
    retention.age("failed", "default", "shop.tasks.send")  # seconds, or None: never

Options, with their defaults. An age is a duration as everywhere in the setting, or
``None``, which keeps rows for ever::

    "RETENTION": {
        "successful": "14d",
        "failed": "90d",
        "quarantined": None,    # FAILED with TaskQuarantined: somebody has to look
        "queues": {"bulk": {"successful": "1d"}},
        "tasks": {"shop.tasks.sync_*": {"successful": "1h"}},
        "ledger": "365d",       # our own record of rescues, levers and acts
        "runs": "30d",          # and of jobs: what each tick came to
        "findings": "90d",      # and of findings, after they have closed
    }

A task's pattern wins over its queue, and its queue over the rest, key by key; of two
patterns that match, the one with more literal characters. The defaults are those that the
stock ``prune_db_task_results`` has for successful tasks, and longer for failed ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from argus_maint.options import Option, Reader, parse_duration, positive_or_none

DAY = 86_400.0
KINDS = ("successful", "failed", "quarantined")
Ages = Mapping[str, float | None]  # by kind, seconds; None: for ever

_HINT = "{} rows are kept that long after they finished; None keeps them. The default is {}."
AGES: dict[str, Option] = {
    "successful": Option(positive_or_none, _HINT.format("SUCCESSFUL", '"14d"')),
    "failed": Option(positive_or_none, _HINT.format("FAILED", '"90d"')),
    "quarantined": Option(positive_or_none, _HINT.format("Quarantined", "None")),
}
OWN: dict[str, Option] = {
    "ledger": Option(
        parse_duration, 'How long the record of rescues is kept; the default is "365d".'
    ),
    "runs": Option(parse_duration, 'How long the record of jobs is kept; the default is "30d".'),
    "findings": Option(parse_duration, 'How long closed findings are kept; the default is "90d".'),
}


@dataclass(frozen=True, slots=True)
class Retention:
    """Ages by kind, by queue and by pattern of the task's path."""

    ages: Ages = field(
        default_factory=lambda: {"successful": 14 * DAY, "failed": 90 * DAY, "quarantined": None}
    )
    queues: tuple[tuple[str, Ages], ...] = ()
    tasks: tuple[tuple[str, Ages], ...] = ()  # from the least to the most specific
    ledger: float = 365 * DAY
    runs: float = 30 * DAY
    findings: float = 90 * DAY

    def age(self, kind: str, queue: str, path: str) -> float | None:
        """Seconds that a finished task is kept; None: for ever."""
        age = dict(self.queues).get(queue, {}).get(kind, self.ages[kind])
        for pattern, ages in self.tasks:
            if kind in ages and fnmatchcase(path, pattern):
                age = ages[kind]
        return age

    def goes(self, age: float, kind: str, queue: str, path: str = "") -> bool:
        """Whether a task that finished ``age`` seconds ago is past its retention."""
        limit = self.age(kind, queue, path)
        return limit is not None and limit <= age

    def all_ages(self, kind: str) -> set[float]:
        """Every age that may apply to a kind."""
        every = [self.ages[kind]]
        every += [ages[kind] for _, ages in (*self.queues, *self.tasks) if kind in ages]
        return {age for age in every if age is not None}

    def shortest(self) -> float | None:
        """The shortest age there is, whatever it is for."""
        return min((age for kind in KINDS for age in self.all_ages(kind)), default=None)


def read(raw: object, where: str, reader: Reader) -> Retention:
    """Read the raw section; what is wrong with it is noted by the reader."""
    scopes, example = ("queues", "tasks"), '{"successful": "1d"}'
    mapping = reader.mapping(raw, where, example)
    known = reader.known(mapping, [*AGES, *OWN, *scopes], where)
    queues, tasks = (
        reader.by_pattern(known.get(name, {}), AGES, f'{where}["{name}"]', "bulk", example)
        for name in scopes
    )
    ages = {key: known[key] for key in AGES if key in known}
    own = {key: known[key] for key in OWN if key in known}
    return Retention(
        ages={**Retention().ages, **reader.options(ages, AGES, where)},
        queues=queues,
        tasks=tasks,
        **reader.options(own, OWN, where),
    )
