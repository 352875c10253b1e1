"""A page on a terminal: what is selected with the mouse is what runs."""

from __future__ import annotations

import io

from rich.console import Console

from argus_maint.runbooks.fill import filled_text
from argus_maint.runbooks.show import show
from tests.runbooks.texts import console, page

LONG = "one " + "--a-very-long-option=" + "x" * 100 + ' "$QUEUE"'


def shown(text: str, width: int = 40) -> list[str]:
    out = io.StringIO()
    show(text, Console(file=out, width=width, force_terminal=True, color_system=None))
    return out.getvalue().split("\n")


def test_commands_are_neither_wrapped_nor_padded_nor_prompted() -> None:
    there = page(console(f"$ {LONG}\n> two \\\n>   three\nsome output\n> of it\n$ four"))
    lines = shown(filled_text(there, {"QUEUE": "emails"}))
    at = lines.index(LONG.replace('"$QUEUE"', "emails"))
    assert lines[at + 1 : at + 7] == [
        "two \\",
        "  three",
        "    some output",
        "    > of it",
        "",
        "four",
    ]


def test_prose_is_wrapped_to_the_window() -> None:
    text = "# X\n\n" + "word " * 60
    assert all(len(line.rstrip()) <= 40 for line in shown(text))
    assert max(len(line.rstrip()) for line in shown(text, 300)) <= 88


def test_what_is_not_executed_is_shown_as_it_is() -> None:
    assert "    $ inert" in shown("# X\n\n```text\n$ inert\n```")
