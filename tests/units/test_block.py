"""Our lines in somebody else's crontab."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argus_maint.units.block import Damaged, find, markers, put, take_out

NAME = "argus-maint"
FIRST, LAST = markers(NAME)
LINES = "# prune\n17 3 * * * true\n"
BLOCK = FIRST + b"\n" + LINES.encode() + LAST + b"\n"
# Any bytes, line ends of every kind among them, and lines that look like ours.
crontabs = st.lists(
    st.one_of(
        st.binary(max_size=20),
        st.sampled_from([b"\n", b"\r\n", b"\x0c", b"\x85", b"0 5 * * * backup", b"# BEGIN other"]),
    ),
    max_size=12,
).map(b"".join)


@given(crontabs)
def test_put_in_and_taken_out_it_is_as_before(crontab: bytes) -> None:
    with_block = put(crontab, NAME, LINES)
    gap = b"\n" if crontab and not crontab.endswith(b"\n") else b""
    assert with_block == crontab + gap + BLOCK
    assert take_out(with_block, NAME) == crontab + gap
    assert put(with_block, NAME, LINES) == with_block


@given(crontabs, crontabs)
def test_what_is_around_it_stays_byte_for_byte(before: bytes, after: bytes) -> None:
    before = before and before + b"\n"
    crontab = before + BLOCK + after
    assert put(crontab, NAME, "new\n") == before + BLOCK.replace(LINES.encode(), b"new\n") + after
    assert take_out(crontab, NAME) == before + after
    block = find(crontab, NAME)
    assert block is not None and block.lines == LINES.encode()


def test_another_site_of_this_user_has_its_own() -> None:
    both = put(put(b"", "one", "1\n"), "one-more", "2\n")
    assert take_out(both, "one") == put(b"", "one-more", "2\n")
    assert take_out(both, "one-more") == put(b"", "one", "1\n")


def test_a_marker_of_an_older_version_is_known() -> None:
    old = BLOCK.replace(b"made by", b"written by")
    assert put(b"a\n" + old + b"b\n", NAME, LINES) == b"a\n" + BLOCK + b"b\n"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([b"x", FIRST, b"y"], "line 2 of the crontab begins our lines, and nothing ends them"),
        ([b"x", LAST], "line 2 of the crontab ends what has not begun"),
        ([LAST, FIRST], "line 1 of the crontab ends what has not begun"),
        ([FIRST, b"x", FIRST, LAST], "line 3 of the crontab begins our lines a second time"),
        ([FIRST, LAST, FIRST, LAST], "line 3 of the crontab begins our lines a second time"),
        ([FIRST, LAST, b"x", LAST], "line 4 of the crontab ends what has not begun"),
    ],
)
def test_damaged_markers_are_not_guessed_at(lines: list[bytes], message: str) -> None:
    crontab = b"\n".join(lines) + b"\n"
    for act in (lambda: put(crontab, NAME, LINES), lambda: take_out(crontab, NAME)):
        with pytest.raises(Damaged, match=f"^{message}$"):
            act()
