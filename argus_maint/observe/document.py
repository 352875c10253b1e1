"""The JSON form of ``maint status`` (``schemas/status.json``)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from argus_maint.models import Process
from argus_maint.observe import history, pauses
from argus_maint.observe.census import Census, Running, label
from argus_maint.observe.history import iso
from argus_maint.observe.picture import Queue, Status, oldest_age
from argus_maint.observe.status import TROUBLES

MOST = 100  # tasks of one kind; the count beside them is complete


def as_dict(status: Status) -> dict[str, Any]:
    """The JSON form."""
    census = status.census
    return {
        "kind": "argus_maint.status",
        "version": 2,
        "taken_at": iso(census.taken_at),
        "database": status.using,
        "backend": status.backend or None,
        "healthy": status.healthy,
        "findings": [each.as_dict() for each in status.findings],
        "looked_ago": None if status.looked is None else round(status.looked, 3),
        "problems": [
            {
                "code": each.code,
                "message": each.message,
                "command": each.command,
                "finding": each.finding,
                "told": each not in status.news,
            }
            for each in status.problems
        ],
        "pauses": [pauses.as_dict(each) for each in status.pauses.rows],
        "jobs": [each.as_dict() for each in status.jobs],
        "processes": [
            {**_process(head, status), "workers": [_process(each, status) for each in members]}
            for head, members in status.families()
        ],
        "deaths_last_hour": [
            {
                "kind": str(each.kind),
                "reason": each.reason,
                "cause": each.cause,
                "count": each.count,
            }
            for each in status.deaths
        ],
        "supervisors_gone": [
            {
                "name": each.name,
                "host": each.hostname,
                "ended_at": iso(each.ended_at),
                "reason": each.reason,
            }
            for each in status.gone
        ],
        "queues": [_queue(queue, census.host_now) for queue in status.queues],
        "other_backends": [each.as_dict() for each in status.others],
        **{state: _tasks(census.of_state(state), census) for state in TROUBLES},
        "rescues": history.as_dicts(status.rescues),
    }


def _process(process: Process, status: Status) -> dict[str, Any]:
    held = status.holdings.get(process.pk)
    return {
        "kind": str(process.kind),
        "name": process.name,
        "label": label(process.worker_id),
        "worker_id": process.worker_id,
        "host": process.hostname,
        "pid": process.pid,
        "state": str(status.census.states[process.pk]),
        "beat_age": round(status.beat_age(process), 3),
        "lease": process.lease,
        "registered_at": iso(process.registered_at),
        "backend": process.info.get("backend"),
        "queues": process.info.get("queues", []),
        "excluded_queues": process.info.get("excluded", []),
        "drained": status.pauses.of_process(process) is not None,
        "runs": None if held is None else task(held, status.census),
    }


def _queue(queue: Queue, host_now: datetime) -> dict[str, Any]:
    counts = queue.counts
    return {
        "backend": counts.backend_name,
        "queue": counts.queue_name,
        "ready": counts.ready,
        "scheduled": counts.scheduled,
        "running": counts.running,
        "oldest_ready_age_approx": oldest_age(counts, host_now),
        "workers": queue.workers,
        "paused": queue.pause is not None,
    }


def _tasks(tasks: list[Running], census: Census) -> dict[str, Any]:
    return {"count": len(tasks), "tasks": [task(each, census) for each in tasks[:MOST]]}


def task(each: Running, census: Census) -> dict[str, Any]:
    """A RUNNING task."""
    attempt, age = each.attempt, each.running_for(census.host_now)
    seen = each.first_seen_at
    return {
        "task_id": str(attempt.task_id),
        "task": attempt.task_path,
        "queue": attempt.queue_name,
        "backend": attempt.backend_name,
        "attempt": attempt.number,
        "worker_id": attempt.owner,
        "state": each.state,
        "verdict": each.verdict or None,
        "confirmed": each.confirmed,
        "overdue": each.overdue or None,
        "running_for_approx": None if age is None else round(age, 3),
        "first_seen_age": None if seen is None else (census.taken_at - seen).total_seconds(),
    }
