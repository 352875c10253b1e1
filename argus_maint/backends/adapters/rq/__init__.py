"""django-tasks-rq: jobs of rq's, on a Redis server.

The stock ``rqworker`` works them, and writes the end of a job itself, so nothing is fenced:
a worker that was taken for dead and is not may still write a result.

Using it, beside what every adapter can::

    adapter.failed_task(task_id)  # a failed task, for ``requeue``: a person's wish
    adapter.overdue_scheduled()   # scheduled tasks that no scheduler puts into their queue
    adapter.enqueue_overdue()     # and this does, once
"""

from __future__ import annotations

from argus_maint.backends.adapters.rq.adapter import RQ

__all__ = ["RQ"]
