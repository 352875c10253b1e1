"""The exit of ``maint check``, which is a monitoring plugin: 0, 1, 2, and 3 for all else.

A monitoring system takes 1 for a warning and 2 for a critical state, and these are just what
Python and Django exit with when something has gone wrong. So whatever ``maint check`` meets,
bad settings before it has begun included, is one line on standard output, and 3.

``guard`` is for what goes wrong between our app and our command. What goes wrong earlier, a
settings module that cannot be imported above all, only ``python -m argus_maint check`` sees.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Any, NoReturn

OK, WARNING, CRITICAL, UNKNOWN = range(4)
WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
COMMAND, CHECK = "maint", "check"
WITH_VALUE = ("--settings", "--pythonpath", "--verbosity", "-v")
LONGEST = 500  # characters of a reason


class Answer(SystemExit):
    """The exit of a plugin that has said what it had to say."""


def is_check(argv: Sequence[str]) -> bool:
    """Whether a command line is that of ``manage.py maint check``."""
    words = iter(argv[1:])
    positional = []
    for word in words:
        if word in WITH_VALUE:
            next(words, None)
        elif not word.startswith("-"):
            positional.append(word)
    return positional[:2] == [COMMAND, CHECK]


def first_line(state: int, text: str) -> str:
    """``MAINT OK - text``: a pipe would begin the figures, and a newline the details."""
    return f"MAINT {WORDS[state]} - {one_line(text)}"


def one_line(text: str) -> str:
    """Text that may stand in a plugin's output."""
    return " ".join(text.replace("|", "/").split())


def reason_of(error: BaseException) -> str:
    """What went wrong, with the kind of the error where its words alone say little."""
    text = one_line(str(error))
    name = type(error).__name__
    if name == "CommandError":
        return text.removeprefix("Error: ")
    if name == "SystemCheckError":
        return text.removeprefix("SystemCheckError: ")
    return f"{name}: {text}" if text else name


def say_unknown(reason: str) -> None:
    """Print the one line."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # nowhere to print to
        line = first_line(UNKNOWN, reason[:LONGEST]) + "\n"
        out = sys.__stdout__ if sys.stdout is None else sys.stdout
        out.write(line.encode("ascii", "backslashreplace").decode())  # type: ignore[union-attr]
        out.flush()  # type: ignore[union-attr]


def unknown(reason: str) -> NoReturn:
    """Say that the plugin does not know, and exit 3."""
    say_unknown(reason)
    # Python flushes standard output once more on its way out, and where that fails exits 120.
    leave(UNKNOWN)


def leave(status: int) -> NoReturn:
    """Exit with this status, even where standard output takes nothing."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):
        os._exit(status)
    raise Answer(status)


def guard(argv: Sequence[str]) -> None:
    """Have what nobody catches, while Django starts, end as a plugin does."""
    if not is_check(argv):
        return

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | Any) -> None:
        say_unknown(reason_of(error))
        os._exit(UNKNOWN)  # after a hook Python exits 1, whatever it does

    sys.excepthook = hook
