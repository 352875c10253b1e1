"""Bury a process: end its registration because a person says that it is dead.

For a host that will not come back, where nobody wants to wait for a lease, and for a
supervisor that died and is meant to be gone. ``find`` says who is meant by a name, ``bury``
ends the registrations (``reason="buried"``) and leaves an ``Act``; a rescue pass then deals
with the tasks by policy, each as a counted loss. One that is alive in fact registers anew at
its next beat, and the results of what it held are refused.

Raises ``WrongProcess``, one line, for what cannot be buried.

Events: ``process.buried``; those of a rescue.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet

from argus_maint import traces
from argus_maint.backends.database import running
from argus_maint.database import short_transaction
from argus_maint.dbtime import DbNow, db_now
from argus_maint.log import get_logger
from argus_maint.models import Process
from argus_maint.observe import census as look
from argus_maint.observe.census import label
from argus_maint.observe.status import has_heir, living_supervisors
from argus_maint.options import did_you_mean
from argus_maint.workers import registry
from argus_maint.workers.identity import Presence, presence, same_place, this_host
from argus_maint.workers.liveness import lease_is_over

BURIED = "buried"
MEANT = ("stopped", "shutdown", BURIED, "")  # ends after which nothing is missed
WAIT = 5.0  # seconds for any lock

logger = get_logger(__name__)


class WrongProcess(Exception):
    """It names no process, or more than one, or one that is alive here. ``status`` to exit with."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Grave:
    """Who is meant: processes that have not ended, or (``over``) those that died before."""

    subject: str
    processes: list[Process]
    tasks: list[uuid.UUID]  # that they own
    looked_at: datetime  # database time
    over: bool = False

    @property
    def last_beat_at(self) -> datetime:
        """The last proof of life of any of them."""
        return max(each.last_beat_at for each in self.processes)

    @property
    def seems_alive(self) -> bool:
        """Whether the lease of one of them has not run out."""
        return any(not lease_is_over(each, self.looked_at) for each in self.processes)


def find(token: str, using: str) -> Grave:
    """The process of this name, ``name.number`` or worker id; with a supervisor its workers.

    A name may have its host with it, ``name@host``, as the finding DeadWorker has it.
    """
    living = registry.living(using)
    head = _one(token, living)
    if head is None:
        return _dead(token, using, living)
    group = [head]
    if head.kind == Process.Kind.SUPERVISOR:
        members = [each for each in living if each.supervisor == head.supervisor]
        group += [each for each in members if each.pk != head.pk]
    for each in group:
        _refuse_the_living(each)
    return _grave(token, group, using)


def _one(token: str, living: Sequence[Process]) -> Process | None:
    pool = Process.Kind.POOL  # of these all of a host have one name: it means the dead ones
    ways: tuple[Callable[[Process], bool], ...] = (
        lambda each: each.worker_id == token,
        lambda each: each.name == token and each.kind not in (Process.Kind.WORKER, pool),
        lambda each: label(each.worker_id) == token and each.kind != pool,
        lambda each: f"{label(each.worker_id)}@{each.hostname}" == token and each.kind != pool,
    )
    for fits in ways:
        found = [each for each in living if fits(each)]
        if len(found) > 1:
            ids = ", ".join(f"{each.worker_id} on {each.hostname}" for each in found)
            raise WrongProcess(
                f"{token} is more than one: {ids}. Give the id of one, or NAME@HOST.", 2
            )
        if found:
            return found[0]
    return None


def _refuse_the_living(process: Process) -> None:
    """What is proved alive is stopped, and not buried."""
    if same_place(this_host(), process.boot_id, process.pid_namespace):
        if presence(process.pid, process.start_time) is Presence.HERE:
            raise WrongProcess(
                f"{label(process.worker_id)} is alive: pid {process.pid} on this host. "
                f"To stop it: kill {process.pid}"
                + ("" if process.kind != Process.Kind.WORKER else " of its supervisor")
            )


def _dead(token: str, using: str, living: Sequence[Process]) -> Grave:
    """A supervisor or scheduler that died, and that nothing has taken the place of."""
    ended = Process.objects.using(using).filter(state=Process.State.ENDED)
    heads = ended.exclude(kind=Process.Kind.WORKER)
    name, _, host = token.rpartition("@")
    meant = heads.filter(name=token) | heads.filter(worker_id=token)
    if name:
        meant |= heads.filter(name=name, hostname=host)
    named = list(meant.order_by("-ended_at"))
    if not named:
        if ended.filter(worker_id=token).exists():
            raise WrongProcess(f"{token} has ended, and its supervisor has noted it.")
        known = {each.name for each in living} | {label(each.worker_id) for each in living}
        raise WrongProcess(f"No process is called {token!r}.{did_you_mean(token, known)}", 2)
    newest = named[0]
    if newest.reason in MEANT:
        how = newest.reason or "ended"
        raise WrongProcess(f"{token} is gone as it was meant to be ({how}): nothing to bury.")
    heirs = [] if newest.kind == Process.Kind.POOL else living_supervisors(look.take(using))
    if has_heir(newest, heirs):
        raise WrongProcess(f"{token} died, and another has taken its place: nothing to bury.")
    missed = ended.exclude(reason__in=MEANT)
    same = missed.filter(name=newest.name, kind=newest.kind, hostname=newest.hostname)
    of_it = missed.filter(supervisor__in=[each.supervisor for each in same if each.supervisor])
    group = {each.pk: each for each in [*same, *of_it]}
    return _grave(token, list(group.values()), using, over=True)


def _grave(token: str, group: list[Process], using: str, *, over: bool = False) -> Grave:
    ids = {each.worker_id for each in group}
    tasks = [attempt.task_id for attempt in running(using) if attempt.owner in ids]
    return Grave(token, group, tasks, db_now(using), over)


def bury(grave: Grave, by: str, why: str, using: str) -> list[str]:
    """End the registrations; the worker ids of those that had not ended by themselves.

    One whose lease had run out, and that has beaten since it was looked at, is alive and stays.
    """
    buried: dict[str, str] = {}
    with short_transaction(using, WAIT):
        for each in grave.processes:
            rows: QuerySet[Process] = Process.objects.using(using).filter(pk=each.pk)
            if grave.over:
                done = rows.update(reason=BURIED, noticed_by=by)
            else:
                if lease_is_over(each, grave.looked_at):
                    rows = rows.filter(beats=each.beats)
                done = rows.exclude(state=Process.State.ENDED).update(
                    state=Process.State.ENDED,
                    ended_at=DbNow(),
                    verdict="manual",
                    reason=BURIED,
                    noticed_by=by,
                )
            if done:
                buried[each.worker_id] = each.reason
        if buried:
            traces.leave("bury", grave.subject, by, why, using, processes=buried)
    for each in grave.processes:
        if each.worker_id in buried:
            facts = {"kind": each.kind, "host": each.hostname, "by": by, "why": why}
            logger.warning("process.buried", worker_id=each.worker_id, **facts)
    return list(buried)
