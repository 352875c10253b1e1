"""A member of the crew that looks at every process, as a keeper does, and rescues for the dead.

``Eye(member).look()`` is one pass, under the member's name; ``member`` beats by itself. Raises
what ``rescue.run`` does; sends ``task_finished`` for what it failed.
"""

from __future__ import annotations

from typing import Any

from argus_maint.jobs import rescue
from argus_maint.scheduling.member import Member
from argus_maint.workers import messenger
from argus_maint.workers.liveness import Watch


class Eye:
    """``options`` are more of the ``rescue.View``."""

    def __init__(self, member: Member, **options: Any) -> None:
        self.member, self.watch = member, Watch(member.beat_every)
        self.view = rescue.View(
            using=member.using,
            noticed_by=f"{member.name}@{member.host.hostname}"[:160],
            host=member.host,
            watch=self.watch,
            supervisor=member.process,
            beat=member.beat_every,
            patience=member.beat_every,
            **options,
        )

    def look(self) -> float | None:
        """One pass; when (monotonic) a silence will be proof, if there is one."""
        assert self.member.beaten_at is not None
        self.watch.committed(self.member.beaten_at)
        report = rescue.run(self.view)
        if report.failed():
            messenger.send(report.failed())
        return report.confirm_at
