"""The pages of the commands know every command, subcommand and option."""

from __future__ import annotations

import pkgutil
import re

import pytest

from argus_maint.management import commands as ours
from argus_maint.management.commands.maint import SUBCOMMANDS
from tools.docs import commands
from tools.docs.commands import Described

EVERY = commands.described()
PAGES = commands.pages()


def test_every_command_has_a_page() -> None:
    there = {module.name for module in pkgutil.iter_modules(ours.__path__)}
    named = {each.name.split()[0] for each in EVERY}
    assert named == there


def test_every_subcommand_has_a_page_and_a_line_in_the_index() -> None:
    assert [each.name for each in EVERY if " " in each.name] == [f"maint {n}" for n in SUBCOMMANDS]
    for each in EVERY:
        assert f"({each.path.removeprefix('reference/')})" in PAGES[commands.INDEX]
        assert each.summary


@pytest.mark.parametrize("each", EVERY, ids=lambda each: each.name)
def test_a_page_has_every_argument(each: Described) -> None:
    page = PAGES[each.path]
    for action in each.parser._actions:
        if commands._is_ours(action) and action.option_strings not in ([], ["-h", "--help"]):
            for option in action.option_strings:
                assert re.search(rf"^\| .*`{option}[` ].* \| \S", page, re.MULTILINE), option


@pytest.mark.parametrize("each", EVERY, ids=lambda each: each.name)
def test_a_page_says_every_exit_status(each: Described) -> None:
    table = PAGES[each.path].split("Exit status\n")[1]
    assert {"0", "2"} <= set(re.findall(r"^\| `(\d+)` \| \S", table, re.MULTILINE))
    said = (each.parser.epilog or "") + (each.parser.description or "")
    count = len(re.findall(r"(?:status:|;)\s+\d+,? ", said, re.IGNORECASE))
    assert len(re.findall(r"^\| `\d+` \|", PAGES[each.path], re.MULTILINE)) == count


def test_django_s_own_options_are_left_out() -> None:
    assert not any("--no-color" in page.replace(commands.FOOT, "") for page in PAGES.values())


def test_a_paragraph_that_is_laid_out_stays_as_it_is() -> None:
    assert commands._paragraph("    one line\n    of code") == "```text\none line\nof code\n```"
    assert (
        commands._paragraph("list   a thing\ngrep   it")
        == "```text\nlist   a thing\ngrep   it\n```"
    )
    assert commands._paragraph("two\nlines *here*") == "two lines \\*here\\*"
