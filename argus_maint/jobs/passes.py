"""One pass of each job of ours, as the scheduler and ``maint run`` make it.

Each takes a ``Pass`` and returns a report that JSON can hold; what is in its list
``problems`` is for a person to look at. Raises ``JobError`` where it could do a part of its
work only. The work itself is done by the module of the job's name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from argus_maint.conf import get_settings
from argus_maint.conf_jobs import Job
from argus_maint.exceptions import ArchiveError, JobError, JobStopped

Report = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Pass:
    """What a pass is given: the database, the job's options, who runs it, whether to stop."""

    using: str
    noticed_by: str
    options: Mapping[str, Any] = field(default_factory=dict)
    jobs: Mapping[str, Job] = field(default_factory=dict)
    stopping: Callable[[], bool] = lambda: False

    def go_on(self, *progress: object) -> None:
        """Called between two steps of a long pass. Raises JobStopped when it is to stop."""
        if self.stopping():
            raise JobStopped


def rescue(given: Pass) -> Report:
    """Give back the tasks of dead workers; wait for what needs confirmation."""
    from argus_maint.jobs import foreign, watcher
    from argus_maint.jobs.errand import Errand

    errand = Errand(given.using, given.noticed_by, progress=given.go_on)
    made = watcher.make(errand)
    others = foreign.make(errand)
    report = {
        "rescued": len(made.acts) + len(others.acts),
        "dead_processes": made.ended,
        "unregistered": made.unregistered,
        "enqueued": others.enqueued,
        "unreachable": others.unreachable,  # the finding BackendUnreachable says what to do
        "waited": round(made.waited + others.waited, 3),
    }
    locked = (f"task {each} is locked" for each in made.locked)
    if trouble := [*made.errors, *locked, *others.errors]:
        raise JobError("; ".join(trouble[:3]), {**report, "errors": trouble})
    return report


def prune(given: Pass) -> Report:
    """Delete finished tasks past their retention."""
    return _pruned(given, own_tables=False, **given.options)


def history(given: Pass) -> Report:
    """Delete our own rows past their retention."""
    return _pruned(given, tasks=False, archive=None)


def _pruned(given: Pass, **values: Any) -> Report:
    from argus_maint.jobs import prune as job
    from argus_maint.jobs.detect.schedule import ARCHIVE_FAILED
    from argus_maint.jobs.prune_others import prune_others

    try:
        order = job.order_of(given.using, tell=given.go_on, **values)
        made = job.prune(order)
    except ArchiveError as error:
        folder = get_settings().prune.archive or ""
        raise JobError(str(error), {ARCHIVE_FAILED: folder or True}) from error
    report = {
        "rows": made.rows,
        "deleted": dict(made.deleted),
        "archived": made.archived,
        "seconds": round(made.seconds, 3),
        "worst_lock": round(made.worst, 4),
        "stopped": made.stopped or None,
    }
    trouble = f"{made.left} rows could not go: prune.left in the log says why" if made.left else ""
    if order.tasks:
        others = prune_others(order, given.go_on)
        report["others"] = [each.as_dict() for each in others]
        trouble = trouble or "; ".join(
            f"{each.alias}: {each.trouble}" for each in others if each.trouble
        )
    if trouble:
        raise JobError(trouble, report)
    return report


def storage(given: Pass) -> Report:
    """Give space back, renew indexes and statistics."""
    from argus_maint.jobs import storage as job

    limit = given.options.get("max_seconds")
    made = job.make(job.Errand(given.using, max_seconds=limit, progress=given.go_on))
    report = {
        "acts": [f"{each.act} {each.subject}: {each.outcome.value}" for each in made.acts],
        "bytes": made.after.total_bytes,
        "advice": made.advice,
        "seconds": round(made.seconds, 3),
    }
    if made.could_not:
        what = [f"{each.act} {each.subject}: {each.detail}" for each in made.could_not]
        raise JobError("; ".join(what), report)
    return report


def findings(given: Pass) -> Report:
    """Look for what needs a person, and keep the book of findings."""
    from argus_maint.jobs import detect

    return detect.make(given.using, given.noticed_by, given.jobs)
