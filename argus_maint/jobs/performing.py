"""Doing a job: ours, or what a site has named in ``ARGUS_MAINT["JOBS"]``.

``runner_of(member)`` is what each process that runs jobs has. A job of ours is a function of
``jobs.passes``. Of the site's own:

- a **function** is called in this process with its options as keyword arguments; what it
  returns is kept, cut to a readable length;
- a **task** is enqueued, with its options as keyword arguments; whether it succeeds is
  the queue's matter;
- a **command** runs as a process of its own, so that it can be ended at its time limit;
  what it prints last and its exit status are kept, and a status other than 0 is a failure.

With ``run_on: "worker"`` a scheduled run is put into the task queue instead, and the worker
that takes it does the same (``jobs.on_worker``); a run by hand is done at once.

A target that cannot be imported, or an unknown command, is a failure that says so.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import IO, Any

from django.conf import settings
from django.utils.module_loading import import_string

from argus_maint.clock import now
from argus_maint.conf import get_settings
from argus_maint.conf_jobs import Job
from argus_maint.exceptions import HandedOver, JobError, JobStopped
from argus_maint.jobs import child, passes
from argus_maint.jobs.passes import Report
from argus_maint.models import Run
from argus_maint.scheduling.member import Member
from argus_maint.scheduling.observers import observers
from argus_maint.scheduling.runner import Runner, is_handed_over

TAIL = 4000  # characters of output, or of a value, that are kept
GRACE = 10.0  # seconds from TERM to KILL
LOOK_EVERY = 0.2  # seconds


def runner_of(member: Member, noticed_by: str = "") -> Runner:
    """A runner by the settings; who notices is the process itself, or the person who asked."""

    def perform(job: Job, run: Run) -> Report:
        if is_handed_over(run, job):
            from argus_maint.jobs import on_worker

            raise HandedOver(on_worker.enqueue(job.name, run.pk, run.attempt))
        if job.kind == "ours":
            who, jobs = noticed_by or member.name, get_settings().jobs
            given = passes.Pass(member.using, who, job.options, jobs, runner.stop.is_set)
            report: Report = getattr(passes, job.name)(given)
            return report
        return _KINDS[job.kind](job, runner.stop.is_set)

    runner = Runner(member.using, member, perform, observers())
    return runner


def _target(job: Job) -> Any:
    try:
        return import_string(job.target)
    except ImportError as error:
        raise JobError(f"{job.target} cannot be imported: {error}") from error


def _function(job: Job, stopping: Callable[[], bool]) -> Report:
    value = _target(job)(**job.options)
    return {} if value is None else {"returned": repr(value)[:TAIL]}


def _task(job: Job, stopping: Callable[[], bool]) -> Report:
    target = _target(job)
    if not hasattr(target, "enqueue"):
        raise JobError(f"{job.target} is no task: it has no enqueue")
    return {"task_id": str(target.enqueue(**job.options).id)}


def _command(job: Job, stopping: Callable[[], bool]) -> Report:
    with tempfile.TemporaryFile() as out:
        status = _run(job, out, stopping)
        size = out.seek(0, os.SEEK_END)
        out.seek(max(0, size - TAIL))
        report: Report = {"status": status, "output": out.read().decode(errors="replace")}
    if status:
        last = report["output"].strip().rpartition("\n")[2]
        raise JobError(f"{job.target} ended with status {status}: {last}".rstrip(": "), report)
    return report


def _run(job: Job, out: IO[bytes], stopping: Callable[[], bool]) -> int:
    """The command as a process, with this one's settings and path."""
    module = os.environ.get("DJANGO_SETTINGS_MODULE") or getattr(settings, "SETTINGS_MODULE", "")
    if not module:
        raise JobError("a command needs DJANGO_SETTINGS_MODULE, which is not set")
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": module, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", child.__name__, str(os.getpid()), job.target]
    command += job.options.get("argv", ())
    quiet = subprocess.DEVNULL
    with subprocess.Popen(
        command, env=env, stdin=quiet, stdout=out, stderr=out, start_new_session=True
    ) as process:
        until = now() + job.time_limit if job.time_limit is not None else None
        try:
            while True:
                try:
                    return process.wait(LOOK_EVERY)
                except subprocess.TimeoutExpired:
                    pass
                if until is not None and now() > until:
                    raise JobError(
                        f"{job.target} was ended at its time limit, {job.time_limit:g} s"
                    )
                if stopping():
                    raise JobStopped
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it and all it has started, where it is still there."""
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE)
    with contextlib.suppress(ProcessLookupError):  # it may leave others that ignore TERM
        os.killpg(process.pid, signal.SIGKILL)


_KINDS = {"function": _function, "task": _task, "command": _command}
