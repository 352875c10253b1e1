"""What the settings of django-tasks-redis mean for what the site promises elsewhere.

Nothing here asks the server. What a task declares beside its code (``rescue_policy``) is
known where it is imported; here are the patterns of ``ARGUS_MAINT["RESCUE"]``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from argus_maint.conf import get_settings
from argus_maint.retention import DAY, KINDS

_TIMEOUT = "REDIS_CLAIM_TIMEOUT"


def warnings(alias: str, backend: Any) -> list[str]:
    """One line each."""
    return [f"TASKS[{alias!r}]: {line}" for line in _lines(backend)]


def _lines(backend: Any) -> Iterator[str]:
    yield from _about_limits(float(backend.claim_timeout))
    if not backend.max_deliveries:
        yield (
            "REDIS_MAX_DELIVERIES is 0: a task that kills its worker is run again without end "
            "where our rescue does not come first"
        )
    if not backend.queues:
        yield (
            "QUEUES is empty: its workers reclaim from the queue default only, so a task of "
            "another queue whose worker dies is never run again by the package"
        )
    yield from _about_ages(backend)


def _about_limits(timeout: float) -> Iterator[str]:
    limited = False
    for pattern, policy in get_settings().rescue:
        limit = policy.get("time_limit")
        if limit is not None and limit >= timeout:
            yield (
                f"tasks {pattern} may run for {limit:g} s, and after {timeout:g} s ({_TIMEOUT}) "
                f"another worker runs them as well: set {_TIMEOUT} above {limit:g}"
            )
        if policy.get("on_lost") == "fail":
            yield (
                f"tasks {pattern} are to fail when their worker is lost: have a rescue on every "
                f"host with a worker, for after {timeout:g} s ({_TIMEOUT}) another runs them again"
            )
        limited = limited or (pattern == "*" and limit is not None)
    if not limited:
        yield (
            f"no time_limit holds for all tasks: one that runs longer than {timeout:g} s "
            f"({_TIMEOUT}) is run twice while it works"
        )


def _about_ages(backend: Any) -> Iterator[str]:
    kept = backend.completed_task_ttl
    if not kept or kept <= 0:
        return
    retention = get_settings().retention
    ages = {kind: retention.ages[kind] for kind in KINDS}
    longer = [kind for kind, age in ages.items() if age is None or age > kept]
    if longer:
        yield (
            f"finished tasks expire after {kept / DAY:g} days (REDIS_COMPLETED_TASK_TTL), "
            f"sooner than RETENTION keeps them ({', '.join(longer)})"
        )
