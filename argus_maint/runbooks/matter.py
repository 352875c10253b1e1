"""The front matter of a page: ``key: value`` between two lines ``---``.

It is a subset of YAML, so that other tools read the same from it: a value that YAML would
take for something else than this very text has to be in double quotes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from argus_maint.conf_findings import SEVERITIES
from argus_maint.options import did_you_mean
from argus_maint.runbooks.errors import PageError
from argus_maint.runbooks.variables import NAMES

SUPERVISORS = ("hand", "systemd", "supervisord", "runit", "openrc", "kubernetes")
KEYS = ("alert", "severity", "summary", "fault", "variables", "supervisors")
MAY_BE_EMPTY = ("variables",)
_LINE = re.compile(r"([a-z_]+):(?: +(.*?))? *")
_NOT_PLAIN = re.compile(r"[\[\]{}&*!|>'%@`#,?:-]|.*(?:: | #|:$)")


@dataclass(frozen=True, slots=True)
class Matter:
    """What a page says of itself.

    Attributes:
        alert: the code of its finding, and the name of the file.
        severity: critical, warning or info.
        summary: what is the matter, in one line.
        fault: the name of the fault that proves the page.
        variables: names of the values that its commands need, as ``QUEUE``.
        supervisors: who may run the workers and schedulers of a site that the page is for.
        raw: each value as it is written, without quotes.
    """

    alert: str
    severity: str
    summary: str
    fault: str
    variables: tuple[str, ...]
    supervisors: tuple[str, ...]
    raw: Mapping[str, str]


def read_matter(path: Path, lines: list[str]) -> tuple[Matter, int]:
    """The front matter, and how many lines of the file it takes."""
    if not lines or lines[0] != "---" or "---" not in lines[1:]:
        raise PageError(path, 1, "the page must begin with front matter between lines of ---")
    end = lines.index("---", 1)
    values: dict[str, str] = {}
    places: dict[str, int] = {}
    for number, line in enumerate(lines[1:end], 2):
        key, value = _pair(path, number, line)
        if key in values:
            raise PageError(path, number, f"{key!r} is there twice")
        values[key], places[key] = value, number
    for key in KEYS:
        if not values.get(key) and (key not in values or key not in MAY_BE_EMPTY):
            raise PageError(path, places.get(key, end + 1), f"the front matter needs '{key}: ...'")
    return _matter(path, values, places), end + 1


def _pair(path: Path, number: int, line: str) -> tuple[str, str]:
    found = _LINE.fullmatch(line)
    if not found:
        raise PageError(path, number, f"front matter is 'key: value', not {line!r}")
    key, value = found[1], found[2] or ""
    if key not in KEYS:
        near = did_you_mean(key, KEYS) or f" It must be one of {', '.join(KEYS)}."
        raise PageError(path, number, f"the front matter has no {key!r}.{near}")
    if quoted := re.fullmatch(r'"([^"\\]*)"', value):
        return key, quoted[1]
    if '"' in value[:1] or _NOT_PLAIN.match(value):
        raise PageError(path, number, f"put the value of {key} in double quotes")
    return key, value


def _matter(path: Path, values: dict[str, str], places: dict[str, int]) -> Matter:
    if values["alert"] != path.stem:
        raise PageError(path, places["alert"], f"alert must be {path.stem!r}, the name of the file")
    _known(path, places["severity"], "severity", (values["severity"],), SEVERITIES)
    variables = _list(values["variables"])
    _known(path, places["variables"], "variable", variables, tuple(NAMES))
    supervisors = _list(values["supervisors"])
    _known(path, places["supervisors"], "supervisor", supervisors, SUPERVISORS)
    return Matter(
        values["alert"],
        values["severity"],
        values["summary"],
        values["fault"],
        variables,
        supervisors,
        values,
    )


def _list(text: str) -> tuple[str, ...]:
    return tuple(each.strip() for each in text.split(",") if each.strip())


def _known(
    path: Path, line: int, what: str, given: tuple[str, ...], known: tuple[str, ...]
) -> None:
    for each in given:
        if each not in known:
            near = did_you_mean(each, known) or f" It must be one of {', '.join(known)}."
            raise PageError(path, line, f"there is no {what} {each!r}.{near}")
