"""Reading the command line of ``manage.py maint``: one line for each mistake, exit 2."""

from __future__ import annotations

import re
import sys
from argparse import (
    SUPPRESS,
    ArgumentParser,
    ArgumentTypeError,
    RawDescriptionHelpFormatter,
    _ArgumentGroup,
)
from collections.abc import Callable, Iterable
from typing import Any, NoReturn, TypeVar

from django.core.management.base import CommandParser

from argus_maint.options import did_you_mean, parse_duration

BASE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("--settings", {}),
    ("--pythonpath", {}),
    ("--traceback", {"action": "store_true"}),
    ("--no-color", {"action": "store_true"}),
    ("--force-color", {"action": "store_true"}),
    ("--skip-checks", {"action": "store_true"}),
)
T = TypeVar("T")
Arguments = ArgumentParser | _ArgumentGroup


class Parser(CommandParser):
    """A parser whose complaint is one line that says what would be right."""

    optional = ""  # names of positionals that may be left out

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Take optional positionals after options too, where argparse gives them up."""
        known, more = super().parse_known_args(args, namespace)
        names = [name for name in self.optional.split() if not getattr(known, name)]
        words = more[1:] if more[:1] == ["--"] else more
        plain = words is not more or not any(word.startswith("-") for word in words)
        if plain and 0 < len(words) <= len(names):
            for name, word in zip(names, words, strict=False):
                setattr(known, name, word)
            return known, []
        return known, more

    def error(self, message: str) -> NoReturn:
        """Print one line and exit 2; as an exception where there is no command line."""
        message = _helpful(message, self._option_string_actions)
        if not self.called_from_command_line:
            super().error(message)
            raise AssertionError  # Django's stubs do not say that it raises
        print(f"{self.prog}: {message} (see {self.prog} --help)", file=sys.stderr)
        sys.exit(2)


def _helpful(message: str, options: Iterable[str]) -> str:
    unknown = re.match(r"argument \S+: invalid choice: '(.*?)' \(choose from (.*)\)$", message)
    if unknown:
        known = [each.strip(" '") for each in unknown[2].split(",")]
        near = did_you_mean(unknown[1], known)
        return f"there is no {unknown[1]!r};{near or ' it must be one of ' + ', '.join(known)}"
    if message.endswith("is not a database backend"):  # the stock command's words
        return f"{message}: look at the setting TASKS"
    option = re.match(r"unrecognized arguments: (--[^\s=]+)", message)
    if option:
        return f"{message};{did_you_mean(option[1], options, 0.75)}".rstrip(";")
    return message


def add_subcommand(subparsers: Any, module: Any) -> Parser:
    """The parser of one subcommand, with Django's own options hidden but accepted."""
    parser: Parser = subparsers.add_parser(
        module.NAME,
        help=module.SUMMARY,
        description=module.HELP,
        epilog=module.EXAMPLES,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for flag, options in BASE:
        parser.add_argument(flag, default=SUPPRESS, help=SUPPRESS, **options)
    parser.add_argument(
        "-v", "--verbosity", type=int, choices=range(4), default=SUPPRESS, help=SUPPRESS
    )
    module.add_arguments(parser)
    parser.optional = getattr(module, "OPTIONAL", "")
    return parser


def add_json(parser: Arguments, schema: str) -> None:
    """``--json``."""
    parser.add_argument(
        "--json",
        action="store_true",
        help=f"Print JSON instead: argus_maint/schemas/{schema}.json describes it.",
    )


def add_ids(parser: Arguments) -> None:
    """Tasks by their ids."""
    parser.add_argument(
        "ids",
        nargs="*",
        type=any_task_id,
        metavar="ID",
        help="Task ids, or beginnings of ids: 4 or more hex digits, dashes optional. Of another "
        "backend than the task table: whole ids.",
    )


def add_filters(parser: Arguments, *, task: bool = True) -> None:
    """``--queue``, ``--backend`` and ``--task``."""
    if task:
        parser.add_argument(
            "--task",
            type=pattern,
            metavar="PATTERN",
            help="Only tasks whose dotted path matches, as shop.tasks.send or 'shop.*'.",
        )
    parser.add_argument("--queue", type=name, metavar="NAME", help="Only this queue.")
    add_backend(parser)


def add_backend(parser: Arguments) -> None:
    """``--backend``."""
    parser.add_argument(
        "--backend",
        type=name,
        metavar="ALIAS",
        help="Only this alias of the setting TASKS (default: all).",
    )


def add_backend_of_queue(parser: Arguments) -> None:
    """``--backend``, where one is meant and not a narrower choice."""
    parser.add_argument(
        "--backend",
        type=name,
        metavar="ALIAS",
        help="The alias of the setting TASKS whose queue it is (default: default).",
    )


def name(text: str) -> str:
    """A name that is not empty: a script's unset variable must not come to mean all."""
    if not text.strip(" ,"):
        raise ArgumentTypeError("it is empty; leave the option out where none is meant")
    return text


def pattern(text: str) -> str:
    """A pattern that is not empty."""
    if not text.strip():
        raise ArgumentTypeError("an empty pattern matches no task; for all of them give '*'")
    return text.strip()


def checked(parse: Callable[[str], T]) -> Callable[[str], T]:
    """The parser, with its own words for what is wrong; argparse hides those of a ValueError."""

    def parsed(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise ArgumentTypeError(str(error)) from error

    return parsed


def _hexdigits(text: str) -> str:
    from argus_maint.jobs import targets  # with all that acts on tasks

    return targets.hexdigits(text)


duration = checked(lambda text: parse_duration(text, "it"))  # in seconds, 0 included
task_id = checked(_hexdigits)  # of an id or its beginning


def any_task_id(text: str) -> str:
    """An id as any backend may have it, or hex digits that one of the table begins with."""
    whole = re.fullmatch(r"[\w-]{20,64}", text, re.ASCII)
    return text if whole and not re.fullmatch(r"[\da-fA-F-]+", text) else str(task_id(text))


def age(text: str) -> float:
    """A duration longer than 0, in seconds."""
    seconds = duration(text)
    if not seconds:
        raise ArgumentTypeError("it must be longer than 0, such as 30s, 10m, 2h or 7d")
    return seconds


def count(text: str) -> int:
    """A whole number, 1 or more."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def finding_code(text: str) -> str:
    """A code of a finding, in capitals or not."""
    from argus_maint.conf_findings import CODES

    for code in CODES:
        if code.lower() == text.lower():
            return code
    near = did_you_mean(text, CODES) or " maint runbook lists them."
    raise ArgumentTypeError(f"there is no finding {text!r}.{near}")


def reason(text: str) -> str:
    """A reason that says something."""
    if not text.strip():
        raise ArgumentTypeError("give a reason: who is woken next wants to know")
    return text.strip()


def interval(text: str) -> float:
    """Seconds between looks."""
    seconds = age(text)
    if seconds < 0.2:
        raise ArgumentTypeError("look no more often than every 0.2 seconds")
    return seconds
