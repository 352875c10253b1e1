"""The section ``STORAGE`` of the ARGUS_MAINT setting.

Options, with their defaults::

    "STORAGE": {
        "bloat": 0.5,        # an index is rebuilt when more than this share of it is waste
        "min_size": "16M",   # an index, or free space in a SQLite file, below it is let be
        "max_seconds": "5m", # a pass stops then; the next one goes on
        "target": 0.05,      # seconds that one step may hold a lock
        "duty": 0.25,        # share of the time that the steps may take; pauses are the rest
    }

A size is a number of bytes or a string; K, M, G and T are powers of 1024.
"""

from __future__ import annotations

from dataclasses import dataclass

from argus_maint.options import Option, Reader, parse_size, positive, share


@dataclass(frozen=True, slots=True)
class Storage:
    """What the storage job may do: shares from 0 to 1, bytes and seconds."""

    bloat: float = 0.5
    min_size: int = 16 * 1024**2
    max_seconds: float = 300.0
    target: float = 0.05
    duty: float = 0.25


OPTIONS: dict[str, Option] = {
    "bloat": Option(
        share,
        "The share of an index that is waste, above which it is rebuilt; the default is 0.5.",
    ),
    "min_size": Option(
        parse_size,
        'Smaller indexes, and less free space in a SQLite file, are let be; the default is "16M".',
    ),
    "max_seconds": Option(positive, 'How long a pass may take; the default is "5m".'),
    "target": Option(positive, "How long one step may hold a lock; the default is 0.05 s."),
    "duty": Option(
        share,
        "The share of the time that steps may take, with pauses between; the default is 0.25.",
    ),
}


def read(raw: object, reader: Reader, where: str) -> Storage:
    """The section; what is wrong with it is noted, and the default taken."""
    mapping = reader.mapping(raw, where, '{"min_size": "64M"}')
    return Storage(**reader.options(mapping, OPTIONS, where))
