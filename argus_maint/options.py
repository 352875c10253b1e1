"""Reading raw settings: values, tables of options, and the problems they meet.

Using it: an ``Option`` says how one key is read, a table is a dict of them by
name, and a ``Reader`` reads a raw dict by a table. It raises nothing and keeps
every problem, with "did you mean" for a key that nobody knows.

A parser takes ``(value, what)`` and returns the value as our code uses it, or
raises ValueError with one line that begins with ``what`` and says what is right.
"""

from __future__ import annotations

import difflib
import os
import re
import reprlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

WRONG_VALUE = "argus_maint.E001"
UNKNOWN_KEY = "argus_maint.E002"

# Far past any sensible value, and short enough for date arithmetic to bear.
LONGEST = 36_500 * 86_400.0


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with the setting: a check id, what it is, what helps."""

    id: str
    message: str
    hint: str

    def __str__(self) -> str:
        return f"{self.message} {self.hint}"


_NUMBER = r"(\d+(?:\.\d+)?)"
_DURATION = re.compile(
    rf"(?:{_NUMBER}d)?\s*(?:{_NUMBER}h)?\s*(?:{_NUMBER}m)?\s*(?:{_NUMBER}s)?", re.ASCII
)
_PLAIN = re.compile(_NUMBER, re.ASCII)
_UNITS = (86_400, 3_600, 60, 1)


def parse_duration(value: object, what: str) -> float:
    """Return a duration in seconds.

    Takes a number of seconds, a timedelta, or a string such as ``"90"``,
    ``"30s"``, ``"10m"``, ``"1h30m"`` or ``"7d"``, 0 included.
    """
    seconds = _seconds(value)
    if seconds is None or not 0 <= seconds <= LONGEST:
        raise ValueError(
            f'{what} must be a duration such as 90 (seconds), "30s", "10m", "1h30m" or "7d", '
            f"from 0 to 36500d, not {show(value)}."
        )
    return float(seconds)


def _seconds(value: object) -> float | None:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    if not isinstance(value, str):
        return None
    text = value.strip()
    if _PLAIN.fullmatch(text):
        return float(text)
    match = _DURATION.fullmatch(text)
    if not match or not any(match.groups()):
        return None
    return sum(
        float(n) * unit for n, unit in zip(match.groups(), _UNITS, strict=True) if n is not None
    )


def positive(value: object, what: str) -> float:
    """Parse a duration longer than 0."""
    seconds = parse_duration(value, what)
    if not seconds:
        raise ValueError(f"{what} must be longer than 0 s.")
    return seconds


def positive_or_none(value: object, what: str) -> float | None:
    """Parse a duration longer than 0, or None."""
    return None if value is None else positive(value, what)


def at_least_one(value: object, what: str) -> int:
    """Parse a whole number, 1 or more."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{what} must be a whole number, 1 or more, not {show(value)}.")
    return value


def flag(value: object, what: str) -> bool:
    """Parse True or False."""
    if isinstance(value, bool):
        return value
    raise ValueError(f"{what} must be True or False, not {show(value)}.")


_SIZE = re.compile(rf"{_NUMBER}\s*([KMGT]?)(?:i?B)?", re.ASCII | re.IGNORECASE)
_POWERS = ("", "K", "M", "G", "T")
LARGEST = 1024**6


def parse_size(value: object, what: str) -> int:
    """Return a size in bytes.

    Takes a number of bytes or a string such as ``"16M"``, ``"1.5G"`` or ``"10GiB"``;
    K, M, G and T are powers of 1024.
    """
    size = _bytes(value)
    if size is None or not 0 <= size <= LARGEST:
        raise ValueError(
            f'{what} must be a size such as 4096 (bytes), "16M" or "1.5G", from 0 to 1048576T, '
            f"not {show(value)}."
        )
    return int(size)


def _bytes(value: object) -> float | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        return None
    return float(match[1]) * float(1024 ** _POWERS.index(match[2].upper()))


def share(value: object, what: str) -> float:
    """Parse a part of a whole: more than 0, at most 1."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1:
        raise ValueError(f"{what} must be a number above 0, 1 at most, not {show(value)}.")
    return float(value)


def first_and_ceiling(value: object, what: str) -> tuple[float, float]:
    """Parse a pair of durations, the first no longer than the second."""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise ValueError(
            f"{what} must be a pair, first delay and ceiling, such as (1, 60), not {show(value)}."
        )
    first, ceiling = (parse_duration(each, f"{what}[{n}]") for n, each in enumerate(value))
    if first > ceiling:
        raise ValueError(
            f"{what} has a first delay of {first:g} s over its ceiling of {ceiling:g} s; "
            f"the first delay comes first, as in ({ceiling:g}, {first:g})."
        )
    return first, ceiling


def text_or_none(value: object, what: str) -> str | None:
    """Parse a string that is not empty (a path too), or None."""
    if value is None:
        return None
    if not isinstance(value, (str, os.PathLike)) or not (text := os.fspath(value)):
        raise ValueError(f"{what} must be a string that is not empty, or None, not {show(value)}.")
    return str(text)


def url_or_none(value: object, what: str) -> str | None:
    """Parse an http or https URL, or None. An error does not show it: its path may be secret."""
    if value is None or (isinstance(value, str) and _is_url(value)):
        return value
    kind = "this text" if isinstance(value, str) else type(value).__name__
    raise ValueError(
        f'{what} must be an http or https URL such as "https://hc-ping.com/UUID", or None, '
        f"not {kind} (which is not shown: it may be secret)."
    )


def _is_url(text: str) -> bool:
    plain = text.isascii() and text.isprintable() and " " not in text
    try:
        parts = urlsplit(text)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # no port number, or half an IPv6 address
        return False
    return plain and known and not parts.fragment


def pattern_problem(pattern: object, where: str) -> tuple[str, str] | None:
    """What is wrong with a pattern for task paths or a name, and a hint; None where it is right."""
    if isinstance(pattern, str) and pattern and not any(map(str.isspace, pattern)):
        return None
    return (
        f"{where}: a pattern must be a string, not empty and without spaces, not {show(pattern)}.",
        'It is matched against the dotted task path, as "*" or "payments.tasks.*".',
    )


def specificity(pattern: str) -> tuple[int, int]:
    """Rank a pattern by its literal characters; among equals the one with fewer ``*`` wins."""
    outside_sets = re.sub(r"\[!?\]?[^\]]*\]", "", pattern)
    return len(re.sub(r"[*?]", "", outside_sets)), -outside_sets.count("*")


def one_of(*choices: str) -> Callable[[object, str], str]:
    """Return a parser that takes one of these words."""

    def parse(value: object, what: str) -> str:
        if isinstance(value, str) and value in choices:
            return value
        known = " or ".join(f'"{choice}"' for choice in choices)
        raise ValueError(
            f"{what} must be {known}, not {show(value)}.{did_you_mean(value, choices)}"
        )

    return parse


class _Short(reprlib.Repr):
    def repr_str(self, x: str, level: int) -> str:
        return super().repr_str(re.sub(r"://\S+", "://...", x), level)


_short = _Short()
_short.maxstring = _short.maxother = 100


def show(value: object) -> str:
    """Return the repr of a wrong value, cut to a readable length; of a URL the scheme only."""
    return _short.repr(value)


def did_you_mean(wrong: object, known: Iterable[str], near_enough: float = 0.6) -> str:
    """Return `` Did you mean "...".`` with a leading space, or nothing if nothing is near.

    ``near_enough``: what share of the two must be the same, as difflib counts it.
    """
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(str(wrong).lower(), by_lower, n=1, cutoff=near_enough)
    return f' Did you mean "{by_lower[near[0]]}"?' if near else ""


@dataclass(frozen=True, slots=True)
class Option:
    """How one option is read (``parse(value, what)``), and the hint for a wrong value."""

    parse: Callable[[object, str], Any]
    hint: str


class Reader:
    """Reads raw mappings by tables of options, and keeps every problem it meets."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def mapping(self, raw: object, where: str, example: str) -> Mapping[Any, Any]:
        """Return ``raw`` if it is a mapping, else note the problem and return an empty one."""
        if isinstance(raw, Mapping):
            return raw
        self.note(
            WRONG_VALUE, f"{where} must be a dict, not {show(raw)}.", f"For example {example}."
        )
        return {}

    def known(self, raw: Mapping[Any, Any], known: Iterable[str], where: str) -> dict[str, Any]:
        """Return the items whose keys are known; note the others."""
        names = sorted(known)
        for key in raw:
            if key not in names:
                self.note(
                    UNKNOWN_KEY,
                    f"{where} has no key {show(key)}.{did_you_mean(key, names)}",
                    f"Known keys: {', '.join(names)}.",
                )
        return {key: value for key, value in raw.items() if key in names}

    def options(
        self, raw: Mapping[Any, Any], table: Mapping[str, Option], where: str, item: str = '["{}"]'
    ) -> dict[str, Any]:
        """Return the options of ``table`` that ``raw`` sets right; ``item`` names one of them."""
        values = {}
        for key, value in self.known(raw, table, where).items():
            try:
                values[key] = table[key].parse(value, where + item.format(key))
            except ValueError as error:
                self.note(WRONG_VALUE, str(error), table[key].hint)
        return values

    def by_pattern(
        self, raw: object, table: Mapping[str, Option], where: str, example: str, options: str
    ) -> tuple[tuple[str, dict[str, Any]], ...]:
        """Return (pattern, options) pairs of a dict of dicts, from the least specific to the most.

        ``example`` is one of the patterns for a hint, and ``options`` what it could have.
        """
        found: list[tuple[str, dict[str, Any]]] = []
        for pattern, each in self.mapping(raw, where, f'{{"{example}": {options}}}').items():
            name = f'{where}["{pattern}"]'
            if problem := pattern_problem(pattern, name):
                self.note(WRONG_VALUE, *problem)
            else:
                mapping = self.mapping(each, name, options)
                found.append((pattern, self.options(mapping, table, name)))
        return tuple(sorted(found, key=lambda pair: specificity(pair[0])))

    def note(self, id: str, message: str, hint: str) -> None:
        """Keep one problem."""
        self.problems.append(Problem(id, message, hint))
