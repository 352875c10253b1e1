"""Schedulers as real processes, on this test's database or on a server of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.conftest import (  # noqa: F401 - fixtures
    _server,
    alone,
    cluster,
    private,
    proxy,
)
from tests.lab import Lab
from tests.scheduling.site import Site


@pytest.fixture
def site(lab: Lab) -> Iterator[Site]:
    """A project with jobs, on this test's database."""
    made = Site(lab)
    yield made
    made.close()


@pytest.fixture
def own_site(private: Lab) -> Iterator[Site]:  # noqa: F811 - the fixture
    """The same on a PostgreSQL that may be stopped."""
    made = Site(private)
    yield made
    made.close()
