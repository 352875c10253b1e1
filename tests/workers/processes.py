"""What the machine says about a process."""

from __future__ import annotations

import psutil


def gone(pid: int) -> bool:
    """Whether it has ended, reaped or not."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
