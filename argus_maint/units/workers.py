"""Worker programs, ours and those of other backends: how each is started, and how it stops.

Using it::

    Site(..., database=False, others=(rq_worker("rq", ["default", "mail"]),))

What a service manager has to know of each is in its ``Kind``, as its own source has it:

- db_worker takes TERM once, waits for ``--grace``, and gives back what is left.
- rqworker waits for the task in hand, for as long as it takes. A second TERM, more than a
  second later, kills the process that runs it. That one has a process group of its own, and
  where only rqworker is killed it goes on, to the end of its task.
- run_redis_tasks waits for ``--shutdown-timeout``, for ever without it, and then ends; at a
  second signal it ends at once. Another worker is handed the task after the claim timeout.
- concurrent_worker waits for all that it has in hand, for as long as it takes.

So TERM goes to the first process of each, once, and never to its group.

Sources: db_worker here, rq 3.0, django-tasks-redis 0.4, django-tasks-concurrent 0.7.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

ROLE = 24  # the longest part of a name that an alias makes


@dataclass(frozen=True, slots=True)
class Kind:
    """A worker program, as a service manager sees it.

    Attributes:
        what: what it is, in a comment.
        stop: what becomes of tasks when it is stopped; ``{grace}`` and ``{seconds}`` are filled in.
        start: how it takes it that its server is away.
        group: what of its processes a signal reaches.
        pings: whether it tells a service manager that it is ready, and alive.
        again: whether a second TERM ends what it has in hand.
    """

    what: str
    stop: str
    start: str
    group: str
    pings: bool = False
    again: bool = False


DATABASE = Kind(
    "workers that take tasks from the queue, under a supervisor",
    "running tasks get {grace} s to finish; what is left goes back to the queue.",
    "It waits for the database by itself; what ends sooner than that is not set up rightly.",
    "TERM goes to the first process only, which ends the others in order; KILL to all.",
    pings=True,
)
SCHEDULER = Kind(
    "the scheduler, which runs each job when it is due",
    "the job in hand gets {grace} s to finish.",
    DATABASE.start,
    DATABASE.group,
    pings=True,
)
RQ = Kind(
    "rqworker, which takes tasks of django-tasks-rq from Redis",
    "the task in hand gets {seconds} s to finish; what is left is found by the job rescue.",
    "It ends while Redis does not answer, and is started again, a bit later each time.",
    "TERM goes to rqworker alone: it would end the task in hand, which outlives a KILL.",
    again=True,
)
REDIS = Kind(
    "the worker of django-tasks-redis",
    "the task in hand gets {grace} s; another worker has what is left, after the claim timeout.",
    "It waits for Redis by itself; what ends sooner than that is not set up rightly.",
    "It is one process. A second TERM would end it at once.",
)
CONCURRENT = Kind(
    "the worker of django-tasks-concurrent, over the task table",
    "tasks in hand get {seconds} s to finish; what is left goes back to the queue.",
    "It waits for the database by itself; what ends sooner than that is not set up rightly.",
    "It is one process, with its tasks in it.",
)


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker to run. ``role`` follows the site's name in the names of its files."""

    role: str
    command: tuple[str, ...]  # what follows manage.py
    kind: Kind


def rq_worker(role: str, queues: Sequence[str]) -> Worker:
    """rqworker on these queues, the first of them first.

    The job class of the backend runs tasks; with the scheduler those of ``run_after`` come.
    """
    options = ("--job-class=django_tasks_rq.Job", "--with-scheduler")
    return Worker(role, ("rqworker", *options, *queues), RQ)


def redis_worker(role: str, alias: str, grace: int) -> Worker:
    """run_redis_tasks on every queue of an alias."""
    options = ("--continuous", f"--backend={alias}", f"--shutdown-timeout={grace}")
    return Worker(role, ("run_redis_tasks", *options), REDIS)


def concurrent_worker(role: str, alias: str, queue: str) -> Worker:
    """concurrent_worker on a queue of an alias: it takes one."""
    options = (f"--backend={alias}", f"--queue-name={queue}")
    return Worker(role, ("concurrent_worker", *options), CONCURRENT)


def role(kind: str, name: str, taken: Collection[str]) -> str:
    """What to call a worker, where another has the name of its kind alone."""
    if kind not in taken:
        return kind
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:ROLE].rstrip("-")
    found, number = f"{kind}-{plain}".rstrip("-"), 2
    while found in taken:
        found, number = f"{kind}-{plain}-{number}".replace("--", "-"), number + 1
    return found
