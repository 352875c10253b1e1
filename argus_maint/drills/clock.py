"""A process whose host's clock is wrong: libfaketime (Debian: faketime) preloaded.

    scratch.worker("w2", **wrong("+1h"))

The monotonic clocks are off by as much, which changes nothing: they are compared with
themselves alone. (Faking the wall clock only breaks ``time.sleep`` of Python 3.11+.)
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

_LIBRARIES = "/usr/lib/*/faketime/libfaketime.so.1"
_SHARED = Path("/dev/shm")  # noqa: S108 - it is the library that chose it


def library() -> Path | None:
    """The library, where it is installed."""
    return next(iter(sorted(Path("/").glob(_LIBRARIES.lstrip("/")))), None)


def missing() -> str:
    """Say why clocks cannot be set; empty where they can."""
    return "" if library() else "libfaketime is not installed (Debian: faketime)"


def wrong(offset: str) -> dict[str, str]:
    """The environment of a process whose clock is off by ``offset``, like ``+1h``."""
    return {"LD_PRELOAD": str(library()), "FAKETIME": offset}


@contextlib.contextmanager
def tidy() -> Iterator[None]:
    """Remove the shared memory that libfaketime leaves behind."""
    before = set(_leftovers())
    try:
        yield
    finally:
        for path in set(_leftovers()) - before:
            path.unlink(missing_ok=True)


def _leftovers() -> Iterator[Path]:
    return _SHARED.glob("*faketime_s[eh]m_*")
