"""Tasks: which do not end, which kill their workers, which fail.

- ``StuckTask``: past its time limit; or RUNNING though its worker has been dead for ``lost``
  (nobody rescues, or the row is locked).
- ``PoisonTask``: a kind of task of which some are FAILED in quarantine, until a person sees to
  them. Those of the last 30 days count.
- ``RescueLoop``: a kind of task that lost its worker ``losses`` times ``within`` that time.
  What went down with one supervisor is one loss.
- ``FailureSpike``: of a kind of task that finished ``within`` that time, ``share`` and at least
  ``failures`` failed, by the newest ``MOST``. What a person has discarded does not count.
- ``ZombieWrite``: a result was refused ``within`` that time: its worker had been replaced.

Of the last three, what happened before a person resolved the finding counts no more.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from django_tasks_db.models import DBTaskResult

from argus_maint.backends.database import FAILED, SUCCESSFUL
from argus_maint.backends.search import CHUNK
from argus_maint.exceptions import TaskDiscarded
from argus_maint.findings.observation import LONGEST, Observation
from argus_maint.jobs.detect.elsewhere import (
    MOST,
    Poison,
    Row,
    finished_elsewhere,
    quarantined_elsewhere,
    stuck_elsewhere,
)
from argus_maint.jobs.detect.look import Look, supervisor_of
from argus_maint.models import LedgerEntry, Process
from argus_maint.observe.census import Running
from argus_maint.observe.lists import QUARANTINED
from argus_maint.observe.picture import count
from argus_maint.observe.screen import span

QUARANTINE = timedelta(days=30)
DISCARDED = f"{TaskDiscarded.__module__}.{TaskDiscarded.__qualname__}"


def stuck_tasks(look: Look) -> Iterator[Observation]:
    """RUNNING tasks that are overdue, or lost for long."""
    census = look.status.census
    for each in census.of_state("overdue"):
        ran = span(each.running_for(look.host_now), approximate=True)
        yield _stuck(each, "overdue", f"running for {ran}, {each.overdue}")
    least = look.option("StuckTask", "lost")
    for each in census.of_state("lost"):
        since = (look.now - _died_at(each)).total_seconds()
        if since > least:
            yield _stuck(each, "lost", f"its worker died {span(since)} ago, and nobody rescues it")
    yield from stuck_elsewhere(look)


def _died_at(each: Running) -> datetime:
    owner = each.owner
    assert owner is not None  # a lost task has one
    if owner.state == Process.State.ENDED and owner.ended_at is not None:
        return owner.ended_at
    lease = timedelta(seconds=owner.lease if each.verdict == "expired" else 0)
    return owner.last_beat_at + lease


def _stuck(each: Running, why: str, what: str) -> Observation:
    attempt, owner = each.attempt, each.owner
    evidence: dict[str, object] = {
        "task_id": str(attempt.task_id),
        "task": attempt.task_path,
        "queue": attempt.queue_name,
        "backend": attempt.backend_name,
        "why": why,
    }
    if owner is not None:
        evidence |= {"worker": owner.name, "host": owner.hostname, "pid": owner.pid}
    summary = f"{attempt.task_path} {attempt.task_id} on {each.worker}: {what}"
    return Observation("StuckTask", str(attempt.task_id), summary, evidence)


def poison_tasks(look: Look) -> Iterator[Observation]:
    """Kinds of tasks with some in quarantine."""
    entries = LedgerEntry.objects.using(look.using).filter(
        action=LedgerEntry.Action.QUARANTINED, acted_at__gte=look.now - QUARANTINE
    )
    last = entries.order_by("-acted_at").values_list("task_id", "task_key", "backend_name")
    acts = list(dict.fromkeys(last[:MOST]))  # the newest first
    ids = list(dict.fromkeys(task_id for task_id, _, _ in acts))
    there = _in_table(look, ids) | quarantined_elsewhere(look, acts)
    by_path: defaultdict[str, list[Poison]] = defaultdict(list)
    for pk in ids:
        if pk in there:
            by_path[there[pk].path].append(there[pk])
    for path, found in by_path.items():
        first = found[0]
        evidence = {"task": path, "tasks": len(found), "task_id": first.task_id}
        evidence |= {"queue": first.queue, "backend": first.backend}
        summary = f"{count(len(found), 'task')} of {path} in quarantine"
        yield Observation("PoisonTask", path, summary, evidence)


def _in_table(look: Look, ids: Sequence[Any]) -> dict[Any, Poison]:
    """Those of these that are FAILED in quarantine, by their id in the ledger."""
    there = {}
    for start in range(0, len(ids), CHUNK):
        rows = DBTaskResult.objects.using(look.using).filter(
            pk__in=ids[start : start + CHUNK], status=FAILED, exception_class_path=QUARANTINED
        )
        for pk, *values in rows.values_list("pk", "task_path", "queue_name", "backend_name"):
            there[pk] = Poison(str(pk), *values)
    return there


def rescue_loops(look: Look) -> Iterator[Observation]:
    """Kinds of tasks that lose their workers again and again."""
    found = _entries(look, "RescueLoop", "task_path", counted=True)
    least, within = look.option("RescueLoop", "losses"), look.option("RescueLoop", "within")
    for path, entries in found.items():
        losses = len({_incident(each) for each in entries})
        if losses >= least:
            last = entries[0]
            how = Counter(each.exit_signal or each.reason or each.verdict for each in entries)
            summary = f"{path} lost its worker {losses} times within {span(within)}: "
            summary += ", ".join(f"{what} {number}" for what, number in how.most_common(3))
            evidence = {**_of_entry(last), "losses": losses, "tasks": len(entries)}
            yield Observation("RescueLoop", path, summary, evidence)


def _incident(entry: LedgerEntry) -> object:
    """What is one loss: all that went down with one supervisor, else each by itself."""
    return entry.worker_id.rpartition(".")[0] if entry.reason == "lost" else entry.pk


def zombie_writes(look: Look) -> Iterator[Observation]:
    """Workers whose results were refused."""
    found = _entries(look, "ZombieWrite", "worker_id", action=LedgerEntry.Action.REFUSED)
    for worker, entries in found.items():
        last = entries[0]
        when = span((look.now - last.acted_at).total_seconds())
        many = count(len(entries), "result")
        summary = f"{many} of {worker} refused, the last {when} ago: {last.task_path}"
        evidence = {**_of_entry(last), "tasks": len(entries)}
        yield Observation("ZombieWrite", worker, summary, evidence)


def _entries(look: Look, code: str, by: str, **which: Any) -> dict[str, list[LedgerEntry]]:
    """Entries that still count, by the object that they are about; the newest first."""
    rows = LedgerEntry.objects.using(look.using).filter(acted_at__gte=look.since(code), **which)
    resolved = look.resolved(code)
    found: defaultdict[str, list[LedgerEntry]] = defaultdict(list)
    for each in rows.order_by("-acted_at").defer("evidence")[:MOST]:
        name = supervisor_of(each.worker_id) if by == "worker_id" else each.task_path
        mark = resolved.get(name[:LONGEST])
        if mark is None or each.acted_at > mark:
            found[name].append(each)
    return found


def _of_entry(entry: LedgerEntry) -> dict[str, object]:
    return {
        "task": entry.task_path,
        "task_id": str(entry.task_id),
        "queue": entry.queue_name,
        "backend": entry.backend_name,
        "worker": supervisor_of(entry.worker_id),
        "host": entry.host,
    }


def failure_spikes(look: Look) -> Iterator[Observation]:
    """Kinds of tasks that fail more than they should."""
    share, least = look.option("FailureSpike", "share"), look.option("FailureSpike", "failures")
    within = look.option("FailureSpike", "within")
    failed: defaultdict[str, list[Row]] = defaultdict(list)
    fine: Counter[str] = Counter()
    since = look.host_now - timedelta(seconds=within)
    for bad, good in (_finished(look, since), *finished_elsewhere(look, since, least)):
        _count(look, since, bad, good, failed, fine)
    for path, rows in failed.items():
        number, total = len(rows), len(rows) + fine[path]
        if number < least or number < share * total:
            continue
        ((error, _),) = Counter(each["exception_class_path"] for each in rows).most_common(1)
        last = rows[0]
        summary = f"{number:,} of {total:,} tasks of {path} failed within {span(within)}"
        yield Observation(
            "FailureSpike",
            path,
            f"{summary}, most with {error}",
            {
                "task": path,
                "tasks": number,
                "total": total,
                "task_id": str(last["pk"]),
                "queue": last["queue_name"],
                "backend": last["backend_name"],
                "exception": error,
            },
        )


def _finished(look: Look, since: datetime) -> tuple[list[Row], list[Row]]:
    """Rows of the task table that FAILED since then, and that did not: the newest first."""
    fields = ("pk", "task_path", "queue_name", "backend_name", "exception_class_path")
    failed = _newest(look, FAILED, since, *fields)
    return failed, _newest(look, SUCCESSFUL, since, "task_path") if failed else []


def _count(
    look: Look,
    since: datetime,
    bad: list[Row],
    good: list[Row],
    failed: defaultdict[str, list[Row]],
    fine: Counter[str],
) -> None:
    """Add up by path: the FAILED ones, and the number of the successful."""
    # Where there are more than were read, both are of the same, shorter time.
    ends = [rows[-1]["finished_at"] for rows in (bad, good) if len(rows) == MOST]
    begin, marks = max([since, *ends]), look.resolved("FailureSpike")

    def counts(row: Row) -> bool:
        mark = marks.get(row["task_path"][:LONGEST])
        at: datetime = row["finished_at"]
        return at >= begin and (mark is None or at > mark)

    for row in filter(counts, bad):
        if row["exception_class_path"] != DISCARDED:
            failed[row["task_path"]].append(row)
    fine.update(row["task_path"] for row in filter(counts, good))


def _newest(look: Look, status: str, since: datetime, *fields: str) -> list[Row]:
    rows = DBTaskResult.objects.using(look.using).filter(status=status, finished_at__gte=since)
    return list(rows.order_by("-finished_at").values(*fields, "finished_at")[:MOST])


DETECTORS = {
    "StuckTask": stuck_tasks,
    "PoisonTask": poison_tasks,
    "RescueLoop": rescue_loops,
    "FailureSpike": failure_spikes,
    "ZombieWrite": zombie_writes,
}
