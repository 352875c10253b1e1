"""Pause a queue, drain a worker, and take either back.

A paused queue is one that no worker of ours takes from; tasks are enqueued as ever, and
what runs goes on to its end. A drained supervisor's workers take nothing more and stay;
that belongs to its name, so it holds over a restart. Both hold from their commit on
(``workers.pauses``), until somebody takes them back or, with ``until``, for so many seconds
by the database's clock.

``hold`` and ``lift`` return the pause that was there before, as far as it still held, and
leave an ``Act``: pause, resume, drain, undrain. ``workers.pauses.live`` lists what holds.

Events: ``queue.paused``, ``queue.resumed``, ``worker.drained``, ``worker.undrained``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from argus_maint import traces
from argus_maint.database import short_transaction
from argus_maint.dbtime import DbNow, db_now
from argus_maint.log import get_logger
from argus_maint.models import Pause
from argus_maint.workers.pauses import holding

logger = get_logger(__name__)
WAIT = 5.0  # seconds for any lock


@dataclass(frozen=True, slots=True)
class Hold:
    """What is paused: a queue of a backend, or a supervisor by its name."""

    backend: str = ""
    queue: str = ""
    worker: str = ""

    @property
    def where(self) -> dict[str, str]:
        """The columns that name it."""
        return {
            "backend_name": self.backend,
            "queue_name": self.queue,
            "worker": self.worker,
        }

    @property
    def subject(self) -> str:
        """Its name in the trace: the queue, with its backend where that is not the default."""
        if self.worker:
            return self.worker
        return self.queue if self.backend == "default" else f"{self.backend}/{self.queue}"


def current(what: Hold, using: str) -> Pause | None:
    """The pause of this queue or worker that holds now."""
    return holding(using).filter(**what.where).first()


def hold(what: Hold, by: str, why: str, until: float | None, using: str) -> Pause | None:
    """Pause the queue or drain the worker, for ``until`` seconds or for good.

    Where that holds already, its reason, its end and who it is by are changed.
    """
    with short_transaction(using, WAIT):
        _forget(using)
        before = current(what, using)
        end = None if until is None else db_now(using) + timedelta(seconds=until)
        Pause.objects.using(using).update_or_create(
            **what.where,
            defaults={"by": by, "why": why, "until": end},
            create_defaults={"by": by, "why": why, "until": end, "since": DbNow()},
        )
        until_iso = end.isoformat() if end is not None else None
        verb = "drain" if what.worker else "pause"
        traces.leave(verb, what.subject, by, why, using, **_details(what, until_iso))
    facts = {"by": by, "why": why, "until": until_iso}
    if what.worker:
        logger.warning("worker.drained", name=what.worker, **facts)
    else:
        logger.warning("queue.paused", queue=what.queue, backend=what.backend, **facts)
    return before


def lift(what: Hold, by: str, why: str, using: str) -> Pause | None:
    """Take a pause or a drain back; None, and no trace, where there is none."""
    with short_transaction(using, WAIT):
        _forget(using)
        before = current(what, using)
        if before is None or not Pause.objects.using(using).filter(pk=before.pk).delete()[0]:
            return None
        verb = "undrain" if what.worker else "resume"
        traces.leave(verb, what.subject, by, why, using, **_details(what))
    if what.worker:
        logger.warning("worker.undrained", name=what.worker, by=by, why=why)
    else:
        logger.warning("queue.resumed", queue=what.queue, backend=what.backend, by=by, why=why)
    return before


def _forget(using: str) -> None:
    """Remove what holds no more."""
    Pause.objects.using(using).filter(until__lte=DbNow()).delete()


def _details(what: Hold, until: str | None = None) -> dict[str, str]:
    details = {"backend": what.backend, "queue": what.queue, "worker": what.worker}
    return {key: value for key, value in {**details, "until": until}.items() if value}
