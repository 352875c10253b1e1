"""What a rescue pass is asked to do, on whichever backend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Errand:
    """What to do. ``progress(left, total)`` is told, in seconds, how the wait goes."""

    using: str
    noticed_by: str
    dry_run: bool = False
    wait: bool = True
    progress: Callable[[float, float], object] = lambda left, total: None
