"""The variables of a page: which there are, and where a command uses one.

A page writes a value of the finding as the shell variable ``"$QUEUE"``. It stands alone in
its double quotes (``--queue="$QUEUE"`` is right too), so that the shell sees one word,
whatever the value is, and so that a value can be put in its place with quotes of its own.
Names in capitals are variables of the page; a command may use its own in lower case.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# A key of a finding's evidence, and what is told where the page needs it from a person.
NAMES: dict[str, str] = {
    "QUEUE": "the name of a queue",
    "BACKEND": "an alias of the setting TASKS",
    "WORKER": "the name of a worker",
    "HOST": "the name of a host",
    "PID": "the number of a process",
    "TASK": "the dotted path of a task",
    "TASK_ID": "the id of a task",
    "JOB": "the name of a job",
    "CHECK": "the id of a system check",
    "TASKS": "a number of tasks",
    "DATABASE": "sqlite, postgresql or mariadb",
}
_NAME = r"[A-Z][A-Z0-9_]*"
_WHOLE = re.compile(rf'"\$({_NAME})"')
_ANY = re.compile(rf"\$(?:\{{[#!]?)?({_NAME})")
IN_TEXT = re.compile(rf"\$({_NAME})\b")


@dataclass(frozen=True, slots=True)
class Use:
    """One place of a command that names a variable; ``whole`` where it is ``"$NAME"`` alone."""

    name: str
    start: int
    end: int
    whole: bool


def uses(command: str) -> Iterator[Use]:
    """Every use of a variable, in order, as bash would see the quotes around it."""
    inside: list[str] = []  # the quotes and parentheses that are open
    at = 0
    while at < len(command):
        top = inside[-1] if inside else ""
        character = command[at]
        if top == "'":
            if character == "'":
                inside.pop()
            elif found := _ANY.match(command, at):
                yield Use(found[1], at, found.end(), False)
        elif character == "\\":
            at += 1
        elif top != '"' and (found := _WHOLE.match(command, at)):
            yield Use(found[1], at, found.end(), True)
            at = found.end() - 1
        elif found := _ANY.match(command, at):
            yield Use(found[1], at, found.end(), False)
            at = found.end() - 1
        else:
            at += _nest(inside, top, command, at)
        at += 1


def _nest(inside: list[str], top: str, command: str, at: int) -> int:
    """Open or close what this character opens or closes; how many more it takes."""
    character = command[at]
    if command.startswith("$(", at):
        inside.append("(")
        return 1
    if character == top and character in '"`' or (character == ")" and top == "("):
        inside.pop()
    elif character in '"`' or (character in "'(" and top != '"'):
        inside.append(character)
    return 0
