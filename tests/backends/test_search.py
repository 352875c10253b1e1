"""Finding tasks by the beginning of an id, by a pattern, by state; and showing short ids."""

from __future__ import annotations

import uuid
from fnmatch import fnmatchcase

import pytest
from django.db import connections
from hypothesis import example, given
from hypothesis import strategies as st

from argus_maint.backends import search
from argus_maint.backends.search import Filter
from tests import rows

pytestmark = pytest.mark.django_db
USING = "default"
BEGINNING = "0f3c9a1e"


def _id(text: str) -> uuid.UUID:
    return uuid.UUID(text.ljust(32, "0"))


def _found(prefix: str, most: int = 9) -> set[uuid.UUID]:
    return {row.attempt.task_id for row in search.by_prefix(prefix, USING, most)}


@pytest.mark.parametrize("digits", [4, 5, 8, 11, 12, 13, 20, 31, 32])
def test_a_beginning_of_any_length_finds_its_task_and_no_other(digits: int) -> None:
    wanted = uuid.UUID("0f3c9a1e-4b2d-4c3e-8d4f-a5b6c7d8e9fa")
    for each in (wanted, _id("0f3b"), _id("0f3d"), uuid.UUID(int=wanted.int ^ (1 << 127))):
        rows.task(pk=each)
    assert _found(wanted.hex[:digits]) == {wanted}


def test_a_beginning_finds_no_more_than_it_is_asked_for() -> None:
    for number in range(4):
        rows.task(pk=_id(f"{BEGINNING}{number}"))
    assert len(_found(BEGINNING, 3)) == 3
    assert len(_found(BEGINNING)) == 4


def test_short_ids_have_eight_digits_and_more_where_another_task_begins_so() -> None:
    alone, one, other = _id("aaaaaaaa1"), _id("bbbbbbbb1"), _id("bbbbbbbb2222")
    for each in (alone, one, other):
        rows.task(pk=each)
    short = search.short_ids([alone, one], USING)  # the rival is in the table, not in the list
    for each in (alone, one):
        assert _found(short[each].replace("-", "")) == {each}
        assert str(each).startswith(short[each])
    if connections[USING].vendor != "mysql":
        assert short == {alone: "aaaaaaaa", one: "bbbbbbbb-1"}


def test_short_ids_of_tasks_that_are_gone() -> None:
    gone = _id("cccccccc")
    assert str(gone).startswith(search.short_ids([gone], USING)[gone])


PATHS = st.text(st.sampled_from("aAb._%!\\[]-*é"), min_size=1, max_size=12)


@given(pattern=PATHS, path=PATHS)
@example(pattern="[!]", path="[!]")
@example(pattern="[]]a", path="]a")
@example(pattern="a[!b]*", path="aA.")
@example(pattern="50%_!", path="50%_!")
def test_what_a_pattern_matches_the_database_lets_through(pattern: str, path: str) -> None:
    rows.DBTaskResult.objects.all().delete()
    row = rows.task(path=path)
    let_through = Filter(pattern=pattern).narrow(rows.DBTaskResult.objects.all()).exists()
    if fnmatchcase(path, pattern):
        assert let_through
    assert Filter(pattern=path.replace("[", "[[]").replace("*", "[*]")).matches(
        next(search.rows_of(rows.DBTaskResult.objects.filter(pk=row.pk))).attempt
    )


def test_like_is_escaped_and_case_matters_in_the_end() -> None:
    for path in ("shop.tasks.send_mail", "shop.tasks.sendXmail", "SHOP.tasks.send_mail"):
        rows.task(path=path)
    wanted = Filter(pattern="shop.tasks.send_*")
    found = search.first(search.ready(USING, False, None), wanted, 10)
    assert [row.attempt.task_path for row in found] == ["shop.tasks.send_mail"]


def test_the_first_matches_are_found_behind_many_that_only_the_database_matches() -> None:
    for number in range(10):
        rows.task(path="Shop.a", age=100 + number)
    rows.task(path="shop.a", age=1)
    found = search.first(search.ready(USING, False, None), Filter(pattern="[s]hop.a"), 1)
    assert [row.attempt.task_path for row in found] == ["shop.a"]


def test_pages_go_through_every_row_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "PAGE", 3)
    ids = {rows.task().pk for _ in range(7)}
    pages = list(search.pages(rows.DBTaskResult.objects.all()))
    assert [len(page) for page in pages] == [3, 3, 1]
    assert {row.attempt.task_id for page in pages for row in page} == ids


def test_scheduled_is_not_ready() -> None:
    soon = rows.task(run_after=rows.ago(-60))
    late = rows.task(run_after=rows.ago(60))
    now = rows.task()

    def found(scheduled: bool) -> set[uuid.UUID]:
        queryset = search.ready(USING, scheduled, None)
        return {row.attempt.task_id for row in search.rows_of(queryset)}

    assert found(True) == {soon.pk}
    assert found(False) == {late.pk, now.pk}
