"""Task backends themselves: who does not answer, and who runs a task twice.

- ``BackendUnreachable``: the server of an alias does not answer, or will not let us in; or its
  adapter fails. Nothing is known of its queues then, so no finding about it is closed.
- A part of ``Misconfigured`` (``detect.site``): tasks that run longer than their backend waits.
"""

from __future__ import annotations

from collections.abc import Iterator

from argus_maint.backends.adapters import adapters
from argus_maint.backends.adapters.base import Unreachable
from argus_maint.findings.observation import Observation
from argus_maint.jobs.detect.look import Look
from argus_maint.log import get_logger
from argus_maint.observe.screen import span

logger = get_logger(__name__)


def unreachable(look: Look) -> Iterator[Observation]:
    """One for each alias."""
    for each in look.status.others:
        if each.trouble and each.usable:
            summary = f"backend {each.alias}: {each.trouble}"
            evidence = {"backend": each.alias, "adapter": each.name}
            yield Observation("BackendUnreachable", each.alias, summary, evidence)


def overlong(using: str) -> Iterator[Observation]:
    """Tasks that are run twice, since they take longer than their backend waits."""
    for adapter in adapters(using):
        try:
            found = adapter.overlong()
        except Unreachable:  # which is a finding of its own
            continue
        except Exception:  # one adapter that fails keeps nobody from the rest
            logger.exception("backend.error", backend=adapter.alias)
            continue
        if found:
            first = max(found, key=lambda each: (each.twice, each.seconds))
            summary = f"backend {adapter.alias}: task {first.task_id} ({first.task_path}) "
            summary += f"has run for {span(first.seconds)}: {first.evidence}"
            if len(found) > 1:
                summary += f"; {len(found) - 1} more"
            evidence = {"check": f"overlong-{adapter.alias}", "backend": adapter.alias}
            yield Observation("Misconfigured", str(evidence["check"]), summary, dict(evidence))


DETECTORS = {"BackendUnreachable": unreachable}
