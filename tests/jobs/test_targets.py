"""Which tasks a person means."""

from __future__ import annotations

import uuid

import pytest

from argus_maint.backends.search import Filter
from argus_maint.jobs import targets
from argus_maint.jobs.targets import WrongTarget
from argus_maint.observe import census
from tests import rows

pytestmark = pytest.mark.django_db
USING = "default"


def _id(text: str) -> uuid.UUID:
    return uuid.UUID(text.ljust(32, "0"))


@pytest.mark.parametrize("token", ["", "abc", "xyz1", "0f3c 9a1e", "0" * 33, "0f3g", "--", "٣٤٥٦"])
def test_what_is_no_id_is_refused(token: str) -> None:
    with pytest.raises(ValueError, match="task id|too short"):
        targets.hexdigits(token)


def test_ids_may_be_whole_or_cut_with_dashes_or_without_in_any_case() -> None:
    row = rows.task(pk=_id("0f3c9a1e4b2d"))
    tokens = [str(row.pk), row.pk.hex, "0f3c", "0F3C9A1E-4b"]
    assert targets.by_tokens(tokens, USING).ids == [row.pk]


def test_every_wrong_id_gets_its_line() -> None:
    for number in range(6):
        rows.task(pk=_id(f"0f3c{number}"), path=f"shop.t{number}")
    with pytest.raises(WrongTarget) as error:
        targets.by_tokens(["0f3c", "beef", "0f3c0"], USING)
    ambiguous, unknown = str(error.value).splitlines()
    assert ambiguous.startswith("0f3c is ambiguous: 0f3c0000-")
    assert "(shop.t0)" in ambiguous and ambiguous.endswith(", and more.")
    assert unknown == "No task has an id that begins with beef."


def test_failed_tasks_by_path_queue_and_age() -> None:
    meant = rows.task("FAILED", path="shop.tasks.send", age=60)
    rows.task("FAILED", path="shop.tasks.sendX", age=60)
    rows.task("FAILED", path="shop.tasks.send", age=9999)
    rows.task("FAILED", path="shop.tasks.send", age=60, queue_name="other")
    rows.task("SUCCESSFUL", path="shop.tasks.send", age=60)
    found = targets.failed(USING, Filter(queue="default", pattern="shop.*.send"), 3600)
    assert found.ids == [meant.pk]
    assert found.kinds == {"shop.tasks.send (ValueError)": 1}


def test_ready_tasks_by_path_and_age() -> None:
    old = rows.task(path="shop.a", age=60)
    later = rows.task(path="shop.a", age=60, run_after=rows.ago(-99))
    new = rows.task(path="shop.a")
    rows.task("RUNNING", path="shop.a", age=60)
    assert set(targets.ready(USING, Filter(pattern="shop.a"), 30).ids) == {old.pk, later.pk}
    assert set(targets.ready(USING, Filter(pattern="shop.*"), None).ids) == {
        old.pk,
        later.pk,
        new.pk,
    }


def test_unregistered_tasks_whatever_their_age() -> None:
    stock = rows.task("RUNNING", workers=("stock",))
    rows.task("RUNNING", workers=(rows.process().worker_id,))
    rows.lost()
    assert targets.unregistered(census.take(USING), Filter()).ids == [stock.pk]


def test_unregistered_tasks_of_one_worker() -> None:
    meant = rows.task("RUNNING", workers=("old", "stock"))
    for others in (("stock2",), ("stock", "other"), ("sto",)):
        rows.task("RUNNING", workers=others)
    taken = census.take(USING)
    assert targets.unregistered(taken, Filter(), "stock").ids == [meant.pk]
    assert targets.unregistered(taken, Filter(queue="other"), "stock").ids == []
    assert targets.unregistered(taken, Filter(), "").ids == []


def test_one_run_takes_no_more_than_it_can_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "MOST", 2)
    for _ in range(3):
        rows.task("FAILED")
    found = targets.failed(USING, Filter(pattern="*"), 60)
    assert (len(found.ids), found.more) == (2, True)
