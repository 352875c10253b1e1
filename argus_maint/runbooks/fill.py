"""Filling a page in with the values of a finding.

A value comes from the evidence of the finding, or from ``--set``. What is shown has it in
the quotes of the shell. What is executed has it in its environment only (``shell.py``).

A value that no command should get is left out, and the page keeps ``"$NAME"`` there:
one that begins with a dash would be read as an option, and ``kill -1`` ends everything.

Errors: WrongValue, for ``--set``. Events: none.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from argus_maint.options import did_you_mean
from argus_maint.runbooks.calling import Calling
from argus_maint.runbooks.fence import Fence, Step
from argus_maint.runbooks.page import Page
from argus_maint.runbooks.prose import filled_prose
from argus_maint.runbooks.variables import IN_TEXT, NAMES, uses

LONGEST = 1000  # characters of a value
_NUMBER = re.compile(r"[0-9]{1,18}")
_TASK_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{19,63}")  # a UUID, or what RQ has


class WrongValue(ValueError):
    """A value given by hand that cannot be used; ``str()`` is one line."""


@dataclass(frozen=True, slots=True)
class Values:
    """What the variables of a page stand for.

    Attributes:
        known: name to value.
        missing: name to the reason why it has none.
    """

    known: Mapping[str, str]
    missing: Mapping[str, str]

    def missing_in(self, steps: list[Step]) -> list[str]:
        """Names that these commands need, and that have no value."""
        used = {use.name for step in steps for use in uses(step.command)}
        return sorted(used & self.missing.keys())


def values_of(page: Page, evidence: Mapping[str, object], given: Mapping[str, str]) -> Values:
    """The values of a page's variables; those given by hand come first."""
    for name, value in given.items():
        if name not in page.matter.variables:
            names = ", ".join(page.matter.variables) or "none"
            near = did_you_mean(name, page.matter.variables)
            raise WrongValue(f"{page.name} has no variable {name!r}.{near} It has: {names}.")
        if why := unfit(name, value):
            raise WrongValue(f"{name} cannot be {shell_word(value)}: {why}.")
    known: dict[str, str] = dict(given)
    missing: dict[str, str] = {}
    for name in page.matter.variables:
        if name in known:
            continue
        raw = evidence.get(name.lower())
        if not isinstance(raw, (str, int)) or isinstance(raw, bool) or raw == "":
            missing[name] = NAMES[name]
        elif why := unfit(name, str(raw)):
            missing[name] = f"the finding's is left out: {why}"
        else:
            known[name] = database_name(str(raw)) if name == "DATABASE" else str(raw)
    return Values(known, missing)


def unfit(name: str, value: str) -> str:
    """Why no command should get this value; empty where it may."""
    if name in ("PID", "TASKS"):
        least = 2 if name == "PID" else 0
        fits = _NUMBER.fullmatch(value) and int(value) >= least
        return "" if fits else f"it must be a whole number of at least {least}"
    if name == "TASK_ID":
        return "" if _TASK_ID.fullmatch(value) else "it must be the whole id of a task"
    if not value or value.startswith("-"):
        return "a command would take it for an option" if value else "it is empty"
    if "\0" in value or len(value) > LONGEST:
        return f"it must be a text of at most {LONGEST} characters"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "it is no text"
    return ""


def database_name(vendor: str) -> str:
    """Django's name of a database, as pages have it."""
    return "mariadb" if vendor == "mysql" else vendor


def shell_word(value: str) -> str:
    """The value as one word of bash that shows, and does, nothing but itself."""
    if value.isprintable():
        return shlex.quote(value)
    return "$'" + "".join(_escaped(each) for each in value) + "'"


def _escaped(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if character.isprintable():
        return character
    code = ord(character)
    return (
        f"\\x{code:02x}"
        if code < 0x80
        else f"\\u{code:04x}"
        if code < 0x10000
        else f"\\U{code:08x}"
    )


def filled_command(command: str, values: Mapping[str, str], calling: Calling | None) -> str:
    """A command to be shown and pasted."""
    text, at = "", 0
    for use in uses(command):
        text += command[at : use.start]
        value = values.get(use.name)
        text += command[use.start : use.end] if value is None else shell_word(value)
        at = use.end
    text += command[at:]
    return calling.filled(text) if calling else text


def filled_line(line: str, values: Mapping[str, str]) -> str:
    """A line of expected output to be shown: with the values as they would be printed."""

    def value(found: re.Match[str]) -> str:
        text = values.get(found[1], "")
        return text if text and text.isprintable() else found[0]

    filled = IN_TEXT.sub(value, line)
    # A value must not pass for a command of the page, nor for the end of its fence.
    return line if filled.startswith(("$", ">", "```")) else filled


def filled_text(
    page: Page,
    values: Mapping[str, str],
    calling: Calling | None = None,
    supervisor: str = "",
    database: str = "",
) -> str:
    """The page's Markdown from its title on, filled in, without what is for others."""
    lines: list[str | None] = [*page.text.split("\n")]
    for fence in page.fences:
        if not fence.fits(supervisor, database):
            for number in range(introduced_at(page, fence), fence.end + 1):
                lines[number - 1] = None
            continue
        lines[fence.line - 1] = f"```{fence.language}"
        for step in fence.steps:
            _fill_step(lines, step, lambda text: filled_command(text, values, calling), values)
    text = _tidy([line for line in lines[page.first - 1 :] if line is not None])
    return filled_prose(text, values, calling, shell_word)


def _fill_step(
    lines: list[str | None], step: Step, fill: Callable[[str], str], values: Mapping[str, str]
) -> None:
    # A value is one line: its newlines are escaped. So lines stay as many as they were.
    command = fill(step.command).split("\n")
    for offset, text in enumerate(command):
        mark = "> " if offset else "$ "
        lines[step.line - 1 + offset] = (mark + text).rstrip()
    first = step.line - 1 + step.lines
    for index in range(first, first + len(step.expected)):
        lines[index] = filled_line(lines[index] or "", values)


def introduced_at(page: Page, fence: Fence) -> int:
    """The line where a fence begins, with the paragraph above it that ends in a colon."""
    lines = page.text.split("\n")
    last = fence.line - 1  # the line above, counted from 1
    while last > 0 and not lines[last - 1].strip():
        last -= 1
    if not lines[last - 1].rstrip().endswith(":"):
        return fence.line
    first = last
    while first > 1 and lines[first - 2].strip():
        first -= 1
    return first


def _tidy(lines: list[str]) -> str:
    """One empty line where what was taken out has left several; fences have them as they are."""
    kept: list[str] = []
    inside = False
    for line in lines:
        if line.startswith("```"):
            inside = not inside
        if line or inside or (kept and kept[-1]):
            kept.append(line)
    return "\n".join(kept).rstrip("\n") + "\n"
