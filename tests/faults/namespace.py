"""Processes in a PID namespace of their own: as far away as another host.

A watcher outside cannot look such a process up (its pid means nothing there), so only
the lease tells whether it lives. ``lab.worker(prefix=ALONE)`` starts a supervisor that
way, as PID 1, as in a container. ``--kill-child`` takes it down with ``unshare`` itself.

Pids in the database are those of the inside; ``outside`` finds the process on this side.
"""

from __future__ import annotations

import functools
import os
import signal
import subprocess
from pathlib import Path

import psutil

from tests.lab import Supervised, until

_ROOT = ("--pid", "--fork", "--mount-proc", "--kill-child")
ALONE = ("unshare", *(() if os.getuid() == 0 else ("--user", "--map-root-user")), *_ROOT)
# A systemd of its own, for sh -c with ALONE, --mount and a folder whose config/ has its units.
SYSTEMD = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system /run/user/0
chmod 700 /run/user/0
export XDG_RUNTIME_DIR=/run/user/0 HOME="$1" XDG_CONFIG_HOME="$1/config"
/lib/systemd/systemd --user --log-target=console  # not as PID 1: it would boot the machine
"""


@functools.cache
def missing() -> str:
    """Say why no namespace can be made; empty where one can."""
    try:
        done = subprocess.run([*ALONE, "true"], capture_output=True, text=True)
    except OSError as error:
        return str(error)
    return done.stderr.strip() if done.returncode else ""


def supervisor(alone: Supervised) -> int:
    """The pid, on this side, of the supervisor that was started with ``ALONE``."""
    return until(lambda: next((c.pid for c in psutil.Process(alone.pid).children()), 0))


def outside(alone: Supervised, pid: int) -> int:
    """The pid, on this side, of the process that is ``pid`` in there."""
    for child in psutil.Process(alone.pid).children(recursive=True):
        if _inside(child.pid) == pid:
            return child.pid
    raise LookupError(f"no process {pid} in the namespace of {alone.name}")


def stop(alone: Supervised, seconds: float = 45) -> int:
    """TERM to the supervisor (``unshare`` ignores it), and the exit status."""
    os.kill(supervisor(alone), signal.SIGTERM)
    return alone.wait(seconds)


def _inside(pid: int) -> int:
    """What a process is called in its own namespace (proc(5), NSpid)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("NSpid:"):
            return int(line.split()[-1])
    return 0
