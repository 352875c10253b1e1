"""What is so at this moment and nobody can write down: a locked database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import connections

from argus_maint.backends.locks import PATIENCE

if TYPE_CHECKING:
    from argus_maint.jobs.detect import Seen

CODE = "DatabaseLocked"


def look(using: str) -> Seen | None:
    """A look for who is in the way of others; None where none is made, or nobody is.

    None is made within a transaction of the caller's, which may hold the lock itself.
    """
    if connections[using].in_atomic_block:
        return None
    from argus_maint.jobs import detect  # with all that looks for anything

    seen = detect.observe(using, patience=PATIENCE, codes=[CODE])
    return seen if seen.observations or seen.errors else None
