"""What counts as the output that a page promises."""

from __future__ import annotations

import pytest

from argus_maint.runbooks.compare import Difference, difference

VALUES = {"QUEUE": "a.*[b] ...", "WORKER": "w\x1b[2J"}


@pytest.mark.parametrize(
    ("expected", "output"),
    [
        ("", ""),
        ("one", "one"),
        ("one", "one  \n\n"),
        ("...", ""),
        ("...", "one\ntwo"),
        ("one ... two", "one  two"),
        ("one ... two ... three", "one x two y two z three"),
        ("...two", "one two"),
        ("one\n...\nfour", "one\ntwo\nthree\nfour"),
        ("one\n...\nfour", "one\nfour"),
        ("...\ntwo\n...\nfour\n...", "one\ntwo\ntwo\nthree\nfour\nfive"),
        ("...\ntwo\nthree", "two\nx\ntwo\nthree"),
        ("  one\n\ntwo", "  one\n\ntwo"),
        ("queue $QUEUE.", "queue a.*[b] ...."),
        ("worker $WORKER.", "worker anything."),
        ("host $HOST.", "host anything."),
        ("$5", "$5"),
    ],
)
def test_it_is_what_the_page_says(expected: str, output: str) -> None:
    assert difference(_lines(expected), output.split("\n"), VALUES) is None


@pytest.mark.parametrize(
    ("expected", "output", "parted"),
    [
        ("one", "", Difference(0, "one", "")),
        ("", "one", Difference(0, "", "one")),
        ("one", "two", Difference(0, "one", "two")),
        ("one", "one two", Difference(0, "one", "one two")),
        ("one\ntwo", "one\nthree", Difference(1, "two", "three")),
        ("one", "one\ntwo", Difference(1, "", "two")),
        ("one ... one", "one", Difference(0, "one ... one", "one")),
        ("one\n...\nfour\nfive", "one\ntwo\nfour\nsix", Difference(3, "five", "six")),
        ("...\ntwo", "one", Difference(1, "two", "one")),
        ("one.two", "one-two", Difference(0, "one.two", "one-two")),
        ("queue $QUEUE", "queue axxb", Difference(0, "queue $QUEUE", "queue axxb")),
    ],
)
def test_the_first_line_that_is_not(expected: str, output: str, parted: Difference) -> None:
    assert difference(_lines(expected), output.split("\n"), VALUES) == parted


def test_much_output_takes_no_time() -> None:
    output = ["a" * 200] * 5000
    assert difference(["...", "...a...a...a...b", "...", "...a...b"], output, {})


def _lines(text: str) -> list[str]:
    return text.split("\n") if text else []
