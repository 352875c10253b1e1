"""Text for people: coloured and cut to the window on a terminal, plain and whole in a pipe.

``Screen.show`` prints lines; ``table`` makes lines of columns. Nothing is wrapped or
padded, so ids and commands can be copied and grepped. What comes from the database may
hold anything: control characters are shown, never sent to the terminal.

NO_COLOR, ``--no-color`` and ``--force-color`` are obeyed.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console

Cell = str | Text

GOOD, BAD, WARN, DIM, HEAD = "green", "bold red", "yellow", "dim", "bold"


class Screen:
    """Where output goes."""

    def __init__(self, out: Any, no_color: bool = False, force_color: bool = False) -> None:
        # Django's wrapper adds a newline to whatever is written.
        self.out = getattr(out, "_out", out)
        self.terminal = bool(getattr(self.out, "isatty", lambda: False)())
        if hasattr(self.out, "reconfigure") and (self.out.encoding or "").lower() != "utf-8":
            self.out.reconfigure(errors="backslashreplace")
        colour = force_color or (self.terminal and not no_color and not os.environ.get("NO_COLOR"))
        self.plain, self.force_color = not colour, force_color

    @cached_property
    def console(self) -> Console:
        """Rich's: imported late, for where all is well many commands print nothing."""
        from rich.console import Console

        return Console(
            file=self.out,
            force_terminal=True if self.force_color else None,
            no_color=self.plain,
            highlight=False,
            markup=False,
            emoji=False,
            soft_wrap=True,
        )

    @property
    def width(self) -> int | None:
        """Columns of the window; None where lines may have any length."""
        return self.console.width if self.terminal else None

    def show(self, lines: Iterable[Cell]) -> None:
        """Print lines."""
        for line in lines:
            text = as_text(line)
            text.rstrip()
            if self.plain:
                self.out.write(text.plain + "\n")
            else:
                self.console.print(text)
        self.out.flush()


def as_text(cell: Cell, style: str = "") -> Text:
    """A cell as rich's text."""
    return cell.copy() if isinstance(cell, Text) else Text(clean(cell), style=style)


def join(*cells: Cell) -> Text:
    """Pieces of one line."""
    line = Text()
    for cell in cells:
        line.append_text(as_text(cell))
    return line


def styled(text: str, style: str) -> Text:
    """A piece with a style."""
    return Text(clean(text), style=style)


def clean(text: str) -> str:
    """The text with control characters made visible; tabs and newlines become spaces."""
    if text.isprintable():
        return text
    return "".join(_visible(each) for each in text)


def _visible(character: str) -> str:
    if character in "\t\n\r":
        return " "
    # Cc and Cf hold what moves the cursor or turns the direction of writing.
    return "\ufffd" if unicodedata.category(character) in ("Cc", "Cf", "Cs") else character


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table. ``least`` > 0 lets it shrink to that, keeping its end or start."""

    title: str
    right: bool = False
    least: int = 0
    keep_end: bool = False


def table(
    columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int | None, indent: int = 2
) -> list[Text]:
    """Lines of aligned columns with their titles; a column without any content is left out."""
    cells = [[as_text(cell) for cell in row] for row in rows]
    used = [index for index in range(len(columns)) if any(row[index].plain for row in cells)]
    columns = [columns[index] for index in used]
    cells = [[row[index] for index in used] for row in cells]
    titles = [Text(column.title, style=DIM) for column in columns]
    lines = [titles, *cells] if any(column.title for column in columns) else cells
    sizes = [max(cell_len(line[index].plain) for line in lines) for index in range(len(columns))]
    if width is not None:
        _shrink(columns, sizes, width - indent - 2 * (len(columns) - 1))
    return [_line(columns, sizes, line, indent) for line in lines]


def _shrink(columns: Sequence[Column], sizes: list[int], room: int) -> None:
    """Take from the widest column that may shrink until all fit, or none can give."""
    while sum(sizes) > room:
        givers = [
            index for index, each in enumerate(columns) if each.least and sizes[index] > each.least
        ]
        if not givers:
            return
        sizes[max(givers, key=lambda index: sizes[index])] -= 1


def _line(
    columns: Sequence[Column], sizes: Sequence[int], cells: Sequence[Text], indent: int
) -> Text:
    line = Text(" " * indent)
    for index, (column, size, cell) in enumerate(zip(columns, sizes, cells, strict=True)):
        text = _cut(cell, size, column.keep_end)
        gap = " " * (size - cell_len(text.plain))
        last = index == len(columns) - 1
        line.append_text(join(gap, text) if column.right else join(text, "" if last else gap))
        line.append("" if last else "  ")
    return line


def _cut(cell: Text, size: int, keep_end: bool) -> Text:
    """The cell in at most ``size`` columns; what is cut is marked."""
    text = cell.copy()
    if cell_len(text.plain) <= size:
        return text
    if not keep_end:
        text.truncate(size, overflow="ellipsis")
        return text
    while cell_len(text.plain) > size - 1:
        text = text[1:]
    return Text("…", style=text.style).append_text(text)


def span(seconds: float | None, approximate: bool = False) -> str:
    """A duration in at most two units: ``0.3s``, ``42s``, ``12m``, ``3h05m``, ``2d04h``."""
    if seconds is None:
        return ""
    mark, whole = "~" if approximate else "", int(seconds)
    if seconds < 9.95:
        return f"{mark}{seconds:.1f}s" if seconds % 1 >= 0.05 else f"{mark}{seconds:.0f}s"
    if whole < 120:
        return f"{mark}{whole}s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86_400
    if minutes < 60:
        return f"{mark}{minutes}m"
    if hours < 24:
        return f"{mark}{hours}h{minutes % 60:02}m"
    return f"{mark}{days}d{hours % 24:02}h"
