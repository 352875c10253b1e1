"""The section ``JOBS`` of the ARGUS_MAINT setting: what runs, when, and how.

Each job of ours can be switched, rescheduled and given options; any other name adds a job
of the site's own, with one of ``function``, ``task`` or ``command``::

    "JOBS": {
        "prune": {"schedule": "30 2 * * *", "options": {"max_seconds": "2h"}},
        "storage": {"enabled": False},
        "tokens": {"command": "check_token_expiry", "schedule": "0 6 * * *"},
        "version": {"command": ["check_version", "--save"], "schedule": "5 6 * * *"},
        "report": {"task": "shop.tasks.send_report", "schedule": "0 7 * * mon"},
        "tidy": {"function": "shop.jobs.tidy", "schedule": "*/5 * * * *"},
    }

Keys of a job, with their defaults:

- ``schedule``: five fields, as Debian's cron has them; a job of the site's own needs one.
- ``zone``: the time zone of the schedule (default: the setting TIME_ZONE).
- ``enabled``: ``False`` switches it off (default True).
- ``catch_up``: after downtime ``"latest"`` (default) runs the newest missed tick,
  ``"skip"`` none, ``"all"`` each of them, the newest 24 at most.
- ``on_lost``: when its process dies in the middle, ``"rerun"`` runs the tick again, five
  attempts at most, as long as the next one is not due; ``"report"`` only tells. Ours rerun,
  the site's report.
- ``time_limit``: how long a run may take (default ``"1h"``). A command is ended then; what
  runs in the scheduler's own process cannot be, and is reported.
- ``run_on``: ``"scheduler"`` (default), or ``"worker"``: through the task queue.
- ``options``: what the job itself takes; for a function or a task keyword arguments. A
  command has its arguments in a list, after its name.
- ``ping``: a URL outside that is told when a run starts and how it ends (default None).
- ``summary``: one line of what it does, for a job of the site's own.
- ``function``: a dotted path, called in the scheduler's process.
- ``task``: the dotted path of a Django task, which is enqueued.
- ``command``: a management command, or a list of one and its arguments.

Reading it imports nothing of the site.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from django.conf import settings as django_settings

from argus_maint.options import (
    Option,
    Reader,
    at_least_one,
    did_you_mean,
    flag,
    one_of,
    positive_or_none,
    share,
    show,
    url_or_none,
)
from argus_maint.ticks import Schedule, parse_schedule

WRONG_JOB = "argus_maint.E004"
MOST_CAUGHT_UP = 24
HOUR = 3600.0
NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
COMMAND = re.compile(r"[A-Za-z_]\w*")
EXAMPLE = '{"prune": {"schedule": "17 3 * * *"}}'
KINDS = ("function", "task", "command")


@dataclass(frozen=True, slots=True)
class Job:
    """One job as it is to run. ``kind`` is ``"ours"`` or one of ``KINDS``."""

    name: str
    summary: str
    schedule: Schedule
    kind: str = "ours"
    target: str = ""
    enabled: bool = True
    catch_up: str = "latest"
    on_lost: str = "rerun"
    time_limit: float | None = HOUR
    run_on: str = "scheduler"
    options: Mapping[str, Any] = field(default_factory=dict)
    runbook: str = ""
    ping: str | None = field(default=None, repr=False)  # who knows it can speak for the job


@dataclass(frozen=True, slots=True)
class Ours:
    """What we ship: the default schedule and the options a job of ours takes."""

    expression: str
    summary: str
    options: Mapping[str, Option] = field(default_factory=dict)
    time_limit: float = HOUR
    runbook: str = "JobFailed"


_SECONDS = Option(positive_or_none, "When a pass stops; None (the default) means by the setting.")

OURS: dict[str, Ours] = {
    "rescue": Ours(
        "* * * * *",
        "Give back the tasks of dead workers",
        {},
        300.0,
    ),
    "findings": Ours(
        "* * * * *",
        "Look for what needs a person, and keep the book of findings",
        {},
        60.0,
    ),
    "prune": Ours(
        "17 3 * * *",
        "Delete finished tasks past their retention",
        {
            "max_seconds": _SECONDS,
            "max_rows": Option(at_least_one, "Rows after which a pass stops."),
            "duty": Option(share, 'The share of the time spent deleting; see "PRUNE".'),
        },
        6 * HOUR,
        "PruneBehind",
    ),
    "storage": Ours(
        "47 4 * * *",
        "Give the space back that a prune has left, renew indexes and statistics",
        {"max_seconds": _SECONDS},
        HOUR,
        "TableBloat",
    ),
    "history": Ours(
        "7 4 * * *",
        "Delete our own rows past their retention: runs, rescues, findings, processes",
        {},
        HOUR,
    ),
}

# Jobs of ours that are no more, and what to set instead.
REPLACED = {
    "queues": "QueueBacklog and UnattendedQueue",
    "schedule": "MissedTick and JobFailed",
}

_KEYS: dict[str, Option] = {
    "catch_up": Option(one_of("latest", "skip", "all"), '"latest" is the default.'),
    "on_lost": Option(one_of("rerun", "report"), "What becomes of a run whose process died."),
    "time_limit": Option(positive_or_none, 'How long a run may take; the default is "1h".'),
    "run_on": Option(one_of("scheduler", "worker"), '"scheduler" is the default.'),
    "ping": Option(url_or_none, "A check at healthchecks.io or the like has such a URL."),
}
_ALL_KEYS = ("schedule", "zone", "enabled", "options", "summary", *_KEYS, *KINDS)


def defaults() -> dict[str, Job]:
    """Our jobs as they run when nothing is set."""
    zone = django_settings.TIME_ZONE
    return {
        name: Job(
            name,
            ours.summary,
            parse_schedule(ours.expression, zone),
            time_limit=ours.time_limit,
            runbook=ours.runbook,
        )
        for name, ours in OURS.items()
    }


def read(raw: object, reader: Reader, where: str) -> dict[str, Job]:
    """The section; what is wrong with a job is noted, that job left out, and the others stand."""
    jobs = defaults()
    for name, options in reader.mapping(raw, where, EXAMPLE).items():
        item = f'{where}["{name}"]'
        before, ours = len(reader.problems), jobs.pop(name, None)
        mapping = reader.mapping(options, item, '{"schedule": "17 3 * * *"}')
        if len(reader.problems) > before:
            continue  # no dict: that it also lacks a command helps nobody
        known = reader.known(mapping, _ALL_KEYS, item)
        try:
            job = _read_one(name, known, reader, item, ours)
        except ValueError as error:
            reader.note(WRONG_JOB, str(error), _hint(name))
            continue
        if len(reader.problems) == before:
            jobs[job.name] = job
    return jobs


def _hint(name: object) -> str:
    if isinstance(name, str) and name in OURS:
        return f'Its default schedule is "{OURS[name].expression}".'
    if name in REPLACED:
        return 'Leave it out, or set the job "findings".'
    return 'A job of your own is {"command": "check_token_expiry", "schedule": "0 6 * * *"}.'


def _read_one(
    name: object, raw: dict[str, Any], reader: Reader, where: str, ours: Job | None
) -> Job:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(
            f"{where}: a job's name must be lower-case letters, digits, - and _, "
            f"40 at most, not {show(name)}."
        )
    kinds = [kind for kind in KINDS if kind in raw]
    if ours is not None and kinds:
        raise ValueError(
            f'{where} is a job of ours; give your {kinds[0]} another name than "{name}".'
        )
    if name in REPLACED and not kinds:
        raise ValueError(
            f'{where} is no more: the job "findings" looks for that; its thresholds are those of '
            f'{REPLACED[name]} in ARGUS_MAINT["FINDINGS"].'
        )
    if ours is None and len(kinds) != 1:
        near = did_you_mean(name, OURS)
        raise ValueError(
            f"{where} must have one of function, task or command to be a job of your own, "
            f"and has {' and '.join(kinds) or 'none'}.{near}"
        )
    base = ours or _of_the_site(name, kinds[0], raw, where)
    values = reader.options({key: raw[key] for key in _KEYS if key in raw}, _KEYS, where)
    values["enabled"] = flag(raw.get("enabled", True), f'{where}["enabled"]')
    expression = raw.get("schedule", base.schedule.expression)
    zone = raw.get("zone", base.schedule.zone)
    values["schedule"] = parse_schedule(expression, zone, f'{where}["schedule"]')
    options = reader.mapping(raw.get("options", {}), f'{where}["options"]', "{}")
    if ours is not None:
        options = reader.options(options, OURS[name].options, f'{where}["options"]')
    elif options and base.kind == "command":
        raise ValueError(f"{where} is a command: its arguments go into a list, after its name.")
    return replace(base, options={**base.options, **options}, **values)


def _of_the_site(name: str, kind: str, raw: dict[str, Any], where: str) -> Job:
    target, form = raw[kind], COMMAND if kind == "command" else DOTTED
    options: dict[str, Any] = {}
    if kind == "command" and isinstance(target, (list, tuple)) and target:
        if not all(isinstance(each, str) for each in target):
            raise ValueError(f'{where}["command"] must be a list of strings, not {show(target)}.')
        target, options = target[0], {"argv": tuple(target[1:])}
    example = "check_token_expiry" if kind == "command" else "shop.jobs.tidy"
    if not isinstance(target, str) or not form.fullmatch(target):
        raise ValueError(f'{where}["{kind}"] must be such as "{example}", not {show(target)}.')
    if "schedule" not in raw:
        raise ValueError(f'{where} needs a schedule, such as "0 6 * * *".')
    summary = raw.get("summary", f"{kind} {target}")
    if not isinstance(summary, str) or not summary.isprintable():
        raise ValueError(f'{where}["summary"] must be one line of text, not {show(summary)}.')
    zone = django_settings.TIME_ZONE
    schedule = parse_schedule(raw["schedule"], raw.get("zone", zone), f'{where}["schedule"]')
    return Job(
        name,
        summary,
        schedule,
        kind,
        target,
        on_lost="report",
        options=options,
        runbook="JobFailed",
    )
