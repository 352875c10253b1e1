"""A page for each command and subcommand, from the parser that reads its command line."""

from __future__ import annotations

import re
from argparse import (
    SUPPRESS,
    Action,
    ArgumentParser,
    _HelpAction,
    _SubParsersAction,
)
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from textwrap import dedent

from django.core.management.base import BaseCommand, CommandParser, DjangoHelpFormatter

from argus_maint.management.commands import maint
from tools.docs.text import block, code, page, prose, table

# maint has pages of its own
COMMANDS = ("db_worker", "concurrent_worker", "crontask", "prune_db_task_results")
INDEX = "reference/commands.md"
WIDTH = 88
STATUS = re.compile(r"exit status:\s*(.*?)\.?\s*$", re.DOTALL | re.IGNORECASE)
FOOT = (
    "Django's own options, such as `--settings`, `--traceback` and `--no-color`, "
    "work everywhere and are not listed."
)


@dataclass(frozen=True, slots=True)
class Described:
    """What one parser says of itself."""

    name: str  # "maint status"
    summary: str
    parser: ArgumentParser

    @property
    def path(self) -> str:
        first, *rest = self.name.split()
        return f"reference/{first}/{'-'.join(rest)}.md" if rest else f"reference/{first}.md"


def described() -> list[Described]:
    """Every command and subcommand, in the order of ``maint --help``."""
    found = [
        Described(name, _first_sentence(_parser(name).description or ""), _parser(name))
        for name in COMMANDS
    ]
    found += _subcommands(_parser("maint"), "maint")
    return found


def _parser(name: str) -> CommandParser:
    module = import_module(f"{maint.__name__.rpartition('.')[0]}.{name}")
    command: BaseCommand = module.Command()
    return command.create_parser("manage.py", name)


def _subcommands(parser: ArgumentParser, name: str) -> Iterator[Described]:
    for action in _nested(parser):
        summaries = {each.dest: each.help or "" for each in action._choices_actions}
        for word, each in action.choices.items():
            yield Described(f"{name} {word}", summaries.get(word, ""), each)


def _nested(parser: ArgumentParser) -> Iterator[_SubParsersAction[ArgumentParser]]:
    yield from (each for each in parser._actions if isinstance(each, _SubParsersAction))


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=\.)\s", " ".join(text.split()), maxsplit=1)[0]


def pages() -> dict[str, str]:
    """The pages by their path, the index first."""
    every = described()
    return {INDEX: _index(every)} | {each.path: _page(each) for each in every}


def _index(every: list[Described]) -> str:
    rows = [
        [f"[`{each.name}`]({each.path.removeprefix('reference/')})", prose(each.summary)]
        for each in every
    ]
    return page(
        "# Commands",
        "These pages are made from the code: each says what `--help` says. "
        "All commands are run as `python manage.py NAME`. Wrong arguments are answered in one "
        "line that says what would be right.",
        table(["command", "what it does"], rows),
        FOOT,
    )


def _page(each: Described) -> str:
    return page(
        f"# {each.name}",
        block(_usage(each.parser)),
        *_parts(each.parser, "##"),
        *_inner(each),
        FOOT,
    )


def _inner(each: Described) -> Iterator[str]:
    """Subcommands of a subcommand, on the same page."""
    for inner in _subcommands(each.parser, each.name):
        yield f"## {inner.name}"
        yield block(_usage(inner.parser))
        yield from _parts(inner.parser, "###")


def _parts(parser: ArgumentParser, level: str) -> Iterator[str]:
    """What it does, its arguments, examples, and last its exit status, wherever that is told."""
    text = parser.description or ""
    status = STATUS.search(text)
    yield from map(_paragraph, _paragraphs(text[: status.start()] if status else text))
    yield from _arguments(parser, level)
    yield from _epilog(parser.epilog or "", level)
    yield from _statuses(status[1], level) if status else ()


def _usage(parser: ArgumentParser) -> str:
    shown = [each for each in parser._actions if _is_ours(each)]
    formatter = parser.formatter_class(prog=parser.prog, width=WIDTH)
    formatter.add_usage(None, shown, parser._mutually_exclusive_groups, prefix="")
    return formatter.format_help().strip()


def _is_ours(action: Action) -> bool:
    hidden = DjangoHelpFormatter.show_last
    return action.help != SUPPRESS and not hidden.intersection(action.option_strings)


def _paragraphs(text: str) -> list[str]:
    return [each for each in re.split(r"\n\s*\n", text.strip("\n")) if each.strip()]


def _paragraph(text: str) -> str:
    """A paragraph, or as it stands where it is indented or laid out in columns."""
    if text.startswith(" ") or (re.search(r"\S {2,}\S", text) and "\n" in text):
        return block(dedent(text).rstrip())
    return prose(text)


def _epilog(text: str, level: str) -> Iterator[str]:
    for each in _paragraphs(text):
        status = STATUS.match(each)
        if status:
            yield from _statuses(status[1], level)
        elif each.lower().startswith("examples:"):
            yield f"{level} Examples"
            yield block(dedent(each.partition("\n")[2]).rstrip())
        else:
            yield _paragraph(each)


def _statuses(text: str, level: str) -> Iterator[str]:
    yield f"{level} Exit status"
    each = [re.match(r"(\d+),? (.*)", item, re.DOTALL) for item in re.split(r";\s+(?=\d)", text)]
    yield table(["status", "means"], [[code(one[1]), prose(one[2])] for one in each if one])


def _arguments(parser: ArgumentParser, level: str) -> Iterator[str]:
    for group in parser._action_groups:
        actions = [
            each
            for each in group._group_actions
            if _is_ours(each) and not isinstance(each, (_HelpAction, _SubParsersAction))
        ]
        if not actions:
            continue
        title = (group.title or "options").capitalize()
        yield f"{level} {title}"
        yield prose(group.description or "")
        rows = [[_names(each), prose(_help(parser, each))] for each in actions]
        yield table(["argument", "meaning"], rows)


def _names(action: Action) -> str:
    value = _value(action)
    if not action.option_strings:
        return code(value)
    return ", ".join(code(f"{each} {value}".strip()) for each in action.option_strings)


def _value(action: Action) -> str:
    if action.nargs == 0:
        return ""
    formatter = DjangoHelpFormatter(prog="")
    default = action.dest.upper() if action.option_strings else action.dest
    return formatter._format_args(action, formatter._metavar_formatter(action, default)(1)[0])


def _help(parser: ArgumentParser, action: Action) -> str:
    return parser.formatter_class(prog=parser.prog)._expand_help(action) if action.help else ""
