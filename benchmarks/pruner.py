"""A process that runs one management command, and says when it ran and what memory it took.

To the file it was given: begin and end (CLOCK_MONOTONIC) of the command with the closing of
its connection, and the peak of its resident memory in bytes. Start-up is not in the time.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import psutil


def main(file: str, *command: str) -> None:
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connections

    connections["default"].ensure_connection()
    begin = time.monotonic()
    call_command(*command)
    connections.close_all()
    end = time.monotonic()
    Path(file).write_text(json.dumps({"begin": begin, "end": end, "memory": _peak()}))


def _peak() -> int:
    """Linux's VmHWM: unlike ru_maxrss it is not the parent's. Elsewhere what it is now."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return int(psutil.Process().memory_info().rss)


if __name__ == "__main__":
    main(*sys.argv[1:])
