"""Forking: how a child of the supervisor begins and ends.

A child dies with its parent: ``PR_SET_PDEATHSIG`` on Linux (prctl(2)), elsewhere a
thread that waits for the end of a pipe which only the supervisor keeps open.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NoReturn

from argus_maint.workers.board import Slot

_PR_SET_PDEATHSIG = 1
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
BLOCKED = {*STOP_SIGNALS, signal.SIGCHLD}


@dataclass(slots=True)
class Child:
    """A worker process, as its supervisor knows it."""

    number: int
    place: int  # index of its slot
    pid: int
    orders: int  # write end of its pipe
    slot: Slot
    stack: int  # file its stack is dumped to
    reason: str = ""  # why we ended it


def fork(main: Callable[[], None], close: Iterable[int], lifeline: tuple[int, int]) -> int:
    """Fork a child that runs ``main`` and leaves with ``os._exit``; returns its pid.

    ``close`` are the supervisor's descriptors that the child must not keep (the write
    ends of its siblings' pipes above all). Signals wait until the child has its own
    handlers. The child runs none of the parent's ``atexit`` functions.
    """
    parent = os.getpid()
    flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)
    pid = -1
    try:
        pid = os.fork()
    finally:
        if pid:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, BLOCKED)
    if pid:
        return pid
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for descriptor in (*close, lifeline[1]):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        die_with(parent, lifeline[0])
        main()
        status = 0
    except BaseException:  # noqa: BLE001 - the child must not return into the supervisor's frames
        traceback.print_exc()
    finally:
        flush()
        os._exit(status)


def scratch_file() -> int:
    """A file without a name that children inherit; it goes with its last user."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("argus_maint", 0)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def ignore_signals() -> None:
    """A service manager signals the whole group: only the supervisor is to act on it."""
    for number in STOP_SIGNALS:
        signal.signal(number, lambda signum, frame: None)


def unblock() -> None:
    """Let signals in, once the child has its handlers."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, BLOCKED)


def die_with(parent: int, lifeline: int | None = None) -> None:
    """End this process when its parent ends, or has ended already."""
    if not _ask_kernel() and lifeline is not None:
        threading.Thread(target=_wait_for_end, args=(lifeline,), daemon=True).start()
    if os.getppid() != parent:  # it died before the kernel was asked
        os._exit(1)


def _ask_kernel() -> bool:
    if not sys.platform.startswith("linux"):
        return False
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        return bool(libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False


def _wait_for_end(lifeline: int) -> None:
    os.read(lifeline, 1)  # nobody writes: this returns when the supervisor is gone
    os.kill(os.getpid(), signal.SIGKILL)


def how_ended(status: int) -> tuple[str, int | None]:
    """Signal (or nothing) and exit status (or None) of a wait status."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            return signal.Signals(number).name, None
        except ValueError:  # most real-time signals have no name
            return f"SIG{number}", None
    return "", os.WEXITSTATUS(status)


def flush() -> None:
    """Write out what was printed: ``os._exit`` would lose it."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()


def leave(error: BaseException | None) -> NoReturn:
    """End a process that a task or a job forked, without any of its parent's clean-up."""
    status = 0
    if isinstance(error, SystemExit):
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif error is not None:
        sys.excepthook(type(error), error, error.__traceback__)
        status = 1
    flush()
    os._exit(status & 0xFF)
