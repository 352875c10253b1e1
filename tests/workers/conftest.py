"""Fixtures of the life-cycle tests."""

from __future__ import annotations

import pytest

from tests.lab import Lab


@pytest.fixture
def life(lab: Lab) -> Lab:
    """A laboratory whose processes can be looked into (see ``tests.workers.settings``)."""
    lab.env["DJANGO_SETTINGS_MODULE"] = "tests.workers.settings"
    return lab
