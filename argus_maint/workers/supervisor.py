"""The supervisor: forks, reaps, passes on signals, pings the watchdog, enforces limits.

It opens no database connection, imports no task, runs no thread and reads no file that
can block, so nothing a task or a database does can make it wait. What happens to its
children it tells the keeper, which acts on it.

Exit status of ``run``: 0 clean; 1 (``--batch``) tables are missing; 3 tasks were
interrupted at the end of the grace and given back; 4 (``--batch``) a worker died on the way.

Events: ``supervisor.started``, ``supervisor.stopping``, ``supervisor.stopped``,
``supervisor.unwritten`` (the database was away at the end), ``worker.ended``,
``keeper.ended``, ``keeper.silent`` (it is killed and replaced), ``fork.failed``.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from argus_maint.clock import now
from argus_maint.log import get_logger
from argus_maint.workers import children
from argus_maint.workers.board import Board, Slot
from argus_maint.workers.children import STOP_SIGNALS, Child
from argus_maint.workers.identity import member_id
from argus_maint.workers.limits import Limits
from argus_maint.workers.notify import Manager
from argus_maint.workers.orders import Order, Outbox

logger = get_logger(__name__)

CLEAN, HOPELESS, INTERRUPTED, BATCH_DEATHS = 0, 1, 3, 4
GAVE_UP = 71  # exit status of a keeper that no restart would help
RESTART = (0.5, 30.0)  # seconds before a worker that died is restarted: first, most
PATIENCE = 8.0  # seconds the keeper has to sign off
TURN = 0.5  # seconds between looks when nothing happens


@dataclass(frozen=True, slots=True)
class SupervisorOptions:
    """What the supervisor itself needs to know."""

    processes: int
    grace: float  # seconds between TERM and the end of what still runs
    lease: float
    beat: float
    batch: bool
    max_tasks: int | None = None  # after which a worker of a batch is not replaced
    name: str = ""
    incarnation: str = ""


@dataclass(slots=True)
class Place:
    """One of the N places for a worker; children come and go."""

    index: int
    child: Child | None = None
    start_at: float = 0.0
    failures: int = 0
    finished: bool = False  # nothing more to start here (--batch)
    stack: int = field(default_factory=children.scratch_file)


class Supervisor:
    """One life of a supervisor.

    ``work(slot, number, orders, stack)`` and ``keep(members, pending, orders)`` run in
    the children, where ``members`` is a list of (number, pid, place).
    """

    def __init__(
        self,
        options: SupervisorOptions,
        board: Board,
        work: Callable[[Slot, int, int, int], None],
        keep: Callable[[list[tuple[int, int, int]], list[Order], int], None],
    ) -> None:
        self.options, self.board, self.work, self.keep = options, board, work, keep
        self.places = [Place(index) for index in range(options.processes)]
        self.outbox = Outbox()
        self.limits = Limits(board, self.outbox, options.lease, options.beat)
        self.manager = Manager()
        self.lifeline = os.pipe()
        self.wakeup = os.pipe()
        self.keeper_pid = 0
        self.keeper_orders = -1
        self.keeper_start_at = self.keeper_started_at = 0.0
        self.turned_at = now()
        self.keeper_deaths = 0
        self.number = 0
        self.stop_at: float | None = None
        self.keeper_stop_at: float | None = None
        self.next_ping = 0.0
        self.ready = False
        self.hopeless = False  # no keeper can do its work
        self.interrupted = 0
        self.deaths = 0
        self.last_finish = 0.0  # of a task, by a worker that has ended since

    # -- its loop ---------------------------------------------------------------

    def run(self) -> int:
        """Work until stopped; returns the exit status."""
        options = self.options
        logger.info(
            "supervisor.started", name=options.name, pid=os.getpid(), processes=options.processes
        )
        self._listen()
        gc.collect()
        gc.freeze()  # what exists now stays shared with the children
        while not self._finished():
            self._reap()
            self._acknowledge()
            self._see_to_keeper()
            self._start_workers()
            for child in list(self._children()):
                self.limits.enforce(child)
            self._see_to_end()
            self._ping()
            self._wait()
        self.manager.tell("STOPPING=1\nSTATUS=stopped")
        self._note_unwritten()
        status = BATCH_DEATHS if self.options.batch and self.deaths else CLEAN
        status = INTERRUPTED if self.interrupted else status
        status = HOPELESS if self.hopeless else status
        logger.info("supervisor.stopped", status=status)
        return status

    def _note_unwritten(self) -> None:
        """Say what the keeper could not write; the next supervisor finds out by itself."""
        ends = (order.data.get("task_id") for order in self.outbox.pending)
        held = [task_id for task_id in ends if task_id]
        if held:
            logger.error(
                "supervisor.unwritten",
                task_ids=" ".join(held),
                hint="the database did not answer: the next supervisor gives these tasks back, "
                "and counts them as lost",
            )

    def _listen(self) -> None:
        for descriptor in self.wakeup:
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(self.wakeup[1], warn_on_full_buffer=False)
        for number in (*STOP_SIGNALS, signal.SIGCHLD):
            # nohup has HUP ignored, and that is to stay so
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue
            signal.signal(number, lambda signum, frame: None)

    def _wait(self) -> None:
        """Sleep until a signal, or until something may be due."""
        timeout = TURN
        for place in self.places:
            if place.child is None and not place.finished and self.stop_at is None:
                timeout = min(timeout, max(0.0, place.start_at - now()))
        if self.options.batch or not self.ready:
            timeout = min(timeout, 0.05)
        if self.manager.address:
            timeout = min(timeout, max(0.0, self.next_ping - now()))
        timeout = min(timeout, self.limits.next_due(self._children()))
        with contextlib.suppress(InterruptedError):
            if select.select([self.wakeup[0]], [], [], timeout)[0]:
                for number in os.read(self.wakeup[0], 512):
                    if number in STOP_SIGNALS:
                        self._stop(signal.Signals(number))

    def _children(self) -> Iterator[Child]:
        return (place.child for place in self.places if place.child is not None)

    def _finished(self) -> bool:
        return not (self.keeper_pid or self._needs_keeper() or any(self._children()))

    # -- children -----------------------------------------------------------------

    def _reap(self) -> None:
        """Collect every child that ended; as PID 1 that includes strangers."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.keeper_pid:
                self._keeper_ended(status)
            for place in self.places:
                if place.child is not None and place.child.pid == pid:
                    self._worker_ended(place, place.child, status)

    def _worker_ended(self, place: Place, child: Child, status: int) -> None:
        last = child.slot.held()
        held = last is not None and not last.announcing
        by_signal, code = children.how_ended(status)
        clean = code == 0 and not held
        end = {
            "number": child.number,
            "reason": child.reason or ("stopped" if clean else "crashed"),
            "signal": by_signal,
            "status": code,
            "task_id": str(last.task_id) if last is not None and held else None,
        }
        self.outbox.add("exit", epoch=child.slot.raw.epoch, **end)
        self._note_end(child, clean, held, end)
        self._plan_restart(place, child, clean)
        self.limits.forget(child.number)
        os.close(child.orders)
        place.child = None

    def _note_end(self, child: Child, clean: bool, held: bool, end: dict[str, Any]) -> None:
        shutdown = end["reason"] == "shutdown"
        self.interrupted += int(held and shutdown)
        self.deaths += int(not clean and not shutdown)
        options = self.options
        worker_id = member_id(options.name, options.incarnation, child.number, child.slot.raw.epoch)
        report = logger.info if clean else logger.warning
        report("worker.ended", worker_id=worker_id, pid=child.pid, **end, held_task=held)

    def _plan_restart(self, place: Place, child: Child, clean: bool) -> None:
        """Restart at once after useful work, and with a growing delay without any."""
        useful = child.slot.raw.finished > 0
        self.last_finish = max(self.last_finish, child.slot.raw.last_finish)
        most = self.options.max_tasks
        if clean and self.options.batch and most is not None:
            place.finished = child.slot.raw.finished >= most
        place.failures = 0 if useful else place.failures + 1
        place.start_at = now() + (0.0 if clean and useful else _delay(place.failures))

    def _start_workers(self) -> None:
        if self.stop_at is not None:
            return
        for place in self.places:
            if place.child is None and not place.finished and now() >= place.start_at:
                self._start_worker(place)

    def _start_worker(self, place: Place) -> None:
        self.number += 1
        number, slot = self.number, self.board.slots[place.index]
        slot.reset(number)
        read, write = os.pipe()
        stack = place.stack
        pid = self._fork(lambda: self.work(slot, number, read, stack), read, write)
        if not pid:
            place.failures += 1
            place.start_at = now() + _delay(place.failures)
            return
        place.child = Child(number, place.index, pid, write, slot, stack)
        self.outbox.add("spawn", number=number, pid=pid, slot=place.index)

    def _fork(self, main: Callable[[], None], read: int, write: int) -> int:
        """Fork a child with its pipe; 0 where the system has no room for it just now."""
        close = [*self._write_ends(), write, *self.wakeup]
        try:
            return children.fork(main, close=close, lifeline=self.lifeline)
        except OSError as error:
            logger.error("fork.failed", error=str(error))
            os.close(write)
            return 0
        finally:
            os.close(read)

    def _write_ends(self) -> list[int]:
        ends = [child.orders for child in self._children()]
        return [*ends, self.keeper_orders] if self.keeper_orders >= 0 else ends

    # -- the keeper -----------------------------------------------------------------

    def _see_to_keeper(self) -> None:
        """Start it where there is none; end it when it has been silent for half a lease."""
        late, self.turned_at = now() - self.turned_at, now()
        if not self.keeper_pid:
            if now() >= self.keeper_start_at and self._needs_keeper():
                self._start_keeper()
        elif late > TURN + self.options.lease / 4:
            self.board.header.keeper_alive = now()  # we stood still, and so perhaps did it
        elif now() - self.board.header.keeper_alive > self.options.lease / 2:
            logger.warning("keeper.silent", pid=self.keeper_pid)
            self.board.header.keeper_alive = now()
            os.kill(self.keeper_pid, signal.SIGKILL)

    def _needs_keeper(self) -> bool:
        """Until it has signed off, or the time for that is over."""
        if self.hopeless:
            return False
        return self.keeper_stop_at is None or (
            bool(self.outbox.pending) and now() < self.keeper_stop_at
        )

    def _start_keeper(self) -> None:
        read, write = os.pipe()
        members = [(child.number, child.pid, child.place) for child in self._children()]
        pending = list(self.outbox.pending)
        self.board.header.keeper_alive = self.keeper_started_at = now()
        self.keeper_pid = self._fork(lambda: self.keep(members, pending, read), read, write)
        if not self.keeper_pid:
            self.keeper_start_at = now() + RESTART[0]
            return
        self.keeper_orders = write
        self.outbox.connect(write)

    def _keeper_ended(self, status: int) -> None:
        os.close(self.keeper_orders)
        self.keeper_pid, self.keeper_orders = 0, -1
        self.outbox.acknowledged(self.board.header.acked)
        self.outbox.disconnect()
        if os.waitstatus_to_exitcode(status) == GAVE_UP:
            self.hopeless = True
            if self.stop_at is None:
                self._begin_stop(self.options.grace)
        elif self._needs_keeper():
            lived = now() - self.keeper_started_at
            self.keeper_deaths = 1 if lived >= self.options.lease else self.keeper_deaths + 1
            delay = 0.1 * 2 ** min(self.keeper_deaths, 6) if self.keeper_deaths > 1 else 0.0
            # Others must not outlast our lease because we waited longer than they did.
            self.keeper_start_at = now() + min(delay, 5.0, self.options.lease / 4)
            by_signal, code = children.how_ended(status)
            logger.warning("keeper.ended", signal=by_signal, status=code)

    def _acknowledge(self) -> None:
        self.outbox.acknowledged(self.board.header.acked)
        self.outbox.flush()

    # -- the end ----------------------------------------------------------------------

    def _stop(self, number: signal.Signals) -> None:
        """First signal: finish what is in hand, within the grace. Second: end it now."""
        if self.stop_at is not None:
            self.stop_at = min(self.stop_at, now())
            return
        logger.info("supervisor.stopping", signal=number.name, grace=self.options.grace)
        self._begin_stop(self.options.grace)

    def _begin_stop(self, grace: float) -> None:
        self.stop_at = now() + grace
        extend = int((grace + PATIENCE) * 1e6)
        self.manager.tell(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={extend}\nSTATUS=finishing tasks")
        self.outbox.add("drain")
        for child in self._children():
            with contextlib.suppress(OSError):
                os.write(child.orders, b"s")

    def _see_to_end(self) -> None:
        if self.stop_at is None:
            if self.options.batch and self._all_found_nothing():
                self._begin_stop(self.options.grace)
            return
        if now() >= self.stop_at:
            for child in self._children():
                if child.reason != "shutdown":
                    child.reason = "shutdown"
                    os.kill(child.pid, signal.SIGKILL)
        if not any(self._children()):
            self._stop_keeper()

    def _stop_keeper(self) -> None:
        if self.keeper_stop_at is None:
            self.keeper_stop_at = now() + PATIENCE
            self.outbox.add("stop")
        elif now() > self.keeper_stop_at and self.keeper_pid:
            os.kill(self.keeper_pid, signal.SIGKILL)

    def _all_found_nothing(self) -> bool:
        """Whether every worker's last look began after the last task of any of them ended."""
        raws = [child.slot.raw for child in self._children()]
        if any(place.child is None and not place.finished for place in self.places):
            return False
        last = max((raw.last_finish for raw in raws), default=0.0)
        last = max(last, self.last_finish)
        return all(raw.empty_at > last for raw in raws)

    def _ping(self) -> None:
        if not self.ready and self.board.header.last_commit > 0:
            self.ready = True
            self.next_ping = now()  # the watchdog's time runs from here
            self.manager.tell(f"READY=1\nSTATUS=working with {self.options.processes} workers")
        if self.manager.address and now() >= self.next_ping:
            every = self.manager.watchdog_every if self.ready else None
            self.next_ping = now() + (every if every is not None else 5.0)
            # A start that waits for the database is not a failed start.
            self.manager.tell("WATCHDOG=1" if self.ready else "EXTEND_TIMEOUT_USEC=15000000")


def _delay(failures: int) -> float:
    """Seconds until a worker that has failed this often in a row is started again."""
    return min(RESTART[1], RESTART[0] * 2.0 ** min(max(failures - 1, 0), 10))
