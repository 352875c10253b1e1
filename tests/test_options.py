"""Durations, and the answer to a typo."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from argus_maint.options import (
    LARGEST,
    LONGEST,
    Option,
    Reader,
    did_you_mean,
    parse_duration,
    parse_size,
    share,
)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (0, 0),
        (90, 90),
        (0.5, 0.5),
        ("90", 90),
        ("1.5", 1.5),
        ("30s", 30),
        ("10m", 600),
        ("2h", 7_200),
        ("7d", 604_800),
        ("1h30m", 5_400),
        ("1d 2h 3m 4s", 93_784),
        (" 1.5h ", 5_400),
        ("0s", 0),
        (timedelta(minutes=2), 120),
    ],
)
def test_a_duration_is_a_number_of_seconds_or_a_string_with_units(value, seconds):
    parsed = parse_duration(value, what="the limit")
    assert parsed == seconds
    assert type(parsed) is float


@pytest.mark.parametrize(
    "value",
    [
        True,
        None,
        -1,
        "-1s",
        "",
        " ",
        "s",
        "10 minutes",
        "30m1h",
        "5M",
        "1h1h",
        "1.h",
        "٣s",
        "1e3",
        float("nan"),
        float("inf"),
        10**400,
        "9" * 400,
        LONGEST + 1,
        timedelta(seconds=-1),
        timedelta.max,
        [],
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_is_no_duration_is_refused_in_one_line_that_says_what_is_right(value):
    with pytest.raises(ValueError, match="the limit must be a duration such as") as caught:
        parse_duration(value, what="the limit")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@examples(deadline=None)
@given(
    st.integers(0, 99), st.integers(0, 999), st.integers(0, 999), st.integers(0, 9_999), st.data()
)
def test_the_parts_of_a_duration_add_up_in_any_combination(days, hours, minutes, seconds, data):
    parts = [(days, "d", 86_400), (hours, "h", 3_600), (minutes, "m", 60), (seconds, "s", 1)]
    used = [part for part in parts if data.draw(st.booleans())] or parts
    text = "".join(f"{count}{unit}" for count, unit, _ in used)
    expected = sum(count * size for count, _, size in used)
    assert parse_duration(text, what="it") == expected


@examples(deadline=None)
@given(st.one_of(st.text(), st.integers(), st.floats(), st.timedeltas()))
def test_a_duration_is_within_its_bounds_or_refused(value):
    try:
        assert 0 <= parse_duration(value, what="it") <= LONGEST
    except ValueError as error:
        assert str(error).startswith("it ")


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (0, 0),
        (4096, 4096),
        ("4096", 4096),
        ("16M", 16 * 1024**2),
        ("1.5g", 1024**3 * 3 // 2),
        ("10 GiB", 10 * 1024**3),
        ("512KB", 512 * 1024),
        (" 2T ", 2 * 1024**4),
    ],
)
def test_a_size_is_a_number_of_bytes_or_a_string_with_a_unit(value, size):
    parsed = parse_size(value, what="the size")
    assert parsed == size
    assert type(parsed) is int


@pytest.mark.parametrize(
    "value",
    [-1, "-1M", "", "M", "10X", "1.M", "1MM", 1.5, True, None, [], LARGEST + 1, "9" * 400, "٣M"],
    ids=lambda value: repr(value)[:20],
)
def test_what_is_no_size_is_refused_in_one_line_that_says_what_is_right(value):
    with pytest.raises(ValueError, match="the size must be a size such as") as caught:
        parse_size(value, what="the size")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [0, -0.5, 1.01, "0.5", True, None, float("nan")])
def test_a_share_is_a_number_above_0_and_1_at_most(value):
    assert share(1, "it") == 1.0
    with pytest.raises(ValueError, match="it must be a number above 0, 1 at most, not"):
        share(value, "it")


def test_a_near_miss_is_answered_with_the_name_that_was_meant():
    assert did_you_mean("rescu", ["RESCUE", "PROCESSES"]) == ' Did you mean "RESCUE"?'
    assert did_you_mean("zebra", ["RESCUE", "PROCESSES"]) == ""
    assert did_you_mean(5, ["RESCUE"]) == ""


def test_a_reader_keeps_every_problem_and_every_right_value():
    reader = Reader()
    table = {"a": Option(parse_duration, "hint a"), "b": Option(parse_duration, "hint b")}
    values = reader.options({"a": 1, "b": "x", "c": 2}, table, "SETTING")
    assert values == {"a": 1.0}
    assert [(p.id, p.hint) for p in reader.problems] == [
        ("argus_maint.E002", "Known keys: a, b."),
        ("argus_maint.E001", "hint b"),
    ]
    assert reader.problems[1].message.startswith('SETTING["b"] must be')
