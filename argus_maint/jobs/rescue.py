"""Rescue: put tasks whose worker is dead back to READY, or fail them, by policy.

What it is: one pass over the processes that have not ended and the tasks that are
RUNNING. ``run(view)`` makes the pass and returns a ``Report``; who calls it, and
when, lies outside (every keeper each beat and at every death; ``maint rescue``).

Each task is changed in its own short transaction together with its ledger entry,
guarded by the attempt that was read. One that cannot be changed is counted and
left for the next pass; it never stops the pass or starves the others.

Events (structlog): ``process.dead``, ``task.requeued``, ``task.failed``,
``task.quarantined``, ``rescue.error``, ``rescue.locked``.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from argus_maint.backends import database, local_db
from argus_maint.backends.database import Attempt
from argus_maint.checks import local_database_backends
from argus_maint.clock import now as monotonic
from argus_maint.conf import get_settings
from argus_maint.database import TRANSIENT, short_transaction
from argus_maint.dbtime import db_now
from argus_maint.exceptions import TaskQuarantined
from argus_maint.jobs import wishes
from argus_maint.jobs.policies import decide, policy_of
from argus_maint.log import get_logger
from argus_maint.models import LedgerEntry, Process, Sighting
from argus_maint.workers import registry
from argus_maint.workers.identity import Host, Presence, presence
from argus_maint.workers.liveness import Verdict, Watch, judge

logger = get_logger(__name__)
WAIT = 1.0  # seconds for any lock


@dataclass(slots=True)
class View:
    """Who looks, from where, and what it knows of its own workers.

    ``mine`` maps the worker ids of the caller's own living workers to the attempt
    each holds, as (task id, number), or None; ``orphans`` remembers between passes
    since when (monotonic) such a worker was seen without the task it owns.

    A worker that is gone while its supervisor lives is left to it for ``patience``
    seconds: it has reaped the worker and knows how it ended and why (a shutdown is no
    loss), which nobody else can see. ``gone`` remembers since when.
    """

    using: str
    noticed_by: str
    host: Host
    watch: Watch | None = None
    supervisor: uuid.UUID | None = None
    beat: float = 5.0
    mine: Callable[[], Mapping[str, tuple[uuid.UUID, int] | None]] = dict
    orphans: dict[tuple[uuid.UUID, int], float] = field(default_factory=dict)
    patience: float = 0.0
    gone: dict[str, float] = field(default_factory=dict)
    dry_run: bool = False
    alive: Callable[[], None] = lambda: None  # called between rows: "I still turn"
    end: Callable[[str, uuid.UUID, int], None] = lambda *attempt: None  # a person wants it ended
    told: set[str] = field(default_factory=set)  # troubles that have been logged once


@dataclass(slots=True)
class Report:
    """The result of one pass."""

    running: int = 0
    ended: list[str] = field(default_factory=list)  # worker ids found dead
    waiting: list[str] = field(default_factory=list)  # lease over, not yet confirmed
    unregistered: int = 0
    acts: list[LedgerEntry] = field(default_factory=list)  # unsaved in a dry run
    locked: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    confirm_at: float | None = None  # monotonic: when it is worth another look

    def failed(self) -> list[str]:
        """Ids of tasks that were failed: ``task_finished`` is to be sent for them."""
        done = {LedgerEntry.Action.FAILED, LedgerEntry.Action.QUARANTINED}
        return [str(act.task_id) for act in self.acts if act.action in done]


def run(view: View) -> Report:
    """Make one pass."""
    report = Report()
    dead = _find_dead(view, report)
    _rescue_tasks(view, report, dead)
    return report


def _find_dead(view: View, report: Report) -> dict[str, str]:
    """Judge every process that is not the caller's own; mark the dead ones as ended."""
    at = monotonic()  # before the look: silence is measured from look to look, never longer
    processes = registry.living(view.using, exclude=view.supervisor)
    seen_at = monotonic()
    now = db_now(view.using) if processes else None
    dead: dict[str, str] = {}
    _forget({process.worker_id for process in processes}, view)
    if view.watch is not None:
        view.watch.forget({process.pk for process in processes})
    for process in processes:
        view.alive()
        assert now is not None
        if view.watch is not None:
            view.watch.observe(process, seen_at)
        verdict = judge(process, view.host, now, view.watch, at)
        if verdict is Verdict.ALIVE:
            continue
        if verdict is Verdict.WAITING:
            report.waiting.append(process.worker_id)
            due = view.watch.confirms_at(process) if view.watch is not None else None
            if due is not None and due > at:
                report.confirm_at = min(report.confirm_at or due, due)
            continue
        if verdict is Verdict.EXITED and view.patience:
            due = view.gone.setdefault(process.worker_id, at) + view.patience
            if due > at and _has_supervisor(process, processes):
                report.confirm_at = min(report.confirm_at or due, due)
                continue
        if view.dry_run or _mark(process, verdict, view, report):
            dead[process.worker_id] = verdict.value
            report.ended.append(process.worker_id)
    return dead


def _has_supervisor(process: Process, processes: list[Process]) -> bool:
    """Whether the supervisor of a worker that is gone may still tell how it ended."""
    return process.kind == Process.Kind.WORKER and any(
        other.kind == Process.Kind.SUPERVISOR
        and other.supervisor == process.supervisor
        and presence(other.pid, other.start_time) is not Presence.GONE
        for other in processes
    )


def _forget(living: set[str], view: View) -> None:
    for worker_id in view.gone.keys() - living:
        del view.gone[worker_id]


def _mark(process: Process, verdict: Verdict, view: View, report: Report) -> bool:
    """Record a death; nothing happens when the process has beaten since it was read."""
    # One with --reload ends at every save of a file: no crash, and no loss of its task's.
    draining = process.state == Process.State.DRAINING or process.info.get("reload")
    try:
        ended = registry.end(
            process.worker_id,
            view.using,
            WAIT,
            beats=process.beats,
            verdict=verdict.value,
            reason="shutdown" if draining else "lost",
            noticed_by=view.noticed_by,
        )
    except TRANSIENT as error:
        report.errors.append(f"{process.worker_id}: {error}")
        return False
    if ended:
        logger.warning(
            "process.dead",
            worker_id=process.worker_id,
            kind=process.kind,
            verdict=verdict.value,
            host=process.hostname,
            last_beat_at=process.last_beat_at.isoformat(),
        )
    return ended


def _rescue_tasks(view: View, report: Report, dead: dict[str, str]) -> None:
    """Classify every RUNNING task by its owner and act where the owner is gone."""
    attempts = list(database.running(view.using))
    report.running = len(attempts)
    if local := local_database_backends():
        others = [each for each in attempts if each.backend_name in local]
        attempts = [each for each in attempts if each.backend_name not in local]
        _cap_poison([each for each in others if each.number > 1], view, report)
    owners = registry.by_worker_id((attempt.owner for attempt in attempts), view.using)
    strangers, orphans = [], {}
    for attempt in attempts:
        view.alive()
        owner = owners.get(attempt.owner)
        if owner is None:
            strangers.append(attempt)
        elif owner.state == Process.State.ENDED or owner.worker_id in dead:
            verdict = dead.get(owner.worker_id) or owner.verdict or Verdict.EXITED.value
            _settle(attempt, owner, verdict, view, report)
        elif owner.supervisor == view.supervisor:
            key = (attempt.task_id, attempt.number)
            if wishes.of(owner, attempt) is not None:
                view.end(attempt.owner, *key)
            if _is_orphan(attempt, view):
                since = view.orphans.get(key, monotonic())
                if monotonic() - since > view.beat:
                    _settle(attempt, owner, "orphaned", view, report)
                else:
                    orphans[key] = since
                    due = since + view.beat + 0.05
                    report.confirm_at = min(report.confirm_at or due, due)
    view.orphans.clear()
    view.orphans.update(orphans)
    _watch_strangers(strangers, view, report)


def _cap_poison(attempts: list[Attempt], view: View, report: Report) -> None:
    """Of backends that run a lost task again by themselves: end what is lost too often."""
    for attempt in attempts:
        view.alive()
        with _guarded(attempt, view, report):
            most = policy_of(attempt.task_path, view.using).max_losses
            entry = local_db.poison(attempt, most, view.using)
            if entry is not None:
                entry.noticed_by = view.noticed_by
                _act(attempt, entry, TaskQuarantined, view, report)


def _is_orphan(attempt: Attempt, view: View) -> bool:
    mine = view.mine()
    return attempt.owner in mine and mine[attempt.owner] != (attempt.task_id, attempt.number)


def _watch_strangers(strangers: list[Attempt], view: View, report: Report) -> None:
    """Count unregistered tasks' time from our first look, and act on it where asked to."""
    report.unregistered = len(strangers)
    known = registry.sightings(view.using)
    if not strangers and not known:
        return
    after = get_settings().unregistered_after
    now = db_now(view.using)
    for attempt in strangers:
        view.alive()
        sighting = known.pop(attempt.task_id, None)
        if sighting is None or sighting.attempt != attempt.number:
            if not view.dry_run:
                with _guarded(attempt, view, report):
                    registry.sight(attempt, view.using, WAIT)
        elif after is not None and (now - sighting.first_seen_at).total_seconds() > after:
            _settle(attempt, None, "unregistered", view, report, since=sighting.first_seen_at)
    if known and not view.dry_run:
        with short_transaction(view.using, WAIT):
            Sighting.objects.using(view.using).filter(pk__in=list(known)).delete()


@contextmanager
def _guarded(attempt: Attempt, view: View, report: Report) -> Generator[None, None, None]:
    """Around one row's work: whatever is wrong with that row stays with that row."""
    try:
        yield
    except Exception as error:
        trouble = f"{attempt.task_id}: {type(error).__name__}: {error}"
        report.errors.append(trouble)
        if _first_time(view, trouble):
            logger.exception("rescue.error", task_id=str(attempt.task_id), task=attempt.task_path)


def _first_time(view: View, trouble: str) -> bool:
    """Whether this has not been logged yet: a pass comes every few seconds."""
    if trouble in view.told:
        return False
    if len(view.told) > 10_000:
        view.told.clear()
    view.told.add(trouble)
    return True


def _settle(
    attempt: Attempt,
    owner: Process | None,
    verdict: str,
    view: View,
    report: Report,
    since: datetime | None = None,
) -> None:
    """Apply a person's wish or the policy to one lost attempt, and write down what was done."""
    with _guarded(attempt, view, report):
        entry = _entry(attempt, owner, verdict, view, since)
        wish = wishes.of(owner, attempt)
        if wish is not None:
            error = wishes.apply(wish, entry)
        else:
            error = decide(entry, policy_of(attempt.task_path, view.using))
        _act(attempt, entry, error, view, report)


def _act(
    attempt: Attempt, entry: LedgerEntry, error: type | None, view: View, report: Report
) -> None:
    """Put it back, or fail it where there is an error to fail it with."""
    if not view.dry_run:
        if error is None:
            done = database.requeue(attempt, view.using, entry, entry.delay)
        else:
            done = database.fail(attempt, view.using, entry, error, entry.evidence)
        if not done:
            # Another watcher was quicker, or another transaction holds the row.
            if database.still_there(attempt, view.using):
                report.locked.append(str(attempt.task_id))
                # Once may be another watcher at work; twice is worth a line.
                again = not _first_time(view, f"locked {attempt.task_id}")
                if again and _first_time(view, f"still locked {attempt.task_id}"):
                    logger.warning("rescue.locked", task_id=str(attempt.task_id))
            return
        logger.warning(
            f"task.{entry.action}",
            task_id=str(attempt.task_id),
            task=attempt.task_path,
            queue=attempt.queue_name,
            attempt=attempt.number,
            losses=entry.losses,
            verdict=str(entry.verdict),
            reason=entry.reason,
            evidence=entry.evidence,
        )
    report.acts.append(entry)


def _entry(
    attempt: Attempt, owner: Process | None, verdict: str, view: View, since: datetime | None
) -> LedgerEntry:
    """The ledger entry of an act on this attempt, its decision still open."""
    reason = owner.reason if owner is not None else ""
    # "stopped": it left cleanly, so it never began what it did not know it had claimed.
    counted = verdict != "orphaned" and reason not in ("shutdown", "stopped")
    entry = attempt.entry(
        verdict=verdict,
        reason=reason,
        evidence=_evidence(attempt, owner, verdict, since),
        counted=counted,
        losses=database.losses(attempt.task_id, view.using) + int(counted),
        noticed_by=view.noticed_by,
    )
    if owner is not None:
        entry.host = owner.hostname
        entry.exit_signal, entry.exit_status = owner.exit_signal, owner.exit_status
        entry.last_proof_of_life = owner.last_beat_at
    return entry


def _evidence(attempt: Attempt, owner: Process | None, verdict: str, since: datetime | None) -> str:
    """One sentence a person can check."""
    if owner is None:
        seen = f", seen RUNNING since {since.isoformat()}" if since is not None else ""
        return f"worker {attempt.owner or '(none)'} never registered{seen}"
    where = f"worker {owner.worker_id} (pid {owner.pid} on {owner.hostname})"
    beat = owner.last_beat_at.isoformat()
    if verdict == "orphaned":
        return f"{where} is alive and does not hold attempt {attempt.number}"
    if owner.reason == "buried":
        how = f"was put down as dead by {owner.noticed_by}"
    elif owner.exit_signal:
        how = f"was ended by {owner.exit_signal}"
    elif owner.exit_status is not None:
        how = f"exited with status {owner.exit_status} while it held the task"
    elif verdict == Verdict.EXPIRED.value:
        how = f"let its lease of {owner.lease:g} s run out"
    else:
        how = "no longer exists"
    cause = f", reason: {owner.reason}" if owner.reason else ""
    return f"{where} {how}{cause}; last beat {beat}"
