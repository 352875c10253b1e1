"""One look at the workers of django-tasks-redis, and what follows from it.

A worker reads from its streams, runs one task, acknowledges its message, and reads again. So
a worker that has read since a task was seen without a message does not hold that task. A
worker that is at a task reads nothing, and looks to the server just as a dead one does: only
the host that it runs on can tell.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from argus_maint.backends.adapters.base import Worker
from argus_maint.backends.adapters.redis_identity import Identity
from argus_maint.backends.adapters.redis_store import Message, State, Store
from argus_maint.models import LedgerEntry
from argus_maint.workers.identity import Presence, this_host

_MOST = 10_000
# When (by the server's clock) a RUNNING task was first seen without a message, by server key,
# id and attempts: adapters come and go, and it takes two looks.
_bare: dict[tuple[Any, ...], datetime] = {}


@dataclass(frozen=True, slots=True)
class Sight:
    """A task that may be lost, and why. ``confirms_in`` as in ``base.Lost``."""

    state: State
    message: Message | None
    verdict: LedgerEntry.Verdict
    evidence: str
    host: str = ""
    seen_at: datetime | None = None
    confirms_in: float = 0.0


class Look:
    """Tasks that run, what workers hold, the workers, and who they are: read in that order.

    A task that is RUNNING has a message already, so one without is no matter of timing, but
    for a task that has just ended: who acts on it reads it again.
    """

    def __init__(self, store: Store) -> None:
        self.store, self.host = store, this_host()
        self.running = store.running()
        queues = store.queue_names(self.running)
        self.all_queues = set(queues)
        self.held = store.messages(queues)
        self.consumers = store.consumers(queues)
        names = {name for each in self.running for name in each.workers}
        self.identities = store.identities(names | self.consumers.keys())
        self.now = store.now()

    # -- workers -------------------------------------------------------------------

    def workers(self) -> list[Worker]:
        """All that are known, by name."""
        tasks = {m.worker: task_id for task_id, held in self.held.items() for m in held}
        tasks |= {each.workers[-1]: each.task_id for each in self.running if each.workers}
        return [self._worker(name, tasks.get(name, "")) for name in sorted(self.consumers)]

    def _worker(self, name: str, task: str) -> Worker:
        consumer, identity = self.consumers[name], self.identities.get(name)
        presence = self._presence(name)
        alive, evidence = None, f"read {consumer.idle:.1f} s ago"
        if presence is Presence.GONE:
            alive, evidence = False, f"its process no longer exists; {evidence}"
        elif presence is Presence.HERE:
            alive, evidence = True, f"its process exists; {evidence}"
        elif not task and consumer.idle <= self._reads_every:
            alive = True
        return Worker(
            name,
            identity.hostname if identity else name.rpartition("-")[0],
            identity.pid if identity else None,
            () if consumer.queues == self.all_queues else tuple(sorted(consumer.queues)),
            self.now - timedelta(seconds=consumer.idle),
            alive,
            evidence,
            task,
        )

    @property
    def _reads_every(self) -> float:
        """Seconds within which a worker that has nothing to do reads again."""
        return float(self.store.backend.block_timeout or 0) / 1000 + 1

    def _presence(self, worker: str) -> Presence:
        identity: Identity | None = self.identities.get(worker)
        return identity.presence(self.host) if identity else Presence.UNKNOWN

    # -- tasks ---------------------------------------------------------------------

    def lost(self) -> list[Sight]:
        """Tasks whose worker is dead, or may be, or has moved on."""
        bare = {self._bare_key(each) for each in self.running if each.task_id not in self.held}
        mine = self._bare_key()
        for key in [key for key in _bare if key[: len(mine)] == mine and key not in bare]:
            del _bare[key]
        return [sight for each in self.running if (sight := self._judge(each))]

    def _judge(self, state: State) -> Sight | None:
        held = self.held.get(state.task_id, [])
        worker = state.workers[-1] if state.workers else ""
        message = next((each for each in held if each.worker == worker), None)
        if held and message is None:
            return None  # the package is about to hand it on
        presence = self._presence(worker)
        if presence is Presence.GONE:
            return self._sight(state, message, LedgerEntry.Verdict.EXITED, "no longer exists")
        if message is None and worker in self.consumers:
            return self._moved_on(state, worker)
        age = self._age(state, message)
        if presence is Presence.HERE or age <= self.store.backend.claim_timeout:
            return None
        text = f"began it {age:.0f} s ago, and nobody here can tell whether it is alive"
        # Never certain, for us: a worker of the package sees to it.
        return self._sight(state, message, LedgerEntry.Verdict.UNREGISTERED, text, math.inf)

    def _moved_on(self, state: State, worker: str) -> Sight:
        """A task without a message: its worker does not hold it once it has read again."""
        if len(_bare) > _MOST:
            _bare.clear()
        first = _bare.setdefault(self._bare_key(state), self.now)
        read_at = self.now - timedelta(seconds=self.consumers[worker].idle)
        if read_at > first:
            text = "is alive, has acknowledged it and asked for more work"
            return self._sight(state, None, LedgerEntry.Verdict.ORPHANED, text)
        text = "holds no message for it"
        return self._sight(state, None, LedgerEntry.Verdict.ORPHANED, text, self._reads_every)

    def _bare_key(self, state: State | None = None) -> tuple[Any, ...]:
        store = self.store
        place = store.client.connection_pool.connection_kwargs
        server = (*store.names, place.get("host"), place.get("port"), place.get("db"))
        return server if state is None else (*server, state.task_id, state.guarded)

    def _age(self, state: State, message: Message | None) -> float:
        if message is not None:
            return message.idle
        return (self.now - state.began_at).total_seconds() if state.began_at else 0.0

    def _sight(
        self,
        state: State,
        message: Message | None,
        verdict: LedgerEntry.Verdict,
        what: str,
        confirms_in: float = 0.0,
    ) -> Sight:
        worker = state.workers[-1] if state.workers else "(none)"
        identity, consumer = self.identities.get(worker), self.consumers.get(worker)
        where = f" (pid {identity.pid} on {identity.hostname})" if identity else ""
        last = f"; it last read {consumer.idle:.1f} s ago" if consumer else ""
        held = f"; it holds message {message.id}" if message else ""
        return Sight(
            state,
            message,
            verdict,
            f"worker {worker}{where} {what}{last}{held}",
            identity.hostname if identity else worker.rpartition("-")[0],
            self.now - timedelta(seconds=consumer.idle) if consumer else None,
            confirms_in,
        )

    # -- tasks that run longer than the claim timeout ------------------------------

    def overlong(self) -> Iterator[tuple[str, str, str, str, float, bool, str]]:
        """The values of ``base.Overlong``, for each task and each worker that is at it."""
        limit = self.store.backend.claim_timeout
        for state in self.running:
            *before, worker = state.workers or [""]
            held = self.held.get(state.task_id, [])
            message = next((each for each in held if each.worker == worker), None)
            about = (state.task_id, state.path, state.queue)
            for earlier in before:
                if message and self._still_at_it(earlier, message):
                    text = f"worker {earlier} is still at it, and worker {worker} has it as well"
                    yield (*about, earlier, message.idle + limit, True, text)
            if message and message.idle > limit and self._presence(worker) is not Presence.GONE:
                text = (
                    f"worker {worker} has been at it for {message.idle:.0f} s; after "
                    f"{limit:g} s (REDIS_CLAIM_TIMEOUT) any other worker runs it as well"
                )
                yield (*about, worker, message.idle, False, text)

    def _still_at_it(self, worker: str, later: Message) -> bool:
        """Whether a worker from which a task was taken has not read since another got it.

        The package forgets a worker that seems dead; whoever reads is known again.
        """
        consumer = self.consumers.get(worker)
        alive = self._presence(worker) is Presence.HERE
        return alive and (consumer is None or consumer.idle > later.idle)
