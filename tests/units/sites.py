"""Sites and jobs, ordinary ones and those that only a test would have."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from argus_maint.conf_jobs import Job
from argus_maint.ticks import parse_schedule
from argus_maint.units import Site
from tests.units.examples import SHOP

# What means something to one format or another, beside plain letters.
SPECIAL = "%$(){}[]'\"`;#& *?!~=,:|<>^@-_.aZ9é"
NASTY = "/srv/a b%c/$(HOME) ;d #e'f\"g/%i%%"


def job(name: str = "prune", expression: str = "17 3 * * *", zone: str = "UTC", **more: Any) -> Job:
    """A job of ours, or one that looks like it."""
    return Job(name, f"Do {name}", parse_schedule(expression, zone), **more)


def site(**more: Any) -> Site:
    """The shop of the examples, otherwise furnished."""
    return replace(SHOP, **more)


words = st.text(SPECIAL, min_size=1, max_size=30).map(str.strip).filter(bool)
paths = st.lists(words, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
