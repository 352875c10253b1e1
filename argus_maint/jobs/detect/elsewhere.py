"""Tasks that are kept elsewhere than in the task table, for the detectors of ``tasks``.

Who does not answer is left out: ``detect.backends`` tells of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from argus_maint.backends.adapters.base import Adapter, Lost
from argus_maint.backends.database import FAILED, SUCCESSFUL
from argus_maint.findings.observation import Observation
from argus_maint.jobs.detect.backends import asked
from argus_maint.jobs.detect.look import Look
from argus_maint.observe.lists import QUARANTINED
from argus_maint.observe.screen import span

MOST = 2000  # tasks or entries that are read
POISON = 100  # tasks in quarantine that are asked for one by one
UNTIL_TOLD = 90.0  # seconds that a backend needs until it can tell that a worker is dead (rq)

Act = tuple[Any, str, str]  # of the ledger: a task's id, its own id elsewhere, and its alias
Row = dict[str, Any]  # of a finished task, named as in the task table


@dataclass(frozen=True, slots=True)
class Poison:
    """A task in quarantine."""

    task_id: str
    path: str
    queue: str
    backend: str


def stuck_elsewhere(look: Look) -> Iterator[Observation]:
    """Tasks whose worker has been dead for long: nobody makes a rescue where that can be told."""
    least = look.option("StuckTask", "lost") + UNTIL_TOLD
    for adapter, found in asked(look, _lost):
        for each in found:
            silent = (look.host_now - each.seen_at).total_seconds() if each.seen_at else 0.0
            if each.confirms_in <= 0 and silent > least:
                yield _stuck(adapter, each, silent)


def _lost(adapter: Adapter) -> list[Lost]:
    return adapter.lost() if adapter.supports_rescue else []


def _stuck(adapter: Adapter, lost: Lost, silent: float) -> Observation:
    evidence = {
        "task_id": lost.task_id,
        "task": lost.task_path,
        "queue": lost.queue_name,
        "backend": adapter.alias,
        "why": "lost",
        "worker": lost.worker,
        "host": lost.host,
    }
    summary = f"{lost.task_path} {lost.task_id} of backend {adapter.alias}: its worker was last "
    summary += f"heard of {span(silent)} ago, and nobody rescues it"
    return Observation("StuckTask", lost.task_id, summary, evidence)


def quarantined_elsewhere(look: Look, acts: Iterable[Act]) -> dict[Any, Poison]:
    """Those that are FAILED in quarantine, by their id in the ledger."""
    by_alias: defaultdict[str, list[Act]] = defaultdict(list)
    for act in acts:
        by_alias[act[2]].append(act)
    found: dict[Any, Poison] = {}
    for _, poison in asked(look, lambda one: dict(_still_poison(one, by_alias[one.alias]))):
        found |= poison
    return found


def _still_poison(adapter: Adapter, acts: Sequence[Act]) -> Iterator[tuple[Any, Poison]]:
    for ledger_id, key, alias in acts[:POISON] if adapter.supports_tasks else ():
        task = adapter.task(key or str(ledger_id))
        if task is not None and task.error == QUARANTINED:
            handle = task.handle
            yield ledger_id, Poison(handle.task_id, handle.task_path, handle.queue_name, alias)


def finished_elsewhere(
    look: Look, since: datetime, least: int
) -> Iterator[tuple[list[Row], list[Row]]]:
    """Of each alias those that FAILED since then, and that did not; nothing of few failures."""

    def ask(adapter: Adapter) -> tuple[list[Row], list[Row]]:
        if len(_finished(adapter, FAILED, since, least)) < least:
            return [], []
        return _finished(adapter, FAILED, since), _finished(adapter, SUCCESSFUL, since)

    for _, rows in asked(look, ask):
        yield rows


def _finished(adapter: Adapter, status: str, since: datetime, most: int = MOST) -> list[Row]:
    if not adapter.supports_tasks:
        return []
    return [
        {
            "pk": each.handle.task_id,
            "task_path": each.handle.task_path,
            "queue_name": each.handle.queue_name,
            "backend_name": adapter.alias,
            "exception_class_path": each.error,
            "finished_at": each.since,
        }
        for each in adapter.tasks(status, most)
        if each.since is not None and each.since >= since
    ]
