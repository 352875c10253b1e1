"""The section ``FINDINGS`` of the ARGUS_MAINT setting: what is a finding, and when.

``CODES`` has every finding there is. A code can be switched off, given another severity or
other thresholds, and told how patient to be; what is left out keeps its default::

    "FINDINGS": {
        "QueueBacklog": {"ready": 5000, "severity": "info"},
        "UnattendedQueue": {"unattended": "10m", "opens_after": 1},
        "UnregisteredWorker": {"enabled": False},
    }

Keys that each code has:

- ``enabled``: ``False`` never opens it (default True).
- ``severity``: ``"critical"``, ``"warning"`` or ``"info"``.
- ``opens_after``: passes in a row that must see it before it opens.
- ``closes_after``: passes in a row that must not see it before it closes.

The job ``findings`` makes a pass a minute. A threshold whose name is a duration is in seconds
or a string such as ``"10m"``.

The figures are ours. They were chosen so that a deploy of a minute, a burst that is worked
off, and a restart of the database open nothing (``tests/findings/test_calm.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from argus_maint.options import Option, Reader, at_least_one, flag, one_of, parse_size, positive
from argus_maint.options import share as a_share

CRITICAL, WARNING, INFO = "critical", "warning", "info"
SEVERITIES = (CRITICAL, WARNING, INFO)  # the most urgent first
EXAMPLE = '{"QueueBacklog": {"ready": 5000}}'


@dataclass(frozen=True, slots=True)
class Code:
    """One kind of finding. ``options`` holds its thresholds, by name."""

    name: str
    severity: str
    summary: str  # what it means, in one line
    opens_after: int = 2
    closes_after: int = 2
    enabled: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Threshold:
    """A threshold of a code, and how the setting gives it."""

    default: Any
    parse: Any
    hint: str

    @property
    def option(self) -> Option:
        return Option(self.parse, self.hint)


MINUTE, HOUR = 60.0, 3600.0
MIB = 2**20

_THRESHOLDS: dict[str, dict[str, _Threshold]] = {
    "DeadWorker": {
        "deaths": _Threshold(5, at_least_one, "Deaths of one supervisor's workers that are many."),
        "within": _Threshold(10 * MINUTE, positive, 'The time they are counted in; "10m".'),
    },
    "NoWorkers": {},
    "UnattendedQueue": {
        "unattended": _Threshold(
            2 * MINUTE, positive, 'How long a task may wait without a worker; "2m".'
        ),
    },
    "StuckTask": {
        "lost": _Threshold(
            2 * MINUTE, positive, 'How long a lost task may wait for its rescue; "2m".'
        ),
    },
    "PoisonTask": {},
    "RescueLoop": {
        "losses": _Threshold(5, at_least_one, "Losses of one kind of task that are many; 5."),
        "within": _Threshold(30 * MINUTE, positive, 'The time they are counted in; "30m".'),
    },
    "QueueBacklog": {
        "ready": _Threshold(1000, at_least_one, "Ready tasks that are many; the default is 1000."),
        "waits": _Threshold(
            5 * MINUTE, positive, 'And how long the oldest of them has waited then; "5m".'
        ),
        "oldest": _Threshold(15 * MINUTE, positive, 'A wait that is long for any number; "15m".'),
    },
    "FailureSpike": {
        "share": _Threshold(0.5, a_share, "The share of a kind of task that failed; 0.5."),
        "failures": _Threshold(20, at_least_one, "And how many of them at least; 20."),
        "within": _Threshold(10 * MINUTE, positive, 'The time they are counted in; "10m".'),
    },
    "ZombieWrite": {
        "within": _Threshold(HOUR, positive, 'How long ago one was refused at most; "1h".'),
    },
    "UnregisteredWorker": {
        "seen": _Threshold(
            2 * MINUTE, positive, 'How long a task runs under an unknown worker; "2m".'
        ),
    },
    "SchedulerDown": {},
    "MissedTick": {
        "late": _Threshold(10 * MINUTE, positive, 'A tick later than that is missed; "10m".'),
    },
    "JobFailed": {},
    "PruneBehind": {
        "behind": _Threshold(
            2 * 86_400.0, positive, 'How far past its retention a finished task may be; "2d".'
        ),
    },
    "TableBloat": {
        "share": _Threshold(0.5, a_share, "The share of the table that is empty or dead; 0.5."),
        "size": _Threshold(256 * MIB, parse_size, 'And its size at least; the default is "256M".'),
    },
    "DatabaseLocked": {
        "held": _Threshold(30.0, positive, 'How long a transaction may hold its locks; "30s".'),
    },
    "ClockSkew": {
        "skew": _Threshold(10.0, positive, 'How far apart clocks may be; "10s".'),
    },
    "ArchiveFailed": {},
    "BackendUnreachable": {},
    "Misconfigured": {},
}

# name: severity, summary, passes to open, passes to close
_CODES: dict[str, tuple[str, str, int, int]] = {
    "DeadWorker": (WARNING, "A worker died, and nothing took its place", 2, 2),
    "NoWorkers": (CRITICAL, "No worker is running at all", 2, 1),
    "UnattendedQueue": (CRITICAL, "Tasks wait in a queue that no worker takes from", 2, 1),
    "StuckTask": (WARNING, "A task does not come to its end", 2, 1),
    "PoisonTask": (WARNING, "A task lost its worker too often, and is in quarantine", 1, 1),
    "RescueLoop": (WARNING, "One kind of task loses its worker again and again", 2, 2),
    "QueueBacklog": (WARNING, "A queue grows faster than it is worked off", 3, 2),
    "FailureSpike": (WARNING, "One kind of task fails more often than not", 2, 2),
    "ZombieWrite": (WARNING, "A worker believed dead came back, and its result was refused", 1, 1),
    "UnregisteredWorker": (WARNING, "Tasks run under a worker that nobody looks after", 3, 1),
    "SchedulerDown": (CRITICAL, "The scheduler died, and no other runs the jobs", 2, 1),
    "MissedTick": (WARNING, "A job was due, and nobody ran it", 2, 1),
    "JobFailed": (WARNING, "A job ended with an error, was lost, or hangs", 2, 1),
    "PruneBehind": (WARNING, "Finished tasks stay long past their retention", 2, 1),
    "TableBloat": (WARNING, "The task table takes far more space than its rows", 2, 1),
    "DatabaseLocked": (CRITICAL, "A transaction holds locks that the queue waits for", 1, 1),
    "ClockSkew": (WARNING, "Clocks of hosts differ", 3, 2),
    "ArchiveFailed": (CRITICAL, "Finished tasks cannot be archived, and so are not pruned", 1, 1),
    "BackendUnreachable": (CRITICAL, "A task backend does not answer, or refuses us", 2, 1),
    "Misconfigured": (WARNING, "A setting is wrong", 2, 1),
}

CODES: dict[str, Code] = {
    name: Code(
        name,
        severity,
        summary,
        opens,
        closes,
        options={key: each.default for key, each in _THRESHOLDS[name].items()},
    )
    for name, (severity, summary, opens, closes) in _CODES.items()
}

_KEYS: dict[str, Option] = {
    "enabled": Option(flag, "False never opens it; the default is True."),
    "severity": Option(one_of(*SEVERITIES), "How urgent it is."),
    "opens_after": Option(at_least_one, "Passes in a row, a minute apart, that must see it."),
    "closes_after": Option(at_least_one, "Passes in a row that must not see it."),
}


def options_of(name: str) -> dict[str, Option]:
    """Every key that the setting may give for a code."""
    return _KEYS | {key: each.option for key, each in _THRESHOLDS[name].items()}


def read(raw: object, reader: Reader, where: str) -> dict[str, Code]:
    """The section: every code, as the site wants it. What is wrong is noted."""
    codes = dict(CODES)
    given = reader.known(reader.mapping(raw, where, EXAMPLE), CODES, where)
    for name, options in given.items():
        item = f'{where}["{name}"]'
        values = reader.options(reader.mapping(options, item, "{}"), options_of(name), item)
        codes[name] = _changed(codes[name], values)
    return codes


def _changed(code: Code, values: dict[str, Any]) -> Code:
    plain = {key: getattr(code, key) for key in _KEYS} | {
        key: value for key, value in values.items() if key in _KEYS
    }
    own = {key: value for key, value in values.items() if key not in _KEYS}
    return Code(code.name, summary=code.summary, options={**code.options, **own}, **plain)
