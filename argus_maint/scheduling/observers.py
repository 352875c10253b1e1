"""Who is told, by default, when runs begin and end.

Using it::

    runner = Runner(using, member, perform, observers())
    ...
    flush()    # before a process ends
"""

from __future__ import annotations

from argus_maint.clock import now
from argus_maint.conf import get_settings
from argus_maint.scheduling import sentry
from argus_maint.scheduling.pings import Pings
from argus_maint.scheduling.runner import Observer
from argus_maint.scheduling.sender import FLUSH, sender


def observers() -> tuple[Observer, ...]:
    """Those of the settings."""
    ping = get_settings().ping
    return (Pings(ping), sentry.CheckIns()) if ping.sentry else (Pings(ping),)


def flush(seconds: float = FLUSH) -> None:
    """Wait, a little, for what is still to be told."""
    until = now() + seconds
    sender().flush(seconds)
    sentry.flush(max(0.1, until - now()))
