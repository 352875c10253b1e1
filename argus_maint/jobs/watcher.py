"""``maint rescue``: one rescue pass from outside, by a process that watches only as long.

What it is: a pass that acts at once on processes that are proved dead (*exited*). Where
a lease has run out it is not believed at once: this process registers itself as a
*watcher*, beats like any other, and looks again until it has itself witnessed one whole
lease of silence (``workers.liveness``). Then it signs off.

``make(errand)`` returns a ``Rescue``. With ``dry_run`` nothing is written at all; with
``wait=False`` those whose lease ran out are left alone, and named.

Events: those of ``jobs.rescue``.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Container
from dataclasses import dataclass, field

from django.db import Error

from argus_maint.backends.adapters.base import Lost
from argus_maint.clock import now
from argus_maint.conf import get_settings
from argus_maint.database import discard
from argus_maint.jobs import foreign, rescue
from argus_maint.jobs.errand import Errand
from argus_maint.jobs.rescue import Report, View
from argus_maint.models import LedgerEntry, Process
from argus_maint.scheduling import ledger
from argus_maint.workers import messenger, registry
from argus_maint.workers.identity import member_id, new_incarnation, this_host
from argus_maint.workers.liveness import Watch

WAIT = 1.0  # seconds for any lock
TICK = 0.25  # seconds between reports of how long it will still take
PATIENCE = 2.0  # leases after which what is not confirmed is left to others


@dataclass(slots=True)
class Rescue:
    """What came of it, over all looks."""

    dry_run: bool
    running: int = 0
    unregistered: int = 0
    ended: list[str] = field(default_factory=list)
    acts: list[LedgerEntry] = field(default_factory=list)
    waiting: list[Process] = field(default_factory=list)  # lease over, unconfirmed at the end
    unconfirmed: list[tuple[str, Lost]] = field(default_factory=list)  # of other backends
    waited: float = 0.0
    locked: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def add(self, report: Report) -> None:
        """Put the report of one more look to the others."""
        self.running, self.unregistered = report.running, report.unregistered
        self.ended += report.ended
        self.acts += report.acts
        # What could not be done is tried again at the next look: only the last one counts.
        self.locked, self.errors = report.locked, report.errors

    def add_others(self, report: foreign.Report) -> None:
        """Put what came of a pass over the other backends to it."""
        self.acts += report.acts
        away = (f"{alias}: {words}" for alias, words in report.unreachable.items())
        self.errors = [*self.errors, *report.errors, *away]
        self.unconfirmed = report.unconfirmed
        self.waited += report.waited


def make(errand: Errand) -> Rescue:
    """Make one pass, and wait for what needs confirmation."""
    settings = get_settings()
    watch = Watch(settings.beat)
    view = View(
        using=errand.using,
        noticed_by=errand.noticed_by,
        host=this_host(),
        watch=watch,
        supervisor=uuid.uuid4(),
        beat=settings.beat,
        dry_run=errand.dry_run,
    )
    result = Rescue(errand.dry_run)
    report = _look(view, result)
    if report.waiting and errand.wait and not errand.dry_run:
        report = _Vigil(view, watch, errand, settings.lease).keep(result, report)
    waiting = registry.by_worker_id(report.waiting, errand.using)
    result.waiting = [waiting[each] for each in report.waiting if each in waiting]
    return result


def make_sure(errand: Errand, jobs: Container[str]) -> None:
    """Wait for the death of who holds a run of these jobs to be confirmed, where it seems dead.

    For who fires ticks from no loop, and so never sees a whole lease of silence: a run of the
    job ``rescue`` itself, lost with its host, would else be in its own way for ever.
    """
    if any(run.job in jobs for run in ledger.suspects(errand.using)):
        make(errand)


def _look(view: View, result: Rescue) -> Report:
    """One look; tasks it failed are announced."""
    report = rescue.run(view)
    result.add(report)
    if report.failed() and not view.dry_run:
        messenger.send(report.failed())
    return report


class _Vigil:
    """The wait: beating under a name of its own, looking at every beat."""

    def __init__(self, view: View, watch: Watch, errand: Errand, lease: float) -> None:
        self.view, self.watch, self.errand, self.lease = view, watch, errand, lease
        self.beat = view.beat
        assert view.supervisor is not None
        self.supervisor = view.supervisor
        host = view.host
        name = f"maint-{host.hostname[:40]}-{os.getpid()}"
        self.incarnation, self.epoch = new_incarnation(), 0
        self.group = registry.Group(self.supervisor, name, host, lease, {})
        self.next_beat = now()
        view.alive = self._beat_if_due

    def keep(self, result: Rescue, report: Report) -> Report:
        """Watch until every silence is explained, or patience is at its end."""
        began = now()
        suspects = set(report.waiting)
        rows = registry.by_worker_id(suspects, self.view.using).values()
        total = max((row.lease for row in rows), default=self.lease)
        try:
            self._register()
            self._beat()
            due = began + total
            while suspects & set(report.waiting) and now() < began + total * PATIENCE + self.beat:
                self._sleep_until(min(self.next_beat, due), due, total)
                self._beat_if_due()
                report = _look(self.view, result)
                due = report.confirm_at or self.next_beat
        finally:
            result.waited = now() - began
            self._sign_off()
        return report

    @property
    def worker_id(self) -> str:
        return member_id(self.group.name, self.incarnation, 0, self.epoch)

    def _register(self) -> None:
        kind = Process.Kind.WATCHER
        registry.register(self.group, kind, self.worker_id, os.getpid(), self.view.using, WAIT)

    def _sign_off(self) -> None:
        """End our row. An interrupt in the middle of a statement leaves a useless connection."""
        for _ in range(2):
            try:
                registry.end(
                    self.worker_id, self.view.using, WAIT, verdict="exited", reason="stopped"
                )
            except Error:
                discard(self.view.using)
            else:
                return

    def _sleep_until(self, moment: float, due: float, total: float) -> None:
        while (left := moment - now()) > 0:
            self.errand.progress(max(0.0, due - now()), total)
            time.sleep(min(left, TICK))

    def _beat_if_due(self) -> None:
        if now() >= self.next_beat:
            self._beat()

    def _beat(self) -> None:
        """A beat of our own: that it was committed is what makes us a witness."""
        if not registry.beat(self.supervisor, self.view.using, WAIT):
            # We were silent for so long that another took us for dead: begin anew.
            self.epoch += 1
            self._register()
        committed = now()
        self.watch.committed(committed)
        self.next_beat = max(self.next_beat + self.beat, committed)
