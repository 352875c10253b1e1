"""Time limits, enforced by the supervisor on its own monotonic clock.

Overdue: a task has run longer than its limit. Its stack is taken first (``faulthandler``
dumps it from a signal handler in C, so a task that holds the interpreter lock shows its
stack too) and reported; with ``on_overdue: kill`` the worker is then ended, TERM first.
The receivers of ``task_finished`` have the same limit anew, and a minute where there is none.
By hand: a person wants the attempt ended (the keeper says so on the board); the same way,
while the task itself runs.
Stuck: a worker has waited for one database call longer than a lease, while the keeper's
own beats were committed.

Events: ``worker.overdue``, ``worker.unwanted``, ``worker.stuck`` (it is ended for that).
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import signal
from collections.abc import Iterable
from pathlib import Path

from argus_maint.clock import now
from argus_maint.log import get_logger
from argus_maint.workers.board import Board, Held, Phase
from argus_maint.workers.children import Child
from argus_maint.workers.orders import Outbox

logger = get_logger(__name__)

KILL_AFTER = 5.0  # seconds between TERM and KILL
RECEIVERS = 60.0  # seconds for task_finished receivers of a task without a limit
STACK_AFTER = 0.3  # seconds a worker has to dump its stack
STACK_SIZE = 20_000  # characters kept of it
# A real-time signal: nothing sends it by chance, and few programs use it.
STACK_SIGNAL = signal.SIGRTMIN + 9 if hasattr(signal, "SIGRTMIN") else signal.SIGUSR2


class Limits:
    """Watches every child's attempt; remembers what it has begun about which."""

    def __init__(self, board: Board, outbox: Outbox, lease: float, beat: float) -> None:
        self.board, self.outbox, self.lease, self.beat = board, outbox, lease, beat
        self.asked: dict[int, tuple[Held, float]] = {}  # by child: stack asked for, when
        self.told: dict[int, Held] = {}
        self.term_at: dict[int, tuple[Held, float]] = {}

    def enforce(self, child: Child) -> None:
        """Look at one child and do what is due."""
        self._end_stuck(child)
        held = child.slot.held()
        if held is None or self.term_at.get(child.number, (held,))[0] != held:
            self._let_go(child)
        if held is not None and child.slot.is_doomed():
            self._end(child, held, "manual")
            return
        if held is None or now() - held.since <= _limit(held):
            return
        running = held.announcing or child.slot.raw.phase == Phase.RUNNING
        if not running and child.number not in self.term_at:
            return
        if self.told.get(child.number) != held:
            self._report(child, held)
        elif held.kill:
            self._end(child, held, "overdue")

    def forget(self, number: int) -> None:
        """Drop what is known of a child that has ended."""
        for memory in (self.asked, self.told, self.term_at):
            memory.pop(number, None)

    def next_due(self, children: Iterable[Child]) -> float:
        """Seconds until something may be due."""
        due = float("inf")
        for child in children:
            held = child.slot.held()
            if held is None:
                continue
            left = held.since + _limit(held) - now()
            waiting = self.told.get(child.number) != held or child.number in self.term_at
            if left > 0 or waiting:
                due = min(due, max(left, 0.05))
        return due

    def _let_go(self, child: Child) -> None:
        """The attempt that was to be ended has ended by itself."""
        if self.term_at.pop(child.number, None) and child.reason in ("overdue", "manual"):
            child.reason = ""
            child.slot.raw.ending = 0

    def _report(self, child: Child, held: Held) -> None:
        """Ask for the stack, and report with it a moment later."""
        asked = self.asked.get(child.number)
        if asked is None or asked[0] != held:
            with contextlib.suppress(OSError):
                os.ftruncate(child.stack, 0)
                os.lseek(child.stack, 0, os.SEEK_SET)
            os.kill(child.pid, STACK_SIGNAL)
            self.asked[child.number] = (held, now())
        elif now() - asked[1] >= STACK_AFTER:
            self.told[child.number] = held
            self.outbox.add(
                "overdue",
                task_id=str(held.task_id),
                attempt=held.attempt,
                running_for=round(now() - held.since, 1),
                limit=_limit(held),
                kill=held.kill,
                announcing=held.announcing,
                stack=_stack(child),
            )

    def _end(self, child: Child, held: Held, reason: str) -> None:
        """TERM, and later KILL. Once ``ending`` is published the worker takes no other task."""
        begun, sequence = self.term_at.get(child.number), child.slot.raw.sequence
        if begun is None or child.slot.raw.ending != sequence:
            self.term_at[child.number] = (held, now())
            child.reason = reason
            child.slot.raw.ending = sequence
            logger.warning(
                "worker.overdue" if reason == "overdue" else "worker.unwanted",
                pid=child.pid,
                task_id=str(held.task_id),
            )
            os.kill(child.pid, signal.SIGTERM)
        elif now() - begun[1] > KILL_AFTER:
            os.kill(child.pid, signal.SIGKILL)

    def _end_stuck(self, child: Child) -> None:
        raw = child.slot.raw
        since = raw.call_since
        answering = now() - self.board.header.last_commit < 2 * self.beat
        if since and now() - since > self.lease and answering and not child.reason:
            logger.warning("worker.stuck", pid=child.pid, seconds=round(now() - since, 1))
            child.reason = "stuck"
            os.kill(child.pid, signal.SIGKILL)


def _limit(held: Held) -> float:
    return held.limit or (RECEIVERS if held.announcing else math.inf)


def _of_the_task(text: str) -> str:
    """The dump without the frames below the task's own: how a worker comes to run a task."""
    kept, ours = [], False
    for line in text.splitlines():
        ours = ours and line.startswith("  File ")
        ours = ours or line.startswith("  File ") and _CALLERS.search(line) is not None
        if not ours:
            kept.append(line)
    return "\n".join(kept)


# Of django.tasks or its backport, and our own; the most recent call comes first.
_CALLERS = re.compile(
    r"/django(/tasks|_tasks)/base\.py\", line \d+ in call$|/argus_maint/workers/execution\.py\""
)


def _stack(child: Child) -> str:
    """What the worker dumped, or why it could not."""
    try:
        text = os.pread(child.stack, STACK_SIZE, 0).decode(errors="replace").strip()
    except OSError:
        text = ""
    if text:
        return _of_the_task(text)
    try:
        status = Path(f"/proc/{child.pid}/status").read_text(encoding="utf-8")
        state = next(line for line in status.splitlines() if line.startswith("State:"))
    except (OSError, StopIteration):
        state = "State: unknown"
    return f"no stack: the worker did not answer the signal ({state})"
