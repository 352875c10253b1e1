"""The section ``PING`` of the ARGUS_MAINT setting: the dead-man's switch.

Something outside expects a word from us, and calls a person when none comes: that is the
only alarm that goes off when nothing of ours runs any more.

Options, with their defaults::

    "PING": {
        "url": None,     # of a check for the whole: it is told that a scheduler works
        "every": "1m",   # how often a scheduler tells it
        "timeout": 5,    # seconds for each step of one ping
        "sentry": True,  # check-ins of each job, where the site has initialised Sentry
    }

A job has a check of its own by its key ``"ping"`` in ``"JOBS"``. Such a URL is a secret: who
knows it can speak for the job. Only its scheme and host are ever shown. What is sent, and
when, is told by ``scheduling.pings`` and ``scheduling.sentry``.

Errors: E001 for a wrong value and E002 for an unknown key, as in every section.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from argus_maint.options import WRONG_VALUE, Option, Reader, flag, positive, url_or_none

EXAMPLE = '{"url": "https://hc-ping.com/UUID"}'


@dataclass(frozen=True, slots=True)
class Ping:
    """Who is told that jobs run; durations in seconds."""

    url: str | None = field(default=None, repr=False)
    every: float = 60.0
    timeout: float = 5.0
    sentry: bool = True


OPTIONS: dict[str, Option] = {
    "url": Option(url_or_none, "A check at healthchecks.io or the like has such a URL."),
    "every": Option(positive, 'How often a scheduler pings; the default is "1m".'),
    "timeout": Option(positive, "How long one step of a ping may take; the default is 5 s."),
    "sentry": Option(flag, "False sends no check-ins to Sentry; the default is True."),
}


def read(raw: object, reader: Reader, where: str) -> Ping:
    """The section; what is wrong with it is noted, and the default taken."""
    if not isinstance(raw, Mapping):  # the likely mistake is the URL itself, which is a secret
        kind = type(raw).__name__
        reader.note(WRONG_VALUE, f"{where} must be a dict, not {kind}.", f"For example {EXAMPLE}.")
        return Ping()
    return Ping(**reader.options(raw, OPTIONS, where))
