"""The ``ARGUS_MAINT`` setting as one typed object.

Using it::

    from argus_maint.conf import get_settings

    get_settings().lease  # 15.0

Options, with their defaults. A duration is a number of seconds, a timedelta, or
a string such as ``"30s"``, ``"10m"``, ``"1h30m"`` or ``"7d"``::

    ARGUS_MAINT = {
        # What becomes of a task whose worker is lost, by task path. All patterns
        # that match apply; the one with more literal characters wins, key by key.
        "RESCUE": {
            "*": {
                "on_lost": "requeue",    # or "fail"
                "max_losses": 3,         # lost workers before the task is quarantined
                "backoff": (1, 60),      # first delay and ceiling, in seconds
                "time_limit": None,      # how long a run may take
                "on_overdue": "report",  # or "kill", past the time limit
            },
        },
        "PROCESSES": {
            "lease": 15,                 # seconds a process counts as alive after a beat
            "beat": 5,                   # seconds from beat to beat; a third of a lease set alone
            "retention": "7d",           # how long rows of dead processes are kept
            "unregistered_after": None,  # when a task under an unknown worker counts as lost
            "stalled_after": "15m",      # when a queue that does not move is a problem
        },
        "RETENTION": {...},              # how long finished tasks are kept: see ``retention``
        "PRUNE": {
            "target": 0.05,              # seconds that one batch may hold its locks
            "duty": 0.25,                # share of the time that is spent deleting
            "max_seconds": None,         # when a pass stops, to go on next time
            "max_replica_lag": "30s",    # PostgreSQL: replicas further behind are waited for
            "archive": None,             # a folder: finished tasks are written there first
            "redact": None,              # dotted path of a function(dict) -> dict for that
        },
        "STORAGE": {...},                # see argus_maint.conf_storage
        "JOBS": {...},                   # see argus_maint.conf_jobs
        "PING": {...},                   # see argus_maint.conf_ping
        "FINDINGS": {...},               # see argus_maint.conf_findings
        "BACKENDS": {                    # adapters for task backends of your own, by class
            "loft.backends.PigeonBackend": "loft.maint.CarrierPigeons",
        },
    }

Errors: ``problems`` collects every one, and ``argus_maint.checks`` shows them;
``get_settings`` raises them together as ``ImproperlyConfigured``.

A new section is an entry in ``SECTIONS``, a function that reads it, and fields of
``Settings`` with their defaults.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from argus_maint import conf_findings, conf_jobs, conf_ping, conf_storage, retention
from argus_maint.conf_findings import Code
from argus_maint.conf_jobs import DOTTED, Job
from argus_maint.conf_ping import Ping
from argus_maint.conf_storage import Storage
from argus_maint.options import (
    WRONG_VALUE,
    Option,
    Problem,
    Reader,
    at_least_one,
    first_and_ceiling,
    one_of,
    parse_duration,
    positive,
    positive_or_none,
    share,
    show,
    text_or_none,
)
from argus_maint.retention import Retention

NAME = "ARGUS_MAINT"

LEASE_AND_BEAT = "argus_maint.E003"


@dataclass(frozen=True, slots=True)
class Policy:
    """What to do with one task when its worker is lost, or when it runs too long.

    Attributes:
        on_lost: ``"requeue"`` (default) runs it again, ``"fail"`` ends it as FAILED.
        max_losses: counted losses before it is quarantined, at least 1 (default 3).
        backoff: first delay and ceiling before it may run again, in seconds
            (default 1 and 60).
        time_limit: seconds that one run may take (default ``None``, no limit).
        on_overdue: ``"report"`` (default) or ``"kill"`` a run past its limit.
    """

    on_lost: str = "requeue"
    max_losses: int = 3
    backoff: tuple[float, float] = (1.0, 60.0)
    time_limit: float | None = None
    on_overdue: str = "report"

    def delay(self, losses: int) -> float:
        """Return the seconds to wait after that many counted losses.

        The first loss waits ``backoff[0]``, each further one twice as long, up to
        ``backoff[1]``. Without a counted loss there is nothing to wait for: 0.
        """
        if losses < 1:
            return 0.0
        first, ceiling = self.backoff
        try:
            return min(ceiling, math.ldexp(first, losses - 1))
        except OverflowError:
            return ceiling


@dataclass(frozen=True, slots=True)
class Prune:
    """How finished tasks are deleted; times in seconds."""

    target: float = 0.05
    duty: float = 0.25
    max_seconds: float | None = None
    max_replica_lag: float = 30.0
    archive: str | None = None
    redact: str | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole setting, validated; all durations in seconds.

    ``rescue`` holds pairs of a pattern and its options, from the least to the most specific.
    A queue is *stalled* when a task has been ready for ``stalled_after``, and every worker
    of the queue has been at one task for that long.
    """

    rescue: tuple[tuple[str, dict[str, Any]], ...] = ()
    lease: float = 15.0
    beat: float = 5.0
    process_retention: float = 7 * 86_400.0
    unregistered_after: float | None = None
    stalled_after: float = 900.0
    retention: Retention = field(default_factory=Retention)
    prune: Prune = field(default_factory=Prune)
    storage: Storage = Storage()
    jobs: dict[str, Job] = field(default_factory=conf_jobs.defaults)
    job_problems: tuple[Problem, ...] = ()
    ping: Ping = Ping()
    findings: dict[str, Code] = field(default_factory=lambda: dict(conf_findings.CODES))
    backends: dict[str, str] = field(default_factory=dict)


POLICY_OPTIONS: dict[str, Option] = {
    "on_lost": Option(
        one_of("requeue", "fail"),
        '"requeue" (the default) runs a lost task again; "fail" ends it as FAILED.',
    ),
    "max_losses": Option(
        at_least_one,
        "How often a task may lose its worker before it is quarantined; the default is 3.",
    ),
    "backoff": Option(
        first_and_ceiling,
        "The delay after the first loss, doubled for each further one, and its ceiling; "
        "the default is (1, 60).",
    ),
    "time_limit": Option(
        positive_or_none,
        "How long one run of a task may take; None (the default) means no limit.",
    ),
    "on_overdue": Option(
        one_of("report", "kill"),
        '"report" (the default) only tells of a task past its time limit; "kill" ends its worker.',
    ),
}

PROCESS_OPTIONS: dict[str, Option] = {
    "lease": Option(
        positive,
        "How long a process counts as alive after its last beat; the default is 15 s.",
    ),
    "beat": Option(
        positive,
        "The time from beat to beat; the default is 5 s, or a third of a lease that is set.",
    ),
    "retention": Option(
        parse_duration,
        'How long rows of dead processes are kept for the post-mortem; the default is "7d".',
    ),
    "unregistered_after": Option(
        positive_or_none,
        "When a task under a worker that nobody registered counts as lost; "
        "None (the default) means never.",
    ),
    "stalled_after": Option(
        positive,
        "When a queue whose workers are all at one task while others wait is a problem; "
        'the default is "15m".',
    ),
}


PRUNE_OPTIONS: dict[str, Option] = {
    "target": Option(positive, "Seconds that one batch may hold its locks; the default is 0.05."),
    "duty": Option(share, "The share of the time that is spent deleting; the default is 0.25."),
    "max_seconds": Option(
        positive_or_none, "When a pass stops; None (the default) means when all is done."
    ),
    "max_replica_lag": Option(
        positive, 'Replicas further behind are waited for; the default is "30s".'
    ),
    "archive": Option(
        text_or_none, "A folder; None (the default) means that nothing is kept of what is deleted."
    ),
    "redact": Option(
        text_or_none, 'Such as "shop.tasks.without_secrets", a function from dict to dict.'
    ),
}


def _read_rescue(raw: object, reader: Reader) -> dict[str, Any]:
    where = f'{NAME}["RESCUE"]'
    example = '{"on_lost": "requeue"}'
    return {"rescue": reader.by_pattern(raw, POLICY_OPTIONS, where, "*", example)}


def _read_processes(raw: object, reader: Reader) -> dict[str, Any]:
    where = f'{NAME}["PROCESSES"]'
    mapping = reader.mapping(raw, where, '{"lease": 15}')
    values = reader.options(mapping, PROCESS_OPTIONS, where)
    if all(name in values for name in ("lease", "beat") if name in mapping):
        try:
            values["lease"], values["beat"] = resolve_lease(
                values.get("lease"), values.get("beat"), Settings()
            )
        except ValueError as error:
            hint = "A lease must be 1 s or more, and at least twice the beat."
            reader.note(LEASE_AND_BEAT, f"{where}: {error}", hint)
    if "retention" in values:
        values["process_retention"] = values.pop("retention")
    return values


def _read_retention(raw: object, reader: Reader) -> dict[str, Any]:
    return {"retention": retention.read(raw, f'{NAME}["RETENTION"]', reader)}


def _read_prune(raw: object, reader: Reader) -> dict[str, Any]:
    where = f'{NAME}["PRUNE"]'
    mapping = reader.mapping(raw, where, '{"duty": 0.25}')
    return {"prune": Prune(**reader.options(mapping, PRUNE_OPTIONS, where))}


def _read_storage(raw: object, reader: Reader) -> dict[str, Any]:
    return {"storage": conf_storage.read(raw, reader, f'{NAME}["STORAGE"]')}


def _read_jobs(raw: object, reader: Reader) -> dict[str, Any]:
    # Apart: a job that is set wrong must not keep the others from running.
    apart = Reader()
    jobs = conf_jobs.read(raw, apart, f'{NAME}["JOBS"]')
    problems = tuple(replace(each, id=conf_jobs.WRONG_JOB) for each in apart.problems)
    return {"jobs": jobs, "job_problems": problems}


def _read_ping(raw: object, reader: Reader) -> dict[str, Any]:
    return {"ping": conf_ping.read(raw, reader, f'{NAME}["PING"]')}


def _read_findings(raw: object, reader: Reader) -> dict[str, Any]:
    return {"findings": conf_findings.read(raw, reader, f'{NAME}["FINDINGS"]')}


def _read_backends(raw: object, reader: Reader) -> dict[str, Any]:
    where, example = f'{NAME}["BACKENDS"]', '{"loft.backends.Pigeons": "loft.maint.Pigeons"}'
    found = {}
    for backend, adapter in reader.mapping(raw, where, example).items():
        if all(isinstance(each, str) and DOTTED.fullmatch(each) for each in (backend, adapter)):
            found[backend] = adapter
        else:
            message = f"{where}: {show(backend)}: {show(adapter)} are no two dotted paths."
            reader.note(WRONG_VALUE, message, f"The backend's class and its adapter: {example}")
    return {"backends": found}


SECTIONS: dict[str, Callable[[object, Reader], dict[str, Any]]] = {
    "RESCUE": _read_rescue,
    "PROCESSES": _read_processes,
    "RETENTION": _read_retention,
    "PRUNE": _read_prune,
    "STORAGE": _read_storage,
    "JOBS": _read_jobs,
    "PING": _read_ping,
    "FINDINGS": _read_findings,
    "BACKENDS": _read_backends,
}


def resolve_lease(
    lease: float | None, beat: float | None, settings: Settings
) -> tuple[float, float]:
    """Return the (lease, beat) in force, where ``None`` means not given.

    A lease alone makes the beat a third of it; a beat alone keeps the lease of
    ``settings``. Raises ValueError where the two do not fit.
    """
    if lease is None and beat is None:
        return settings.lease, settings.beat
    lease = settings.lease if lease is None else parse_duration(lease, "the lease")
    beat = lease / 3 if beat is None else positive(beat, "the beat")
    if lease < 1:
        raise ValueError(f"the lease must be 1 s or more, not {lease:g} s.")
    if lease < 2 * beat:
        raise ValueError(
            f"a lease of {lease:g} s does not outlast one missed beat of {beat:g} s; "
            f"use a lease of at least {2 * beat:g} s or a beat of at most {lease / 2:g} s."
        )
    return lease, beat


def raw_setting() -> object:
    """Return the setting as the site wrote it, or an empty dict."""
    return getattr(django_settings, NAME, {})


def problems(raw: object) -> list[Problem]:
    """Return everything that is wrong with a raw setting. Raises nothing."""
    settings, found = _read(raw)
    return [*found, *settings.job_problems]


def jobs_of(raw: object) -> dict[str, Job]:
    """The jobs of a raw setting that are set right, whatever else is wrong. Raises nothing."""
    return _read(raw)[0].jobs


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Return the setting, validated and cached.

    Raises ImproperlyConfigured with all its problems, one a line, but for those of single
    jobs: ``job_problems`` keeps these.
    """
    settings, found = _read(raw_setting())
    if found:
        lines = "".join(f"\n- {problem}" for problem in found)
        raise ImproperlyConfigured(f"The setting {NAME} is wrong:{lines}")
    return settings


def _read(raw: object) -> tuple[Settings, list[Problem]]:
    reader = Reader()
    values: dict[str, Any] = {}
    mapping = reader.mapping(raw, NAME, '{"RESCUE": {"*": {}}}')
    for name, section in reader.known(mapping, SECTIONS, NAME).items():
        values |= SECTIONS[name](section, reader)
    return Settings(**values), reader.problems


def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting == NAME:
        get_settings.cache_clear()


setting_changed.connect(_forget, dispatch_uid="argus_maint.conf")
