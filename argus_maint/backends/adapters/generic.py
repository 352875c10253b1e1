"""A backend that nobody knows, and one that cannot be used."""

from __future__ import annotations

from typing import Any

from argus_maint.backends import signals
from argus_maint.backends.adapters.base import CAPABILITIES, Adapter

_UNKNOWN = "no adapter knows this backend: name one in ARGUS_MAINT['BACKENDS']"


class Generic(Adapter):
    """A class that is nobody's: schedules, pings and time limits work, and nothing else."""

    name = "generic"
    why_not = dict.fromkeys(CAPABILITIES, _UNKNOWN)

    def counters(self) -> dict[str, int]:
        """Signals that were seen in processes of this site, by event."""
        return signals.totals(self.alias, self.using)


class Broken(Adapter):
    """An alias that cannot be looked after. ``trouble`` says why, and what would help.

    ``backend`` is None where it cannot be used either; else the fault is with its adapter.
    """

    name = "unusable"

    def __init__(
        self, alias: str, path: str, trouble: str, using: str, backend: Any = None
    ) -> None:
        super().__init__(alias, path, backend, using)
        self.trouble = trouble

    def warnings(self) -> list[str]:
        """What is wrong with it."""
        return [self.trouble]
