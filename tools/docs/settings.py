"""The page of every key of ``ARGUS_MAINT``, from the tables that read it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from argus_maint import checks, conf, conf_findings, conf_jobs, conf_ping, conf_storage, retention
from argus_maint import options as reading
from argus_maint.backends.adapters import KNOWN
from argus_maint.options import Option
from tools.docs import runbooks
from tools.docs.text import code, page, prose, table

PATH = "reference/settings.md"

# What each section is for. Which sections there are is the code's to say: a test compares.
SECTIONS = {
    "RESCUE": "What becomes of a task whose worker is lost. Each key is a pattern of the task's "
    "dotted path, such as `payments.tasks.*`, and its value a dict of these keys. All patterns "
    "that match apply; the one with more literal characters wins, key by key. What a task "
    "declares beside its code with `rescue_policy` wins over all of them.",
    "PROCESSES": "When a process counts as dead, and what is kept of it.",
    "RETENTION": "How long rows are kept. `queues` and `tasks` are dicts of dicts: "
    "`queues` by the name of a queue, `tasks` by a pattern of the path. Each takes "
    "`successful`, `failed` and `quarantined`. A task's pattern wins over its queue, and its "
    "queue over the rest.",
    "PRUNE": "How finished tasks are deleted.",
    "STORAGE": "What `maint storage --run` and the job `storage` may do.",
    "JOBS": "The periodic jobs: see [Jobs and schedules](../schedule.md). Each key is the name "
    "of a job, ours or your own, and its value a dict of these keys.",
    "PING": "The dead-man's switch: see [Pings](../pings.md).",
    "FINDINGS": "When a condition is a finding, and how urgent it is. Each key is a code, and "
    "its value a dict of the keys below. The [runbook](../runbooks/index.md) of a code says "
    "what to do.",
    "BACKENDS": "Adapters for task backends of your own, or in the place of ours: each key is the "
    "dotted path of a backend's class, as `TASKS` names it or as its module defines it, and its "
    "value that of the adapter's class. It holds for subclasses too, and wins over what is built "
    "in. See [Task backends](../backends/index.md#a-backend-of-your-own).",
}
INTRO = """\
This page is made from the code. `ARGUS_MAINT` is a dict in your Django settings, and every key
may be left out. A wrong value or an unknown key is an error of `manage.py check`, which says
what would be right.

A **duration** is a number of seconds, a `timedelta`, or a text such as `"30s"`, `"10m"`,
`"1h30m"` or `"7d"`. A **size** is a number of bytes, or a text such as `"16M"` or `"1.5G"`;
K, M, G and T are powers of 1024. A **share** is a number above 0, and 1 at most."""

_DURATIONS = (reading.parse_duration, reading.positive, reading.positive_or_none)
_KINDS: dict[Callable[..., Any], str] = {
    reading.parse_duration: "duration",
    reading.positive: "duration above 0",
    reading.positive_or_none: "duration above 0, or `None`",
    reading.at_least_one: "whole number, 1 or more",
    reading.flag: "`True` or `False`",
    reading.parse_size: "size",
    reading.share: "share",
    reading.first_and_ceiling: "two durations",
    reading.text_or_none: "text, or `None`",
    reading.url_or_none: "URL, or `None`",
}
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))
_DEFAULT = re.compile(
    r"[;.](?: [Tt]he default is)? (?:\"[^\"]*\"|\([^)]*\)|[\d.]+(?: s)?|None|True)\.$"
)
HEAD = ["key", "default", "value", "meaning"]


def pages() -> dict[str, str]:
    """The page by its path."""
    makers: dict[str, Callable[[], Iterable[str]]] = {
        "RESCUE": lambda: [_table(conf.POLICY_OPTIONS, vars_of(conf.Policy()))],
        "PROCESSES": lambda: [_table(conf.PROCESS_OPTIONS, _processes())],
        "RETENTION": _retention,
        "PRUNE": lambda: [_table(conf.PRUNE_OPTIONS, vars_of(conf.Prune()))],
        "STORAGE": lambda: [_table(conf_storage.OPTIONS, vars_of(conf_storage.Storage()))],
        "JOBS": _jobs,
        "PING": lambda: [_table(conf_ping.OPTIONS, vars_of(conf_ping.Ping()))],
        "FINDINGS": _findings,
        "BACKENDS": _backends,
    }
    parts = ["# Settings", INTRO]
    for name in conf.SECTIONS:  # a new one without a maker stops the build, by a KeyError
        parts += [f"## {name}", SECTIONS[name], *makers[name]()]
    return {PATH: page(*parts, "## System checks", *_checks())}


def vars_of(value: object) -> dict[str, Any]:
    """The fields of one of our dataclasses, which have slots."""
    return {name: getattr(value, name) for name in value.__dataclass_fields__}  # type: ignore[attr-defined]


def _processes() -> dict[str, Any]:
    values = vars_of(conf.Settings())
    return values | {"retention": values["process_retention"]}


def _retention() -> Iterable[str]:
    default = retention.Retention()
    yield _table(retention.AGES | retention.OWN, {**vars_of(default), **default.ages})


def _jobs() -> Iterable[str]:
    told = dict(_bullets(conf_jobs.__doc__ or ""))
    yield table(["key", "meaning"], [[code(key), prose(told[key])] for key in conf_jobs._ALL_KEYS])
    yield "These are the jobs of ours:"
    rows = []
    for name, ours in conf_jobs.OURS.items():
        limit = _duration(ours.time_limit)
        rows.append([code(name), code(ours.expression), code(limit), prose(ours.summary)])
    yield table(["job", "schedule", "time limit", "what it does"], rows)
    yield "and these are their `options`:"
    options = [
        [code(name), code(key), _kind(option), prose(option.hint)]
        for name, ours in conf_jobs.OURS.items()
        for key, option in ours.options.items()
    ]
    yield table(["job", "option", "value", "meaning"], options)


def _bullets(docstring: str) -> list[tuple[str, str]]:
    """The keys that a docstring lists as ``- ``key``: meaning``."""
    return re.findall(r"^- ``(\w+)``: (.*?)(?=\n- ``|\n\n)", docstring, re.DOTALL | re.MULTILINE)


def _findings() -> Iterable[str]:
    yield "Every code takes these:"
    rows = [[code(key), _kind(each), prose(each.hint)] for key, each in conf_findings._KEYS.items()]
    yield table(["key", "value", "meaning"], rows)
    yield "Their defaults by code, in passes that see it and passes that do not:"
    yield table(
        ["code", "severity", "opens after", "closes after", "what it says"],
        [
            [
                f"[`{each.name}`](../{_runbook(each.name)})",
                each.severity,
                str(each.opens_after),
                str(each.closes_after),
                prose(each.summary),
            ]
            for each in conf_findings.CODES.values()
        ],
    )
    yield "Some have thresholds of their own:"
    own = [
        [code(name), *row]
        for name, each in conf_findings.CODES.items()
        for row in _rows(_own_options(name), each.options)
    ]
    yield table(["code", *HEAD], own)


def _runbook(code_: str) -> str:
    return f"runbooks/{code_}.md" if code_ in runbooks.sources() else runbooks.INDEX


def _backends() -> Iterable[str]:
    yield "These are built in, and need no setting:"
    rows = [[code(backend), code(adapter)] for backend, adapter in KNOWN.items()]
    yield table(["backend", "adapter"], rows)


def _own_options(name: str) -> dict[str, Option]:
    every = conf_findings.options_of(name)
    return {key: each for key, each in every.items() if key not in conf_findings._KEYS}


def _checks() -> Iterable[str]:
    yield "`python manage.py check --tag argus_maint` makes them; every command does at its start."
    found = re.findall(r"^([EW]\d{3})\s+(.+)$", checks.__doc__ or "", re.MULTILINE)
    yield table(["id", "means"], [[code(f"argus_maint.{one}"), prose(told)] for one, told in found])


def _table(options: Mapping[str, Option], defaults: Mapping[str, Any]) -> str:
    return table(HEAD, _rows(options, defaults))


def _rows(options: Mapping[str, Option], defaults: Mapping[str, Any]) -> list[list[str]]:
    return [
        [code(key), code(shown(defaults[key], option)), _kind(option), prose(_meaning(option))]
        for key, option in options.items()
    ]


def _meaning(option: Option) -> str:
    """The hint without the default at its end, which has a column of its own."""
    return _DEFAULT.sub(".", option.hint)


def shown(value: Any, option: Option) -> str:
    """A default as a site would write it."""
    if option.parse in _DURATIONS and value is not None:
        return _duration(value)
    if option.parse is reading.parse_size:
        return _size(value)
    if option.parse is reading.first_and_ceiling:
        return f"({value[0]:g}, {value[1]:g})"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _duration(seconds: float | None) -> str:
    if seconds is None or seconds < 60:
        return str(seconds) if seconds is None else f"{seconds:g}"
    unit, letter = next(each for each in _UNITS if seconds % each[0] == 0)
    return f'"{seconds / unit:g}{letter}"'


def _size(size: int) -> str:
    power = max(n for n in range(5) if size % 1024**n == 0)
    return f'"{size // 1024**power}{" KMGT"[power].strip()}"'


def _kind(option: Option) -> str:
    """What values it takes; for one that is not known here, in its own words."""
    if option.parse in _KINDS:
        return _KINDS[option.parse]
    try:
        option.parse(object(), "it")
    except ValueError as error:
        said = re.match(r"it must be (.+?), not ", str(error))
        if said:
            return prose(said[1]).replace('"', "`")
    raise ValueError(f"say in _KINDS what {option.parse} takes")
