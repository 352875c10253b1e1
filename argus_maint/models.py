"""What argus_maint remembers: processes, the rescue ledger, findings, and a few helpers.

The tables live in the database of the task table, so that a rescue and its
ledger row are one transaction. They point at tasks by UUID and never by foreign
key: a foreign key to the task table makes every prune of it slower.

All times here are the database's (``argus_maint.dbtime``), unless a field says
otherwise.
"""

from __future__ import annotations

import uuid

from django.db import models


class Process(models.Model):
    """A registered process: a supervisor, one of its workers, a scheduler, a pool, a watcher.

    ``worker_id`` is what a worker appends to a task's ``worker_ids``; it is unique
    to one incarnation. ``name`` is what a person called it (``--worker-id``).
    """

    class Kind(models.TextChoices):
        SUPERVISOR = "supervisor"
        WORKER = "worker"
        WATCHER = "watcher"
        SCHEDULER = "scheduler"
        POOL = "pool"  # runs tasks in its own memory, mostly a web process

    class State(models.TextChoices):
        ALIVE = "alive"
        DRAINING = "draining"
        ENDED = "ended"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=16, choices=Kind.choices)
    state = models.CharField(max_length=16, choices=State.choices, default=State.ALIVE)
    worker_id = models.CharField(max_length=128, unique=True)
    name = models.CharField(max_length=64)
    supervisor = models.UUIDField(null=True, help_text="The supervisor's row.")

    host = models.CharField(max_length=64, help_text="Machine id.")
    hostname = models.CharField(max_length=255)
    boot_id = models.CharField(max_length=64, blank=True)
    pid_namespace = models.CharField(max_length=64, blank=True)
    pid = models.BigIntegerField()
    start_time = models.CharField(
        max_length=32, blank=True, help_text="Clock ticks after boot; empty where unreadable."
    )

    lease = models.FloatField(help_text="Seconds after the last beat.")
    beats = models.BigIntegerField(default=0)
    registered_at = models.DateTimeField()
    last_beat_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    verdict = models.CharField(max_length=16, blank=True, help_text="How the end was known.")
    reason = models.CharField(max_length=32, blank=True, help_text="Why it ended.")
    exit_signal = models.CharField(max_length=16, blank=True)
    exit_status = models.IntegerField(null=True)
    noticed_by = models.CharField(max_length=160, blank=True)
    info = models.JSONField(default=dict, help_text="Queues, backend, versions.")

    class Meta:
        verbose_name_plural = "processes"
        indexes = [
            models.Index(fields=["state", "supervisor"], name="argus_maint_process_state"),
            models.Index(fields=["ended_at"], name="argus_maint_process_ended"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.worker_id}"


class LedgerEntry(models.Model):
    """One act on one task, or one refused write: the trace that outlives the task's row."""

    class Action(models.TextChoices):
        REQUEUED = "requeued"
        FAILED = "failed"
        QUARANTINED = "quarantined"
        REFUSED = "refused"  # a zombie's completion
        REPORTED = "reported"  # overdue, nothing done
        DISCARDED = "discarded"  # a person has seen its failure, and lets it be
        MOVED = "moved"  # to another queue
        PRIORITIZED = "prioritized"

    class Verdict(models.TextChoices):
        EXITED = "exited"
        EXPIRED = "expired"
        ORPHANED = "orphaned"
        UNREGISTERED = "unregistered"
        OVERDUE = "overdue"
        ZOMBIE = "zombie"
        MANUAL = "manual"

    task_id = models.UUIDField()
    task_key = models.CharField(
        max_length=64,
        blank=True,
        default="",
        db_default="",  # a process of the version before writes rows too, during an upgrade
        help_text="The backend's own id, where that is no UUID.",
    )
    task_path = models.TextField()
    queue_name = models.CharField(max_length=32)
    backend_name = models.CharField(max_length=32)
    attempt = models.IntegerField()
    worker_id = models.CharField(max_length=128, blank=True)
    host = models.CharField(max_length=255, blank=True, help_text="Host name of the worker.")

    verdict = models.CharField(max_length=16, choices=Verdict.choices)
    action = models.CharField(max_length=16, choices=Action.choices)
    reason = models.CharField(max_length=32, blank=True)
    evidence = models.TextField(blank=True)
    exit_signal = models.CharField(max_length=16, blank=True)
    exit_status = models.IntegerField(null=True)
    counted = models.BooleanField(default=False, help_text="Counts towards max_losses.")
    losses = models.IntegerField(default=0, help_text="Counted losses so far, this one included.")
    delay = models.FloatField(default=0, help_text="Seconds until the task may run again.")

    noticed_by = models.CharField(max_length=160)
    last_proof_of_life = models.DateTimeField(null=True)
    acted_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "ledger entries"
        indexes = [
            models.Index(fields=["task_id"], name="argus_maint_ledger_task"),
            models.Index(fields=["acted_at"], name="argus_maint_ledger_acted"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.task_id} ({self.verdict})"


class Sighting(models.Model):
    """A RUNNING task under a worker id nobody registered, and since when we have seen it.

    The task's own ``started_at`` is the clock of an unknown host, so the wait is
    counted from our first look.
    """

    task_id = models.UUIDField(primary_key=True)
    attempt = models.IntegerField()
    worker_id = models.CharField(max_length=128, blank=True)
    first_seen_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.task_id} under {self.worker_id}"


class DeclaredPolicy(models.Model):
    """The rescue policy a task declares beside its code (``rescue_policy``).

    A worker writes it before it first runs the task. Whoever rescues the task
    reads it here, and so never needs to import the site's task modules.
    """

    task_path = models.CharField(max_length=255, primary_key=True)
    options = models.JSONField()

    class Meta:
        verbose_name_plural = "declared policies"

    def __str__(self) -> str:
        return self.task_path


class ArchiveFile(models.Model):
    """A file of archived tasks, and how much of it counts.

    ``committed`` moves in the transaction that deletes the archived rows; what the file
    holds beyond it belongs to rows that were not deleted.
    """

    host = models.CharField(max_length=255, help_text="That writes it.")
    folder = models.CharField(max_length=255)
    name = models.CharField(max_length=191, unique=True)
    backend_name = models.CharField(max_length=32)
    day = models.DateField(help_text="UTC day of the prune.")
    committed = models.BigIntegerField(default=0, help_text="Bytes that count.")
    rows = models.BigIntegerField(default=0)
    first_finished_at = models.DateTimeField(null=True)
    last_finished_at = models.DateTimeField(null=True)
    changed_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.folder}/{self.name}"


class StorageSample(models.Model):
    """How large the task table was at one time, at most once an hour: growth is read here.

    ``measured`` says how: samples that were measured in other ways do not compare.
    """

    taken_at = models.DateTimeField()
    table_bytes = models.BigIntegerField()
    index_bytes = models.BigIntegerField()
    free_bytes = models.BigIntegerField(null=True)
    rows_estimate = models.BigIntegerField(null=True)
    measured = models.CharField(max_length=32)
    rebuilt = models.JSONField(default=dict, help_text="Indexes rebuilt, and their bytes after.")

    class Meta:
        indexes = [models.Index(fields=["taken_at"], name="argus_maint_storage_taken")]

    def __str__(self) -> str:
        return f"{self.table_bytes + self.index_bytes} bytes at {self.taken_at}"


class Run(models.Model):
    """One tick of a job, and what became of it: claimed by inserting this row.

    ``(job, tick)`` is unique, so of any number of schedulers one runs a tick. ``running``
    is the job's name while the run lasts and NULL afterwards; it is unique as well, so a
    job never overlaps itself. A run by hand has no tick.
    """

    class State(models.TextChoices):
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"
        LOST = "lost"  # its process died in the middle
        SKIPPED = "skipped"  # never begun: the one before it was still running

    job = models.CharField(max_length=160)
    tick = models.DateTimeField(null=True, help_text="When it was due.")
    state = models.CharField(max_length=16, choices=State.choices, default=State.RUNNING)
    running = models.CharField(max_length=160, null=True, unique=True)  # noqa: DJ001
    attempt = models.IntegerField(default=1, help_text="More than 1: runs before it were lost.")
    missed = models.IntegerField(default=0, help_text="Ticks before it that nobody ran.")

    driver = models.CharField(max_length=16, help_text="crontask, apscheduler, cron or hand.")
    host = models.CharField(max_length=255, help_text="Host name.")
    process = models.UUIDField(null=True, help_text="The row of the process that runs it.")
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    report = models.JSONField(default=dict)
    error = models.TextField(blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["job", "tick"], name="argus_maint_run_tick"),
        ]
        indexes = [
            models.Index(fields=["started_at"], name="argus_maint_run_started"),
        ]

    def __str__(self) -> str:
        return f"{self.job} {self.tick or 'by hand'} ({self.state})"


class Finding(models.Model):
    """A condition that needs a person, from its first sight to its end; kept as history.

    ``fingerprint`` stands for code and object. ``live`` is the fingerprint while the finding
    is pending or open and NULL afterwards; it is unique, so one condition is one finding,
    however many look. A *pending* one has not been seen in enough passes yet.
    """

    class State(models.TextChoices):
        PENDING = "pending"
        OPEN = "open"
        CLOSED = "closed"

    code = models.CharField(max_length=32)
    object = models.CharField(max_length=191, blank=True, help_text="A queue, a task, a host.")
    fingerprint = models.CharField(max_length=64)
    live = models.CharField(max_length=64, null=True, unique=True)  # noqa: DJ001
    severity = models.CharField(max_length=16)
    state = models.CharField(max_length=16, choices=State.choices, default=State.PENDING)
    summary = models.TextField(help_text="What is the matter, in one line.")
    evidence = models.JSONField(default=dict, help_text="What was seen last; fills the runbook.")

    seen = models.IntegerField(default=0, help_text="Passes in a row that saw it.")
    unseen = models.IntegerField(default=0, help_text="Passes in a row that did not.")
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    opened_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)
    noticed_by = models.CharField(max_length=160)
    closed_by = models.CharField(max_length=160, blank=True, help_text="A person; else a pass.")
    closed_why = models.TextField(blank=True)

    acked_by = models.CharField(max_length=160, blank=True)
    acked_at = models.DateTimeField(null=True)
    acked_until = models.DateTimeField(null=True)
    acked_why = models.TextField(blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["state", "code"], name="argus_maint_finding_state"),
            models.Index(fields=["fingerprint", "closed_at"], name="argus_maint_finding_print"),
            models.Index(fields=["closed_at"], name="argus_maint_finding_closed"),
        ]

    def __str__(self) -> str:
        return f"{self.code} {self.object}".rstrip()


class Act(models.Model):
    """What a person did to the queue, a process or a finding: the trace of each lever.

    Acts on single tasks are in the ledger (``LedgerEntry``).
    """

    verb = models.CharField(max_length=32)  # pause, resume, drain, ack, ...
    subject = models.CharField(max_length=191)
    by = models.CharField(max_length=160, help_text="user@host.")
    why = models.TextField(blank=True)
    details = models.JSONField(default=dict)
    acted_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["acted_at"], name="argus_maint_act_acted")]

    def __str__(self) -> str:
        return f"{self.verb} {self.subject} by {self.by}"


class SignalCount(models.Model):
    """How often a signal of tasks was seen, by backend: see ``backends.signals``."""

    backend_name = models.CharField(max_length=32)
    event = models.CharField(max_length=16, help_text="enqueued, started, successful, failed.")
    total = models.BigIntegerField(default=0)
    changed_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["backend_name", "event"], name="argus_maint_signal_count_of"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.total} {self.event} of {self.backend_name}"


class Pause(models.Model):
    """A queue that no worker of ours takes from, or a worker that takes nothing more.

    For a queue ``worker`` is empty; for a drained supervisor it is its name, and backend and
    queue are empty. Past ``until`` (the database's clock) it no longer holds.
    """

    backend_name = models.CharField(max_length=32, blank=True)
    queue_name = models.CharField(max_length=32, blank=True)
    worker = models.CharField(max_length=64, blank=True)
    by = models.CharField(max_length=160, help_text="user@host.")
    why = models.TextField()
    since = models.DateTimeField()
    until = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["backend_name", "queue_name", "worker"], name="argus_maint_pause_of"
            ),
        ]

    def __str__(self) -> str:
        return f"drain of {self.worker}" if self.worker else f"pause of {self.queue_name}"
