"""A fence of a page: its attributes, and the commands of one that is executed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from argus_maint.options import did_you_mean, positive
from argus_maint.runbooks.errors import PageError
from argus_maint.runbooks.matter import Matter
from argus_maint.runbooks.variables import IN_TEXT, uses

DATABASES = ("sqlite", "postgresql", "mariadb")
LIMIT = 60.0  # seconds for one command
ATTRIBUTES = ("supervisor", "database", "retry", "limit", "step", "ask")
_ATTRIBUTE = re.compile(r'([\w-]+)=(?:"([^"]*)"|([^\s"]+))(?:\s+|$)')
_STATUS = re.compile(r"\[(\d{1,3})\]")


@dataclass(frozen=True, slots=True)
class Attributes:
    """What stands after the language of a fence."""

    supervisor: str = ""
    database: str = ""
    retry: float = 0.0
    limit: float = LIMIT
    title: str = ""
    ask: str = ""

    @classmethod
    def read(cls, path: Path, line: int, text: str, matter: Matter) -> Attributes:
        """Read ``key=value`` and ``key="some words"``."""
        values: dict[str, str] = {}
        at, text = 0, text.strip()
        while at < len(text):
            found = _ATTRIBUTE.match(text, at)
            if not found:
                raise PageError(path, line, f"after the language come key=value, not {text[at:]!r}")
            key, value = found[1], found[2] if found[2] is not None else found[3]
            if key not in ATTRIBUTES or key in values:
                near = did_you_mean(key, ATTRIBUTES) or f" There are {', '.join(ATTRIBUTES)}."
                twice = f"attribute {key!r} is there twice"
                raise PageError(
                    path, line, twice if key in values else f"no attribute is called {key!r}.{near}"
                )
            values[key], at = value, found.end()
        return cls(
            _one_of(path, line, "supervisor", values, matter.supervisors),
            _one_of(path, line, "database", values, DATABASES),
            _seconds(path, line, "retry", values, 0.0),
            _seconds(path, line, "limit", values, LIMIT),
            values.get("step", ""),
            _words(path, line, "ask", values),
        )


def _one_of(path: Path, line: int, key: str, values: dict[str, str], known: tuple[str, ...]) -> str:
    value = values.get(key, "")
    if key in values and value not in known:
        near = did_you_mean(value, known)
        where = " in the front matter" if key == "supervisor" else ""
        raise PageError(
            path, line, f"{key} {value!r} is not among {', '.join(known)}{where}.{near}".rstrip()
        )
    return value


def _words(path: Path, line: int, key: str, values: dict[str, str]) -> str:
    words = values.get(key, "").strip()
    if key in values and not words:
        raise PageError(path, line, f"{key} is empty: say what has to be judged, or leave it out")
    return words


def _seconds(path: Path, line: int, key: str, values: dict[str, str], default: float) -> float:
    if key not in values:
        return default
    try:
        return positive(values[key], key)
    except ValueError as error:
        raise PageError(path, line, str(error)) from None


@dataclass(frozen=True, slots=True)
class Step:
    """One command of a page, and what the page says will come of it.

    Attributes:
        section: the section it stands in.
        command: shell text as it is written, several lines where it goes on with ``> ``.
        expected: lines of output, each of them a pattern in which ``...`` is anything.
        status: the exit status.
        retry: seconds within which it comes true; 0 for at once.
        limit: seconds that one try may take.
        supervisor, database: the only one it is for; empty for all.
        title: what it is for; may be empty.
        ask: what a person has to judge before it is run; empty where nothing.
        line: of its prompt, in the file.
        lines: how many lines of the file hold the command.
        end: the last line that belongs to it: of its output, if there is any.
    """

    section: str
    command: str
    expected: tuple[str, ...]
    status: int
    retry: float
    limit: float
    supervisor: str
    database: str
    title: str
    ask: str
    line: int
    lines: int
    end: int

    def fits(self, supervisor: str = "", database: str = "") -> bool:
        """Whether it is for these; an empty one does not narrow."""
        return fits(self, supervisor, database)


@dataclass(frozen=True, slots=True)
class Fence:
    """A fence: lines ``line`` (its opening) to ``end`` (its closing) of the file."""

    line: int
    end: int
    section: str
    language: str
    attributes: Attributes
    steps: tuple[Step, ...]

    def fits(self, supervisor: str = "", database: str = "") -> bool:
        """Whether it is for these; an empty one does not narrow."""
        return fits(self.attributes, supervisor, database)


def fits(variant: Attributes | Step, supervisor: str, database: str) -> bool:
    """Whether something is for this supervisor and this database."""
    return variant.supervisor in ("", supervisor or variant.supervisor) and (
        variant.database in ("", database or variant.database)
    )


@dataclass(slots=True)
class _Raw:
    """A command whose lines are still being read."""

    line: int
    command: list[str]
    output: list[str]


def commands(
    path: Path, first: int, section: str, content: str, attributes: Attributes, matter: Matter
) -> tuple[Step, ...]:
    """The commands of a console fence whose content begins at line ``first``."""
    steps = []
    for raw in _raw_commands(path, first, content):
        while raw.output and not raw.output[-1]:
            raw.output.pop()
        status = _STATUS.fullmatch(raw.output[-1]) if raw.output else None
        if status and int(status[1]) > 255:
            raise PageError(path, raw.line, f"no command exits with {status[1]}")
        command = "\n".join(raw.command)
        _check_variables(path, raw, command, matter)
        steps.append(
            Step(
                section,
                command,
                tuple(raw.output[:-1] if status else raw.output),
                int(status[1]) if status else 0,
                attributes.retry,
                attributes.limit,
                attributes.supervisor,
                attributes.database,
                attributes.title,
                attributes.ask,
                raw.line,
                len(raw.command),
                raw.line + len(raw.command) + len(raw.output) - 1,
            )
        )
    if not steps:
        raise PageError(path, first - 1, "a console fence has at least one line '$ command'")
    return tuple(steps)


def _raw_commands(path: Path, first: int, content: str) -> Iterator[_Raw]:
    current: _Raw | None = None
    for number, text in enumerate(content.split("\n")[:-1], first):
        line = text.rstrip()
        if line == "$" or line.startswith("$ "):
            if not line[2:].strip():
                raise PageError(path, number, "a prompt without a command")
            if current:
                yield current
            current = _Raw(number, [line[2:]], [])
        elif current is None:
            raise PageError(path, number, "output before the first '$ ' prompt")
        elif not current.output and (line == ">" or line.startswith("> ")):
            current.command.append(line[2:])
        else:
            current.output.append(line)
    if current:
        yield current


def _check_variables(path: Path, raw: _Raw, command: str, matter: Matter) -> None:
    for number, text in enumerate(raw.output, raw.line + len(raw.command)):
        for name in IN_TEXT.findall(text):
            _check_declared(path, number, name, matter)
    for use in uses(command):
        line = raw.line + command.count("\n", 0, use.start)
        _check_declared(path, line, use.name, matter)
        if not use.whole:
            raise PageError(path, line, f'write ${use.name} alone in double quotes: "${use.name}"')


def _check_declared(path: Path, line: int, name: str, matter: Matter) -> None:
    if name not in matter.variables:
        near = did_you_mean(name, matter.variables)
        raise PageError(path, line, f"${name} is not among the page's variables.{near}")
