"""Commands of a page are run, and compared with what the page says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.lab import gone, until
from tools.docs.walk import Mismatch, agrees, steps, walk


def _walk(folder: Path, text: str) -> None:
    page = folder / "page.md"
    page.write_text(text)
    walk(page, folder, os.environ["PATH"])


def test_what_is_as_the_page_says(tmp_path: Path) -> None:
    _walk(
        tmp_path,
        "Text.\n\n```console\n$ mkdir in && cd in\n"
        "$ cat > file <<'END'\n> one\n> \n> $HOME\n> END\n"
        "$ cat file\none\n...\n$ pwd\n.../in\n$ false\n[1]\n$ cat nothing\ncat: ...\n[1]\n```\n"
        "```text\n$ not run\n```\n",
    )
    assert (tmp_path / "in/file").read_text() == "one\n\n$HOME\n"


@pytest.mark.parametrize(
    "commands, says",
    [
        ("$ echo one\ntwo\n", "page.md:2: $ echo one\n--- the page says, with exit status 0:\ntwo"),
        ("$ echo one\none\n$ exit_ 3\n", "page.md:4: $ exit_ 3"),
        ("$ false\n", "--- what came, with exit status 1:\n(nothing)"),
        ("$ true\n[1]\n", "--- what came, with exit status 0"),
    ],
)
def test_what_is_not_is_named_with_its_line(tmp_path: Path, commands: str, says: str) -> None:
    with pytest.raises(Mismatch) as error:
        _walk(tmp_path, f"```console\n{commands}```\n")
    assert says in str(error.value)


def test_a_command_is_tried_again(tmp_path: Path) -> None:
    _walk(
        tmp_path,
        "```console retry=20s\n$ echo x >> tries; wc -l < tries\n3\n```\n",
    )
    assert (tmp_path / "tries").read_text() == "x\n" * 3


def test_what_was_begun_is_ended(tmp_path: Path) -> None:
    with pytest.raises(Mismatch):
        _walk(tmp_path, "```console\n$ sleep 600 &\n$ echo $! > pid\n$ false\n```\n")
    pid = int((tmp_path / "pid").read_text())
    until(lambda: gone(pid), 10, "sleep is ended")


def test_a_block_begins_with_a_command() -> None:
    with pytest.raises(Mismatch, match="line 2"):
        list(steps("```console\noutput\n$ true\n```\n"))


@pytest.mark.parametrize(
    "expected, output, so",
    [
        ([], "", True),
        ([], "more", False),
        (["..."], "", True),
        (["a ... c"], "a b c", True),
        (["a", "...", "d"], "a\nb\nc\nd", True),
        (["a", "...", "d"], "a\nb", False),
        (["a    b"], "a b", True),
        (["a.c"], "abc", False),
    ],
)
def test_what_agrees(expected: list[str], output: str, so: bool) -> None:
    assert agrees(expected, output) is so
