"""Pings of runs, and of the whole: what is told to a check at healthchecks.io or the like.

Using it: ``Pings(settings.ping)`` is an observer of a ``Runner``. ``Whole(settings.ping)``
is for what runs jobs: a scheduler calls ``beat()`` as long as ticks are being claimed,
``maint tick`` calls ``ended(status)``.

A job that has a URL (``ARGUS_MAINT["JOBS"][name]["ping"]``) sends

- ``URL/start`` when a run begins, also one that takes over a lost one;
- ``URL`` when it is done, whatever it has found;
- ``URL/fail`` when it failed, or ``URL/STATUS`` where a command ended with one; ``URL/fail``
  also for a run whose process died, where it is not run again.

Nothing is sent for a tick that is skipped, nor for a run that was stopped or taken over: who
takes it over starts again. Start and end of an attempt have the same ``rid``, so that what
is measured is right. The body says in a few lines what was run, where and with what
outcome. Names and passwords in URLs, and texts of the job's options, are taken out of it.

The whole (``ARGUS_MAINT["PING"]["url"]``) gets ``URL`` from every scheduler, at most once in
``every`` seconds, and ``URL`` or ``URL/STATUS`` at the end of each ``maint tick``.

Events: those of ``scheduling.sender``.

Source: https://healthchecks.io/docs/http_api/ and
https://healthchecks.io/docs/measuring_script_run_time/
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from argus_maint.clock import now
from argus_maint.conf_jobs import Job
from argus_maint.conf_ping import Ping
from argus_maint.models import Run
from argus_maint.scheduling.sender import sender

EARLY = 0.9  # of ``every``: a beat that comes a little early is not left out
SHORT = 4  # characters; a shorter text is no secret, and would be found everywhere


class Pings:
    """Tells of each run of a job that has a URL."""

    def __init__(self, ping: Ping) -> None:
        self.timeout = ping.timeout

    def began(self, run: Run, job: Job) -> None:
        """A run has begun."""
        self._send(run, job, "/start", [])

    def ended(self, run: Run, job: Job) -> None:
        """It is over, and what became of it written down."""
        done = run.state == Run.State.DONE
        self._send(run, job, "" if done else _failure(run.report), _outcome(run))

    def _send(self, run: Run, job: Job, signal: str, more: list[str]) -> None:
        if job.ping is None:
            return
        head = [f"job: {run.job}", f"host: {run.host}", f"due: {run.tick or 'by hand'}"]
        if run.attempt > 1:
            head.append(f"attempt: {run.attempt}")
        body = _without_secrets("\n".join([*head, *more]), job.options)
        sender().send(job.name, job.ping, signal, rid_of(run), body, self.timeout)


class Whole:
    """Tells that jobs are being run at all."""

    def __init__(self, ping: Ping, host: str) -> None:
        self.ping, self.host = ping, host
        self.next = now()

    def beat(self) -> None:
        """A scheduler is alive, and claims its ticks."""
        if now() >= self.next:
            self.next = now() + self.ping.every * EARLY
            self._send("", [])

    def ended(self, status: int, runs: Iterable[Run] = ()) -> None:
        """A command that runs what is due has ended with that exit status."""
        told = [f"{run.job}: {run.state}" for run in runs]
        self._send(f"/{status}" if status else "", [f"exit status: {status}", *told])

    def _send(self, signal: str, more: list[str]) -> None:
        if self.ping.url is not None:
            body = "\n".join([f"host: {self.host}", *more])
            sender().send("", self.ping.url, signal, None, body, self.ping.timeout)


def rid_of(run: Run) -> uuid.UUID:
    """The id of an attempt: the same in its process, and in the one that finds it lost."""
    return uuid.uuid5(run.process or uuid.NAMESPACE_OID, f"{run.pk}.{run.attempt}")


def _failure(report: Mapping[str, Any]) -> str:
    status = report.get("status")
    return f"/{status}" if isinstance(status, int) and 0 < status < 256 else "/fail"


def _outcome(run: Run) -> list[str]:
    lost = "its process died" if run.state == Run.State.LOST else ""
    error = run.error or lost
    report = [f"{key}: {_text(value)}" for key, value in run.report.items()]
    return [f"state: {run.state}", *([f"error: {error}"] if error else []), *report]


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _without_secrets(body: str, options: object) -> str:
    for text in sorted(_texts(options), key=len, reverse=True):
        body = body.replace(text, "***")
    return re.sub(r"://[^/\s@]+@", "://***@", body)


def _texts(options: object) -> list[str]:
    if isinstance(options, str):
        parts = (options, options.partition("=")[2])  # --token=SECRET
        return [text for text in parts if len(text) >= SHORT]
    if isinstance(options, Mapping):
        options = list(options.values())
    if isinstance(options, (list, tuple, set, frozenset)):
        return [text for each in options for text in _texts(each)]
    return []
