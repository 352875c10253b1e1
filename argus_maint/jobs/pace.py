"""How much at once, and how long to pause: work that others must not notice.

The size of a batch follows the time that the last ones held their locks, so that one takes
about ``target`` seconds on any machine; the pause after it is in proportion to its time
(``duty`` is the share of the time that is spent working). A lock that was waited for in
vain halves the batch and lengthens the pause.
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST, LEAST, MOST = 500, 10, 50_000  # rows of a batch, or pages
AIM = 0.8  # of the target: what a batch takes varies
PATIENCE = 1.0  # seconds for a lock
LONGEST = 10.0  # seconds between tries while others hold a lock


@dataclass(slots=True)
class Pace:
    """Follows the measured times of batches."""

    target: float
    duty: float
    size: int = FIRST
    least: int = LEAST
    refused: int = 0  # locks waited for in vain, in a row

    def took(self, rows: int, seconds: float) -> None:
        """A batch of so many rows held its locks for so long."""
        self.refused = 0
        if rows and seconds > 0:
            ideal = rows * AIM * self.target / seconds
            # Half or twice at most: one slow write is no reason to crawl.
            self.size = int(min(max(ideal, self.size / 2), self.size * 2))
        else:
            self.size *= 2
        self.size = min(max(self.size, self.least), MOST)

    def pause(self, seconds: float) -> float:
        """Seconds to rest after a batch that took so long, reading included."""
        return seconds * (1 - self.duty) / self.duty

    def locked(self) -> float:
        """Somebody holds what we need; returns the seconds to leave them alone."""
        self.refused += 1
        self.size = max(self.size // 2, self.least)
        return float(min(0.1 * 2**self.refused, LONGEST))
