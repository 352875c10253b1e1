"""This process in the registry: a scheduler, or a command that runs a job and goes.

Using it::

    member = Member(using, "cron")
    with member.beating():     # registered, beats from a thread, signed off at the end
        ...

A scheduler calls ``beat`` from its own loop instead, so that a loop that stands still is
seen to. A process whose lease was taken (it was frozen) registers anew under the same
``process``; what it was running was taken over meanwhile, which the ledger's guard tells.

Who claims a run makes sure of the lease before (``renew``), and afterwards that it lasted
(``holds``): the run of a process that is not registered, or was ended, looks lost.

A command leaves no row behind when it ends well: there is one every minute.
"""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
from collections.abc import Generator

from django.db import Error, connections

from argus_maint.clock import now as monotonic
from argus_maint.conf import get_settings
from argus_maint.database import TRANSIENT, discard
from argus_maint.log import get_logger
from argus_maint.models import Process
from argus_maint.scheduling.ledger import WAIT, Holder, patiently
from argus_maint.workers import registry
from argus_maint.workers.identity import member_id, new_incarnation, this_host

logger = get_logger(__name__)


class Member:
    """One process that runs jobs."""

    kind = Process.Kind.SCHEDULER

    def __init__(self, using: str, driver: str, name: str = "") -> None:
        settings = get_settings()
        self.using, self.beat_every, self.lease = using, settings.beat, settings.lease
        self.host = this_host()
        self.process = uuid.uuid4()
        self.name = name or f"{driver}-{self.host.hostname[:30]}-{os.getpid()}"
        self.holder = Holder(driver, self.host.hostname, self.process)
        info = {"driver": driver}
        self.group = registry.Group(self.process, self.name, self.host, self.lease, info)
        self.incarnation, self.epoch = new_incarnation(), 0
        self.beaten_at: float | None = None  # monotonic, the last beat that was committed
        self.lock = threading.RLock()  # one beat at a time: each may change the id

    @property
    def worker_id(self) -> str:
        """Its id in the registry."""
        return member_id(self.name, self.incarnation, 0, self.epoch)

    def register(self) -> None:
        """Make it known; a lease that was taken makes a new row."""
        kind, pid = self.kind, os.getpid()
        with self.lock:
            at = monotonic()
            while not patiently(
                lambda: registry.register(self.group, kind, self.worker_id, pid, self.using, WAIT)
            ):
                self.epoch += 1
                at = monotonic()
            self.beaten_at = at

    def beat(self) -> None:
        """Extend the lease."""
        with self.lock:
            at = monotonic()
            if not self._extend():
                logger.warning("process.replaced", worker_id=self.worker_id, pid=os.getpid())
                self.epoch += 1
                self.register()
                return
            self.beaten_at = at

    def _extend(self) -> int:
        return registry.beat(self.process, self.using, WAIT)

    def holds(self) -> bool:
        """Whether nobody can take this process for dead yet, nor within a beat."""
        at = self.beaten_at
        return at is not None and monotonic() - at < self.lease - self.beat_every

    def renew(self) -> None:
        """Have a lease, where there is none or it is about to run out."""
        with self.lock:
            if self.beaten_at is None:
                self.register()
            elif not self.holds():
                self.beat()

    def sign_off(self, *, keep: bool) -> None:
        """The end: ``keep`` the row for the post-mortem, or not."""
        for _ in range(2):  # an interrupt in a statement leaves a useless connection
            try:
                patiently(self._end if keep else self._vanish)
                return
            except Error:
                discard(self.using)

    def _end(self) -> None:
        registry.end(self.worker_id, self.using, WAIT, verdict="exited", reason="stopped")

    def _vanish(self) -> None:
        Process.objects.using(self.using).filter(supervisor=self.process).delete()

    @contextlib.contextmanager
    def beating(self) -> Generator[None, None, None]:
        """Registered, and beating from a thread of its own, for as long as the block lasts."""
        stop = threading.Event()
        thread = self.beat_on(stop)
        try:
            yield
        finally:
            stop.set()
            thread.join()
            self.sign_off(keep=False)

    def beat_on(self, stop: threading.Event) -> threading.Thread:
        """Register, and beat from a thread until ``stop`` is set."""
        self.register()
        thread = threading.Thread(target=self._turn, args=(stop,), daemon=True, name="beat")
        thread.start()
        return thread

    def _turn(self, stop: threading.Event) -> None:
        while not stop.wait(self.beat_every):
            try:
                self.beat()
            except TRANSIENT as error:
                logger.warning("scheduler.waiting", error=str(error).strip())
                discard(self.using)
            except Exception:  # without a beat what runs would be taken for lost
                logger.exception("scheduler.error", name=self.name)
                discard(self.using)
        connections.close_all()
