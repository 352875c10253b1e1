"""``task_finished`` for tasks that a watcher failed, sent from a process of its own.

Building the signal imports the task's module, and its receivers are the site's code:
neither may hang, crash or fatten a keeper. So a keeper forks a messenger, which sends
the signals and leaves.

Events: ``fork.failed``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence

from django_tasks_db.models import DBTaskResult

from argus_maint.backends.database import FAILED
from argus_maint.clock import now
from argus_maint.database import close_all, task_database
from argus_maint.log import get_logger
from argus_maint.workers import children
from argus_maint.workers.execution import announce

logger = get_logger(__name__)
LAST_WAIT = 5.0  # seconds at the end of a keeper; less than its supervisor's PATIENCE
PATIENCE = 60.0  # seconds a messenger may take


def send(task_ids: Sequence[str]) -> None:
    """Send ``task_finished`` for tasks that were just failed, in this process."""
    rows = DBTaskResult.objects.using(task_database())
    for row in rows.filter(pk__in=list(task_ids), status=FAILED):
        announce(row)


class Messengers:
    """The messengers a keeper has on the way."""

    def __init__(self) -> None:
        self.sent: dict[int, float] = {}
        self.lifeline = os.pipe()

    def dispatch(self, task_ids: Sequence[str]) -> None:
        """Fork one messenger for these tasks; returns at once."""
        close_all()  # the child must not inherit our connection

        def deliver() -> None:
            for number in children.STOP_SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            children.unblock()
            send(task_ids)
            close_all()

        try:
            pid = children.fork(deliver, close=(), lifeline=self.lifeline)
        except OSError as error:  # no room for a process: the tasks stay failed all the same
            logger.error("fork.failed", error=str(error), task_ids=list(task_ids))
        else:
            self.sent[pid] = now()

    def finish(self, tick: Callable[[], None]) -> None:
        """Give those on the way a moment: they die with this process."""
        until = now() + LAST_WAIT
        while self.sent and now() < until:
            self.collect()
            tick()
            time.sleep(0.02)

    def collect(self) -> None:
        """Reap those that are done, and end those that hang."""
        for pid, since in list(self.sent.items()):
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(pid, os.WNOHANG)[0] == 0:
                    if now() - since > PATIENCE:
                        os.kill(pid, signal.SIGKILL)
                    continue
            del self.sent[pid]
