"""django-tasks-rq: jobs of rq's, on a Redis server.

The stock ``rqworker`` works them, and writes the end of a job itself, so nothing is fenced:
a worker that was taken for dead and is not may still write a result.
"""

from __future__ import annotations

from argus_maint.backends.adapters.rq.adapter import RQ

__all__ = ["RQ"]
