"""Growth by samples, gross where there are none, and the date of a size."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from argus_maint.backends.space import Space
from argus_maint.dbtime import db_now
from argus_maint.models import StorageSample
from argus_maint.observe import growth as module
from argus_maint.observe.growth import GIB, Growth, growth, next_size
from argus_maint.observe.space import humane
from tests.jobs.space import fill

pytestmark = pytest.mark.django_db
MIB = 1024**2


def _space(size: int = 100 * MIB, **values: Any) -> Space:
    return Space("sqlite", "t", db_now("default"), "dbstat", size // 2, size // 2, **values)


def _samples(space: Space, sizes: dict[float, float], measured: str = "dbstat") -> None:
    """Sizes in MiB by days ago."""
    for days, size in sizes.items():
        StorageSample.objects.create(
            taken_at=space.taken_at - timedelta(days=days),
            table_bytes=int(size * MIB),
            index_bytes=0,
            measured=measured,
        )


def test_a_steady_growth_is_that_of_the_samples() -> None:
    space = _space()
    _samples(space, {day: 100 - 5 * day for day in (1, 2, 3, 4)})
    rate = growth(space, "default")
    assert (rate.source, rate.samples) == ("samples", 5)
    assert rate.bytes_per_day == pytest.approx(5 * MIB)
    when = rate.reaches(110 * MIB, space)
    assert when is not None
    assert when - space.taken_at == pytest.approx(timedelta(days=2), abs=timedelta(minutes=1))


def test_when_in_the_day_a_prune_came_matters_little() -> None:
    """1 MiB a day, and 24 that come and are pruned every day; now is just before a prune."""
    space = _space(124 * MIB)
    _samples(space, {hour / 24: 124 - hour / 24 - (hour % 24) for hour in range(1, 14 * 24)})
    rate = growth(space, "default").bytes_per_day
    assert rate is not None and 0.5 * MIB < rate < 2 * MIB


def test_a_table_that_shrinks_never_reaches_a_size() -> None:
    space = _space()
    _samples(space, {1: 110, 2: 120})
    rate = growth(space, "default")
    assert rate.bytes_per_day == pytest.approx(-10 * MIB)
    assert rate.reaches(200 * MIB, space) is None
    assert rate.reaches(50 * MIB, space) == space.taken_at


@pytest.mark.parametrize(
    ("sizes", "measured"),
    [
        ({0.5: 99, 0.8: 98}, "dbstat"),  # not 20 hours
        ({2: 10, 3: 9}, "file"),  # measured in another way
        ({15: 10, 20: 9}, "dbstat"),  # long ago
        ({-1: 10, -3: 9}, "dbstat"),  # from the future
    ],
)
def test_samples_that_do_not_tell_give_way_to_a_gross_estimate(
    sizes: dict[float, float], measured: str
) -> None:
    fill(30)
    fill(20, age=86_400 * 2)
    space = _space(rows=1000)
    _samples(space, sizes, measured)
    rate = growth(space, "default")
    assert (rate.source, rate.finished_per_day) == ("gross", 30)
    assert rate.bytes_per_row == pytest.approx(100 * MIB / 1000)
    assert rate.bytes_per_day == pytest.approx(30 * 100 * MIB / 1000)


def test_too_many_to_count_are_taken_from_the_last_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 20)
    fill(10)
    fill(30, age=7200)
    assert growth(_space(rows=1000), "default").finished_per_day == 240


def test_without_rows_nothing_is_known() -> None:
    assert growth(_space(0, rows=0), "default") == Growth("unknown")
    assert Growth("unknown").reaches(GIB, _space()) is None


def test_a_date_too_far_to_matter_is_none() -> None:
    assert Growth("gross", 0.001).reaches(10**15, _space()) is None


def test_what_is_free_inside_the_table_is_not_what_a_row_takes() -> None:
    space = _space(rows=100, free_bytes=90 * MIB)
    assert space.used_bytes == 100 * MIB
    space.vendor = "postgresql"
    assert space.used_bytes == 10 * MIB


def test_the_next_size_is_a_power_of_ten() -> None:
    assert [next_size(size) // GIB for size in (0, GIB - 1, GIB, 11 * GIB)] == [1, 1, 10, 100]


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (-3 * MIB, "-3.0 MiB"),
        (1023 * MIB, "1.0 GiB"),
        (5 * 1024**6, "5,120.0 PiB"),
        (None, ""),
    ],
)
def test_sizes_for_people(size: int | None, text: str) -> None:
    assert humane(size) == text
