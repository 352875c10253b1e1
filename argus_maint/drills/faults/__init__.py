"""The faults: one for each finding, by name.

    FAULTS["dead-worker"].inject(scratch)

A page of the runbooks names its fault in its front matter. The fault is the real thing: a
process is killed or stopped, a deploy breaks a file, a transaction is left open. How each
is ended by a person is the page's business.
"""

from __future__ import annotations

from argus_maint.drills.faults import backends, schedule, site, storage, tasks, workers
from argus_maint.drills.faults.fault import Fault

__all__ = ["FAULTS", "Fault", "fault_of"]

_ALL = (
    Fault(
        "dead-worker",
        "DeadWorker",
        (
            "Who is there that should be, and who is not?",
            "`maint status` lists processes. There used to be two supervisors.",
        ),
        workers.dead_worker,
    ),
    Fault(
        "no-workers",
        "NoWorkers",
        ("Do tasks move?", "Tasks wait. Look at who should take them: `maint status`."),
        workers.no_workers,
        beside=("DeadWorker",),
    ),
    Fault(
        "unattended-queue",
        "UnattendedQueue",
        (
            "Do all tasks move?",
            "Every queue needs a worker that names it: compare the queues in `maint status`.",
        ),
        tasks.unattended_queue,
    ),
    Fault(
        "stuck-task",
        "StuckTask",
        (
            "What are the workers doing?",
            "One task has run for longer than it may: `maint tasks --state overdue`.",
        ),
        tasks.stuck_task,
    ),
    Fault(
        "poison-task",
        "PoisonTask",
        (
            "What has become of the tasks that ended?",
            "A task was given up, though it raised nothing: `maint history`.",
        ),
        tasks.poison_task,
    ),
    Fault(
        "rescue-loop",
        "RescueLoop",
        (
            "Are the workers the same as a minute ago?",
            "Workers die all the time, and tasks of one kind with them: `maint history`.",
        ),
        tasks.rescue_loop,
    ),
    Fault(
        "queue-backlog",
        "QueueBacklog",
        (
            "How many tasks wait?",
            "All is well but the number: more comes in than is done. What would double it?",
        ),
        tasks.queue_backlog,
    ),
    Fault(
        "failure-spike",
        "FailureSpike",
        (
            "What has become of the tasks that ended?",
            "Tasks of one kind failed, for a cause that is over: `maint tasks --state failed`.",
        ),
        tasks.failure_spike,
    ),
    Fault(
        "zombie-write",
        "ZombieWrite",
        (
            "Look at what happened, not at what is.",
            "`maint history`: a result came from a worker that had been given up.",
        ),
        workers.zombie_write,
    ),
    Fault(
        "unregistered-worker",
        "UnregisteredWorker",
        (
            "What runs, and under whom?",
            "One task runs under a worker that is not among the processes: `maint status`.",
        ),
        workers.unregistered_worker,
    ),
    Fault(
        "scheduler-down",
        "SchedulerDown",
        ("Who is there that should be, and who is not?", "Who runs the jobs? `maint jobs`."),
        schedule.scheduler_down,
    ),
    Fault(
        "missed-tick",
        "MissedTick",
        (
            "Has everything happened that should have?",
            "A job was due: `maint jobs`. Who was to run it?",
        ),
        schedule.missed_tick,
        restarts=("scheduler",),
    ),
    Fault(
        "job-failed",
        "JobFailed",
        (
            "Has everything gone well that has happened?",
            "`maint jobs` tells how the last run of each ended. What was deployed: `git log`.",
        ),
        schedule.job_failed,
        needs=("git",),
        restarts=("scheduler", "supervisor"),
    ),
    Fault(
        "prune-behind",
        "PruneBehind",
        (
            "Look at what is kept, and for how long.",
            "`maint prune --dry-run` counts what should be gone by now.",
        ),
        storage.prune_behind,
        needs=("git",),
        restarts=("scheduler",),
    ),
    Fault(
        "table-bloat",
        "TableBloat",
        ("Look at what the table weighs.", "`maint storage` compares the space with the rows."),
        storage.table_bloat,
        needs=("sqlite3",),  # drills are on SQLite, and `dbshell` is its shell
    ),
    Fault(
        "database-locked",
        "DatabaseLocked",
        (
            "Can anything be written?",
            "Somebody began a transaction, and has not ended it. The finding names a pid.",
        ),
        storage.database_locked,
        # While it lasts nobody can beat, and so all look dead.
        beside=("DeadWorker", "NoWorkers", "SchedulerDown"),
    ),
    Fault(
        "clock-skew",
        "ClockSkew",
        (
            "Look at when things happened.",
            "A task was enqueued later than now: on whose clock?",
        ),
        site.clock_skew,
    ),
    Fault(
        "archive-failed",
        "ArchiveFailed",
        (
            "What becomes of old tasks before they are deleted?",
            "The prune failed: `maint jobs`. Look at the folder it names.",
        ),
        storage.archive_failed,
    ),
    Fault(
        "backend-unreachable",
        "BackendUnreachable",
        (
            "Where are tasks kept? Is it all there?",
            "`maint backends --look` asks each backend. One is on a server of its own.",
        ),
        backends.backend_unreachable,
        needs=("git", "redis-server"),
        packages=("django_rq", "django_tasks_rq"),
    ),
    Fault(
        "misconfigured",
        "Misconfigured",
        (
            "What was changed last?",
            "`manage.py check` reads the settings too. What was deployed: `git log`.",
        ),
        site.misconfigured,
        needs=("git",),
        restarts=("scheduler", "supervisor"),
    ),
)
FAULTS: dict[str, Fault] = {each.name: each for each in _ALL}


def fault_of(code: str) -> Fault:
    """The fault that makes a finding true. Raises KeyError where there is none."""
    return next((each for each in _ALL if each.code == code), None) or FAULTS[code]
