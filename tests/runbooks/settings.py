"""The settings of the tests, with the pages of ``ARGUS_MAINT_TEST_PAGES``."""

from __future__ import annotations

import os
from pathlib import Path

from argus_maint.runbooks import places
from tests.settings import *  # noqa: F403

places.CHECKOUT = Path(os.environ["ARGUS_MAINT_TEST_PAGES"])
