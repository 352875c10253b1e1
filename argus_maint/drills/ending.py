"""How a drill ends: the shop stays for a while, and what a person runs in it ends by itself.

    stay(15.0, terminal=False)    # or until Enter
    let_end(scratch)              # commands in it, as `maint findings --look`; bounded

Without that the command that shows that all is well would be killed in the middle. What is
meant to last, such as a worker that was started by hand, is not waited for.

Errors: none. Events: none.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time
from collections.abc import Iterator

from argus_maint.clock import now
from argus_maint.drills import processes
from argus_maint.drills.inside import MARK
from argus_maint.drills.scratch import Scratch

KEEP = 15.0  # seconds
PATIENCE = 30.0  # seconds for commands to end
LOOK = 0.2  # seconds between two looks
LASTING = (b"db_worker", b"crontask")


def at_a_terminal() -> bool:
    """Whether a person can press Enter here: a job in the background would be stopped by it."""
    try:
        return sys.stdin.isatty() and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (AttributeError, OSError, ValueError):
        return False


def stay(seconds: float | None, terminal: bool) -> None:
    """Wait so long, or until Enter on a terminal; there None is without end. Ctrl-C ends it."""
    with contextlib.suppress(KeyboardInterrupt):
        if not terminal:
            time.sleep(KEEP if seconds is None else seconds)
        elif select.select([sys.stdin], [], [], seconds)[0]:
            sys.stdin.readline()


def let_end(scratch: Scratch, seconds: float = PATIENCE) -> None:
    """Wait for the commands of others in a project, but not for longer."""
    deadline = now() + seconds
    with contextlib.suppress(KeyboardInterrupt):
        while any(_commands(scratch)) and now() < deadline:
            time.sleep(LOOK)


def _commands(scratch: Scratch) -> Iterator[int]:
    """Pids of what runs in it, will end by itself, and is none of the project's own."""
    own = scratch.sessions()
    for pid in processes.marked(MARK, str(scratch.folder)):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            words = (processes.PROC / f"{pid}/cmdline").read_bytes().split(b"\0")
            if words != [b""] and os.getsid(pid) not in own and not {*words} & {*LASTING}:
                yield pid
