"""What a terminal shows, what a pipe gets, and what never reaches either."""

from __future__ import annotations

import io
import re

import pytest
from rich.text import Text

from argus_maint.observe.screen import Column, Screen, clean, span, styled, table

ROWS = [["0f3c9a1e", "shop.tasks.invoices.send_reminder", "12"], ["9a1e0f3c", "a.b", "3"]]
COLUMNS = [Column("id"), Column("path", least=8, keep_end=True), Column("n", right=True)]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _plain(lines: list[Text]) -> list[str]:
    return [line.plain for line in lines]


def test_without_a_width_nothing_is_cut() -> None:
    assert _plain(table(COLUMNS, ROWS, None, indent=0)) == [
        "id        path                                n",
        "0f3c9a1e  shop.tasks.invoices.send_reminder  12",
        "9a1e0f3c  a.b                                 3",
    ]


def test_a_narrow_window_cuts_the_path_at_its_beginning_and_no_id() -> None:
    lines = _plain(table(COLUMNS, ROWS, 30, indent=0))
    assert all(len(line) <= 30 for line in lines)
    assert lines[1].startswith("0f3c9a1e  …") and lines[1].endswith("reminder  12")


def test_a_window_that_is_too_narrow_for_all_leaves_ids_whole() -> None:
    lines = _plain(table(COLUMNS, ROWS, 5, indent=0))
    assert lines[1] == "0f3c9a1e  …eminder  12"


def test_a_column_without_content_is_left_out() -> None:
    lines = _plain(table([Column("a"), Column("b"), Column("c")], [["1", "", "3"]], None))
    assert lines == ["  a  c", "  1  3"]


def test_wide_characters_keep_columns_aligned() -> None:
    lines = _plain(table([Column("a"), Column("b")], [["日本", "x"], ["abcd", "y"]], None))
    assert lines[1:] == ["  日本  x", "  abcd  y"]


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain é 日", "plain é 日"),
        ("\x1b[31mred\x1b[0m", "\ufffd[31mred\ufffd[0m"),
        ("two\nlines\ttab", "two lines tab"),
        ("\u202egnirts", "\ufffdgnirts"),
        ("lone \ud800", "lone \ufffd"),
    ],
)
def test_control_characters_are_shown_and_not_sent(raw: str, shown: str) -> None:
    assert clean(raw) == shown
    assert styled(raw, "bold").plain == shown


def test_a_pipe_gets_plain_lines_without_padding_however_long() -> None:
    out = io.StringIO()
    screen = Screen(out)
    screen.show([styled("x" * 300, "bold red"), Text("end   ")])
    assert out.getvalue() == "x" * 300 + "\nend\n"
    assert screen.width is None


def test_a_terminal_gets_colours_and_no_line_breaks_of_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "40")
    out = Terminal()
    screen = Screen(out)
    screen.show([styled("manage.py maint requeue " + "0" * 60, "bold")])
    assert screen.width == 40
    assert "\x1b[" in out.getvalue()
    assert re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()).count("\n") == 1


@pytest.mark.parametrize("how", ["NO_COLOR", "--no-color"])
def test_colours_can_be_refused(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if how == "NO_COLOR":
        monkeypatch.setenv("NO_COLOR", "1")
    out = Terminal()
    Screen(out, no_color=how == "--no-color").show([styled("text", "bold red")])
    assert out.getvalue() == "text\n"


def test_colours_can_be_forced_into_a_pipe() -> None:
    out = io.StringIO()
    screen = Screen(out, force_color=True)
    screen.show([styled("text", "bold red")])
    assert "\x1b[" in out.getvalue()
    assert screen.width is None


def test_a_stream_that_knows_only_ascii_is_written_to_all_the_same() -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    Screen(out).show(["café"])
    assert out.buffer.getvalue() == b"caf\\xe9\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0, "0s"),
        (0.31, "0.3s"),
        (4, "4s"),
        (9.96, "9s"),
        (42.9, "42s"),
        (119, "119s"),
        (120, "2m"),
        (3599, "59m"),
        (3 * 3600 + 300, "3h05m"),
        (2 * 86400 + 4 * 3600, "2d04h"),
    ],
)
def test_spans(seconds: float | None, text: str) -> None:
    assert span(seconds) == text
    assert span(seconds, approximate=True) == (f"~{text}" if text else "")
