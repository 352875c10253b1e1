"""The monotonic clock of this host, which also runs while the machine sleeps.

A lease must run out during a suspend, so ``CLOCK_BOOTTIME`` is used where there
is one (Linux); elsewhere ``time.monotonic``. Values are seconds and compare only
with values of the same boot.
"""

from __future__ import annotations

import time

_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", None)


def now() -> float:
    """Seconds on a clock that never goes back."""
    if _BOOTTIME is None:
        return time.monotonic()
    return time.clock_gettime(_BOOTTIME)
