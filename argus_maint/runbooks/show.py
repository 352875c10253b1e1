"""A page on a terminal: prose wrapped to the window, commands as they are.

A command begins at the left edge, without its prompt, and is never wrapped or padded: what
is selected with the mouse is what runs. Its expected output is dim and indented.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from rich.console import Console, ConsoleOptions
from rich.markdown import CodeBlock, Heading, Markdown
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

COMMAND, OUTPUT = Style(bold=True, color="cyan"), Style(dim=True)
WIDEST = 88  # columns of prose
INDENT = "    "


class _Fence(CodeBlock):
    """Lines that go to the terminal as they are."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        inert = self.lexer_name != "console"
        begun = goes_on = False
        for line in str(self.text).rstrip("\n").split("\n"):
            prompt = not inert and line.startswith("$ ")
            goes_on = prompt or (goes_on and (line == ">" or line.startswith("> ")))
            if goes_on:
                if prompt and begun:
                    yield Segment.line()
                yield Segment(line[2:], COMMAND)
            else:
                yield Segment(INDENT + line if line else "", None if inert else OUTPUT)
            yield Segment.line()
            begun = True


class _Heading(Heading):
    """At the left, and without a box."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        self.text.justify = "left"
        yield self.text


class RunbookMarkdown(Markdown):
    """A page's Markdown; print it with ``crop=False``, or long commands are cut."""

    elements: ClassVar[dict[str, Any]] = {
        **Markdown.elements,
        "fence": _Fence,
        "heading_open": _Heading,
    }

    def __init__(self, text: str) -> None:
        super().__init__(text, hyperlinks=False)


def show(text: str, console: Console) -> None:
    """Print a page."""
    width = min(console.width, WIDEST)
    console.print(RunbookMarkdown(text), crop=False, soft_wrap=False, width=width)
