"""A process with pools of tasks, in the registry."""

from __future__ import annotations

from argus_maint.database import short_transaction, task_database
from argus_maint.models import Process
from argus_maint.scheduling.ledger import WAIT
from argus_maint.scheduling.member import Member
from argus_maint.workers import registry
from argus_maint.workers.identity import this_host


class PoolMember(Member):
    """All of one host have one name: who died of them is told together."""

    kind = Process.Kind.POOL

    def __init__(self) -> None:
        hostname = this_host().hostname
        super().__init__(task_database(), "pool", f"pool-{hostname}"[:64])

    def _extend(self) -> int:
        return registry.beat(self.process, self.using, WAIT, info=self.group.info)

    def register(self) -> None:
        """Make it known. One that was taken for dead and is not has lost no task."""
        super().register()
        with short_transaction(self.using, WAIT):
            Process.objects.using(self.using).filter(
                supervisor=self.process, state=Process.State.ENDED
            ).delete()
