"""The checks at the end: did every task end exactly once, and do the records agree?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from django_tasks_db.models import DBTaskResult

from argus_maint.demo import tasks
from argus_maint.demo.watch import Kill, Observer
from argus_maint.models import LedgerEntry, Process
from argus_maint.observe.census import label


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that has to be so, and what it was."""

    good: bool
    text: str


def checks(observer: Observer) -> Iterator[Check]:
    """Compare the task table, the lines that tasks left, and the ledger."""
    rows = {observer.names[row.pk]: row for row in DBTaskResult.objects.all()}
    yield _all_successful(rows, observer)
    yield _each_ended_once(rows)
    yield _begun_again_only_if_killed(rows, observer.kills)
    yield from _ledger_agrees(observer)
    yield _nothing_left()


def _all_successful(rows: dict[str, DBTaskResult], observer: Observer) -> Check:
    statuses = Counter(str(row.status) for row in rows.values())
    told = ", ".join(f"{number} {status}" for status, number in statuses.items())
    return Check(statuses == {"SUCCESSFUL": len(observer.names)}, f"tasks: {told}")


def _each_ended_once(rows: dict[str, DBTaskResult]) -> Check:
    ends = Counter(tasks.lines("end"))
    wrong = [f"{name} {ends[name]} times" for name in rows if ends[name] != 1]
    if wrong:
        return Check(False, f"came to their last line more or less than once: {', '.join(wrong)}")
    return Check(True, f"each of the {len(rows)} came to its last line exactly once")


def _begun_again_only_if_killed(rows: dict[str, DBTaskResult], kills: list[Kill]) -> Check:
    begins, killed = Counter(tasks.lines("begin")), Counter(kill.task for kill in kills)
    wrong = [
        f"{name} begun {begins[name]} times in {len(row.worker_ids)} attempts"
        for name, row in rows.items()
        if not begins[name] == len(row.worker_ids) == 1 + killed[name]
    ]
    if wrong:
        return Check(False, f"not begun once and once more for each kill: {', '.join(wrong)}")
    return Check(True, f"begun twice: {', '.join(sorted(killed))}, which were killed; no other")


def _ledger_agrees(observer: Observer) -> Iterator[Check]:
    entries = list(LedgerEntry.objects.order_by("pk"))
    ours = Counter((kill.task, kill.worker_id) for kill in observer.kills)
    theirs = Counter(
        (observer.names.get(entry.task_id, ""), entry.worker_id)
        for entry in entries
        if (entry.action, entry.verdict) == (LedgerEntry.Action.REQUEUED, "exited")
    )
    good = theirs == ours and len(entries) == len(observer.kills)
    told = Counter(f"{entry.action} ({entry.verdict})" for entry in entries)
    summary = ", ".join(f"{number} {what}" for what, number in told.items()) or "empty"
    yield Check(good, f"ledger: {summary}; {len(observer.kills)} tasks were killed")
    zombies = sum(entry.verdict == LedgerEntry.Verdict.ZOMBIE for entry in entries)
    yield Check(not zombies, f"results written by a worker believed dead: {zombies or 'none'}")


def _nothing_left() -> Check:
    left = [label(each.worker_id) for each in Process.objects.exclude(state=Process.State.ENDED)]
    return Check(not left, f"processes still on record as alive: {', '.join(left) or 'none'}")
