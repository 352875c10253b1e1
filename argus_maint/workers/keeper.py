"""The keeper: beats for its supervisor's processes, and sees to what is lost.

It is the only one of a supervisor's processes that always has a database
connection. It beats (one UPDATE for all), writes the leases to the board, carries
out the supervisor's orders and makes a rescue pass each beat and at every death.
It never imports a task. The supervisor replaces it when it has been silent for half
a lease, so every wait here is bounded.

What it does for tasks is handed in (``Duties``: ``rescue``, ``overdue``, ``finish``): the
keeper knows jobs only as callables.

Events: ``keeper.started``, ``keeper.waiting`` (the database does not answer; again every
minute), ``keeper.gave_up`` (``--batch``, and tables are missing), ``keeper.back``,
``process.replaced`` (a lease of ours was taken), ``name.taken`` (another supervisor that
is alive by its lease has the same ``--worker-id``), ``order.failed``.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import ProgrammingError

from argus_maint.clock import now
from argus_maint.database import MIGRATE, TRANSIENT, close_all, discard, task_database, what_helps
from argus_maint.dbtime import db_now
from argus_maint.log import get_logger, say
from argus_maint.models import Process
from argus_maint.workers import registry
from argus_maint.workers.board import Board, Slot
from argus_maint.workers.identity import Presence, member_id, presence, start_time
from argus_maint.workers.liveness import Verdict, Watch, judge
from argus_maint.workers.orders import Inbox, Order
from argus_maint.workers.registry import Group

logger = get_logger(__name__)

WORD_EVERY = 60.0  # seconds between words about a database that does not answer
FORGET_EVERY = 600.0  # seconds between looks for process rows past their retention


@dataclass(slots=True)
class Member:
    """One process the keeper beats for; number 0 is the supervisor and has no slot."""

    number: int
    pid: int
    slot: Slot | None
    worker_id: str = ""  # set once registered
    epoch: int = 0  # the supervisor's; a worker's is on its slot
    started: str = field(init=False)

    def __post_init__(self) -> None:
        self.started = start_time(self.pid)


@dataclass(frozen=True, slots=True)
class Duties:
    """What the keeper does in a pass, as callables."""

    rescue: Callable[[Keeper], float | None]  # returns when (monotonic) to look again
    overdue: Callable[[Keeper, dict[str, Any]], None]
    finish: Callable[[Callable[[], None]], None]  # before the keeper leaves


class Keeper:
    """One life of a keeper. ``run`` returns when it is told to stop."""

    def __init__(
        self,
        group: Group,
        incarnation: str,
        board: Board,
        members: list[Member],
        pending: list[Order],
        orders: int,
        duties: Duties,
        *,
        beat: float,
        retention: float,
        batch: bool = False,
    ) -> None:
        self.group, self.incarnation, self.board = group, incarnation, board
        self.members = {member.number: member for member in members}
        self.todo = list(pending)
        self.inbox = Inbox(orders)
        self.duties = duties
        self.beat, self.retention = beat, retention
        self.batch = batch  # nobody may be there to see it wait for tables
        self.using = task_database()
        self.watch = Watch(beat)
        self.wait = max(0.2, min(1.0, group.lease / 8))  # seconds for any lock
        self.next_beat = self.next_pass = self.next_forget = now()
        self.done = False
        self.gave_up = False
        self.down = False
        self.down_since = self.next_word = 0.0

    # -- its loop ---------------------------------------------------------------

    def run(self) -> None:
        """Turn until told to stop."""
        logger.info("keeper.started", name=self.group.name, pid=os.getpid())
        while not self.done:
            self.alive()
            self.todo += self.inbox.read(self._until_next())
            if self.inbox.closed:
                return
            self.alive()
            self._turn()
        close_all()

    def alive(self) -> None:
        """Tell the supervisor that the loop still turns."""
        self.board.header.keeper_alive = now()

    def between(self) -> None:
        """Between two rows of a pass: a long one must not let the leases run out."""
        self.alive()
        if now() >= self.next_beat:
            self._beat()

    def _until_next(self) -> float:
        if self.todo and not self.down:
            return 0.0
        # A quarter of a lease: the supervisor takes half of one in silence for the end.
        return min(self.next_beat - now(), self.next_pass - now(), self.group.lease / 4)

    def _turn(self) -> None:
        try:
            if now() >= self.next_beat:
                self._beat()
            self._carry_out()
            if now() >= self.next_pass:
                self._pass()
        except (*TRANSIENT, ProgrammingError) as error:
            self._database_away(error)
        else:
            if self.down:
                logger.info("keeper.back", name=self.group.name)
            self.down = False

    def _database_away(self, error: Exception) -> None:
        hint, at = what_helps(error), now()
        facts = {"error": str(error).strip(), **({"hint": hint} if hint else {})}
        if self.batch and hint == MIGRATE:
            logger.error("keeper.gave_up", **facts)
            self.done = self.gave_up = True
            return
        if not self.down:
            self.down_since = self.next_word = at
        if at >= self.next_word:
            logger.warning("keeper.waiting", **facts, seconds=round(at - self.down_since))
            self.next_word = at + WORD_EVERY
        self.down = True
        discard(self.using)
        self.next_beat = self.next_pass = now() + min(1.0, self.beat / 4)

    # -- beating ----------------------------------------------------------------

    def _beat(self) -> None:
        """One UPDATE for all; then the leases, then whatever lost its lease registers anew."""
        started = now()
        for member in self.members.values():
            if not member.worker_id:
                self._register(member)
        extended = registry.beat(self.group.supervisor, self.using, self.wait)
        committed = now()
        self.watch.committed(committed)
        self.board.header.last_commit = committed
        # Start to start, from when it was due: a slow commit does not stretch the rhythm.
        self.next_beat = max(self.next_beat + self.beat, committed)
        if extended != len(self.members):
            self._register_again(registry.living_ids(self.group.supervisor, self.using))
        for member in self.members.values():
            self._extend(member, started)

    def _extend(self, member: Member, started: float) -> None:
        slot = member.slot
        if slot is not None and slot.raw.number == member.number:
            slot.raw.lease_until = started + self.group.lease - self.beat

    def _register(self, member: Member) -> None:
        """Register a member, under its next epoch where the present one has been ended."""
        kind = Process.Kind.WORKER if member.number else Process.Kind.SUPERVISOR
        started = now()
        while True:
            epoch = member.slot.raw.epoch if member.slot is not None else member.epoch
            worker_id = member_id(self.group.name, self.incarnation, member.number, epoch)
            if registry.register(self.group, kind, worker_id, member.pid, self.using, self.wait):
                break
            if member.slot is not None:  # the supervisor's epoch is looked for by each keeper
                logger.warning("process.replaced", worker_id=worker_id, pid=member.pid)
            self._next_epoch(member)
        member.worker_id = worker_id
        self._extend(member, started)
        if kind == Process.Kind.SUPERVISOR:
            self._look_for_namesakes()

    def _look_for_namesakes(self) -> None:
        """No harm to the tasks, ids being unique; but people could not tell the two apart."""
        present = db_now(self.using)
        for other in registry.living(self.using, exclude=self.group.supervisor):
            if (other.kind, other.name) == (Process.Kind.SUPERVISOR, self.group.name):
                if judge(other, self.group.host, present, None, 0.0) is Verdict.ALIVE:
                    logger.warning(
                        "name.taken",
                        name=other.name,
                        host=other.hostname,
                        pid=other.pid,
                        hint="give each db_worker a --worker-id of its own",
                    )
                    say(
                        __name__,
                        f"db_worker: a supervisor called {other.name} runs already, pid "
                        f"{other.pid} on {other.hostname}: give each a --worker-id of its own.",
                    )

    def _next_epoch(self, member: Member) -> None:
        if member.slot is None:
            member.epoch += 1
        else:
            member.slot.raw.lease_until = 0.0
            member.slot.raw.epoch += 1

    def _register_again(self, living: set[str]) -> None:
        for member in self.members.values():
            if member.worker_id in living:
                continue
            # A supervisor that stands still has not told us of its death yet.
            if presence(member.pid, member.started) is not Presence.GONE:
                logger.warning("process.replaced", worker_id=member.worker_id, pid=member.pid)
                self._next_epoch(member)
                self._register(member)
        if self.todo:  # an order that waits may say how a stray ended, which we cannot
            return
        ours = {member.worker_id for member in self.members.values()}
        for stray in living - ours:
            registry.end(stray, self.using, self.wait, verdict="exited", reason="lost")

    # -- orders -----------------------------------------------------------------

    def _carry_out(self) -> None:
        while self.todo:
            order = self.todo[0]
            try:
                getattr(self, f"_order_{order.kind}")(order.data)
            except (*TRANSIENT, ProgrammingError):
                raise
            except Exception:
                logger.exception("order.failed", kind=order.kind)
                discard(self.using)
            self.board.header.acked = order.sequence
            self.todo.pop(0)
            self.between()

    def _order_spawn(self, data: dict[str, Any]) -> None:
        slot = self.board.slots[data["slot"]]
        member = self.members.setdefault(data["number"], Member(data["number"], data["pid"], slot))
        self._register(member)

    def _order_exit(self, data: dict[str, Any]) -> None:
        """A child was reaped: its row ends now, and what it held is looked for at once."""
        number = data["number"]
        # One epoch more than the supervisor saw: we may have registered it anew since.
        for epoch in range(data["epoch"] + 2):
            worker_id = member_id(self.group.name, self.incarnation, number, epoch)
            registry.end(
                worker_id,
                self.using,
                self.wait,
                verdict="exited",
                reason=data["reason"],
                exit_signal=data["signal"],
                exit_status=data["status"],
                noticed_by=self.group.name,
            )
        self.members.pop(number, None)
        self.next_pass = now()

    def _order_overdue(self, data: dict[str, Any]) -> None:
        self.duties.overdue(self, data)

    def _order_drain(self, data: dict[str, Any]) -> None:
        registry.drain(self.group.supervisor, self.using, self.wait)

    def _order_stop(self, data: dict[str, Any]) -> None:
        """All workers are gone. Look once more for what they held, and sign off."""
        self._pass()
        self.duties.finish(self.alive)
        for member in self.members.values():
            registry.end(
                member.worker_id, self.using, self.wait, verdict="exited", reason="stopped"
            )
        self.done = True

    # -- passes -----------------------------------------------------------------

    def holdings(self) -> Mapping[str, tuple[UUID, int] | None]:
        """What each of this supervisor's living workers holds, by worker id."""
        holdings: dict[str, tuple[UUID, int] | None] = {}
        for member in self.members.values():
            if member.slot is not None and member.worker_id:
                held = member.slot.held()
                holdings[member.worker_id] = (held.task_id, held.attempt) if held else None
        return holdings

    def end(self, worker_id: str, task_id: UUID, attempt: int) -> None:
        """A person wants this attempt ended: tell the supervisor, if its worker holds it."""
        for member in self.members.values():
            if member.worker_id == worker_id and member.slot is not None:
                member.slot.doom(member.number, task_id, attempt)

    def _pass(self) -> None:
        self.next_pass = max(self.next_beat, now() + 0.05)
        again = self.duties.rescue(self)
        if again is not None:
            self.next_pass = min(self.next_pass, again)
        if now() >= self.next_forget:
            self.next_forget = now() + FORGET_EVERY
            with contextlib.suppress(*TRANSIENT):
                registry.forget(self.using, self.retention, self.wait)
