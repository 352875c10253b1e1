"""Task backends themselves: who does not answer, and who runs a task twice.

- ``BackendUnreachable``: the server of an alias does not answer, or will not let us in; or its
  adapter fails. Nothing is known of its queues then, so no finding about it is closed.
- A part of ``Misconfigured`` (``detect.site``): tasks that run longer than their backend waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from argus_maint.backends.adapters import elsewhere
from argus_maint.backends.adapters.base import Adapter, trouble_with
from argus_maint.findings.observation import Observation
from argus_maint.jobs.detect.look import Look
from argus_maint.observe.screen import span

T = TypeVar("T")


def unreachable(look: Look) -> Iterator[Observation]:
    """One for each alias."""
    for each in look.status.others:
        if each.trouble and each.usable:
            summary = f"backend {each.alias}: {each.trouble}"
            evidence = {"backend": each.alias, "adapter": each.name}
            yield Observation("BackendUnreachable", each.alias, summary, evidence)


def asked(look: Look, ask: Callable[[Adapter], T]) -> Iterator[tuple[Adapter, T]]:
    """What each alias answers that keeps its tasks elsewhere.

    One that does not answer is a finding of its own, and one whose adapter fails keeps nobody
    from the rest: both are left out, and are among those of whom not all was seen.
    """
    for adapter in elsewhere(look.using):
        try:
            yield adapter, ask(adapter)
        except Exception as error:  # noqa: BLE001 - told
            look.blind.add(adapter.alias)
            trouble_with(adapter, error)


def overlong(look: Look) -> Iterator[Observation]:
    """Tasks that are run twice, since they take longer than their backend waits."""
    for adapter, found in asked(look, lambda one: one.overlong()):
        if found:
            first = max(found, key=lambda each: (each.twice, each.seconds))
            summary = f"backend {adapter.alias}: task {first.task_id} ({first.task_path}) "
            summary += f"has run for {span(first.seconds)}: {first.evidence}"
            if len(found) > 1:
                summary += f"; {len(found) - 1} more"
            evidence = {"check": f"overlong-{adapter.alias}", "backend": adapter.alias}
            yield Observation("Misconfigured", str(evidence["check"]), summary, dict(evidence))


DETECTORS = {"BackendUnreachable": unreachable}
