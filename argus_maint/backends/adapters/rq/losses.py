"""Tasks whose worker is dead, found as soon as rq itself can know.

While a job runs, its worker renews the *execution* of it on the server every 30 s, for 90 s.
So an execution that has expired, by the server's clock, has had no proof of life for 90 s;
the score of its entry says the same by the worker's clock, which may be wrong, and is not
asked. rq acts on it when a worker does its maintenance, every 600 s; we look ourselves.

Not lost is a task whose horse goes on, or may go on, on this host (see ``processes``).
"""

from __future__ import annotations

import math
import re
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property

from argus_maint.backends.adapters.base import Lost
from argus_maint.backends.adapters.rq import fleet, processes
from argus_maint.backends.adapters.rq.records import Newest, Record, read, read_newest, when
from argus_maint.backends.adapters.rq.server import Server, key, text
from argus_maint.clock import now as monotonic
from argus_maint.models import LedgerEntry

LEASE = 90.0  # seconds that rq gives a job without a heartbeat
CONFIRM = 60.0  # of these left: the heartbeat that is due every 30 s has not come
FAILURES = 10_000  # failed jobs of a queue that are looked at, each once by a process
SETTLED = 60.0  # seconds after which nothing is added to what a job failed of
CLOCKS = 60.0  # seconds by which a worker's clock may be off the server's
OVERRUN = 31.0  # seconds past its timeout after which rq's worker has killed the horse
MOST = 1000  # running ones
STUCK = 60.0  # seconds between taking a job and beginning it

ABANDONED = "Moved to FailedJobRegistry, due to AbandonedJobError"
KILLED = "Work-horse terminated unexpectedly"
NEVER_BEGAN = "Job was stuck in intermediate queue"
_taken: dict[tuple[str, str, str], float] = {}  # since when this process has seen them so
_silent: dict[tuple[str, str, str], float] = {}  # since when one past its timeout has no mark
_no_losses: dict[tuple[str, str, str], dict[str, float]] = {}  # ids and scores, by queue


@dataclass(frozen=True, slots=True)
class Token:
    """What a change must find as it was. ``kind``: started, taken, failed, queued or scheduled.

    ``lost`` returns the first three, and ``task`` any but taken.
    """

    kind: str
    record: Record
    newest: Newest
    execution: str = ""


class Look:
    """One look at one server for an alias."""

    def __init__(self, server: Server, alias: str, using: str) -> None:
        self.server, self.alias, self.using = server, alias, using

    @cached_property
    def table(self) -> processes.Table:
        """The processes of this host, at most once a look."""
        return processes.table()

    @cached_property
    def grace(self) -> float:
        """Seconds that workers still need to be heard of again after the server was away."""
        return max(0.0, LEASE - self.server.uptime())

    def lost(self, queues: Iterable[str]) -> list[Lost]:
        """Of these queues."""
        found = []
        for queue in queues:
            found += [*self.abandoned(queue), *self.taken(queue), *self.failed(queue)]
        return found

    def abandoned(self, queue: str) -> list[Lost]:
        """Running, and without a heartbeat."""
        members = self.server.client.zrange(key("wip", queue), 0, MOST - 1)
        pairs = [text(each).rpartition(":")[::2] for each in members]
        pipeline = self.server.pipeline()
        for job_id, execution in pairs:
            pipeline.pttl(key("execution", job_id, execution))
        left = dict(zip(pairs, pipeline.execute(), strict=True)) if pairs else {}
        silent = {pair: ms for pair, ms in left.items() if ms == -2 or 0 <= ms < CONFIRM * 1000}
        heard = {job_id for job_id, execution in left if (job_id, execution) not in silent}
        silent = {pair: ms for pair, ms in silent.items() if pair[0] not in heard}
        jobs = self._mine([job_id for job_id, _ in pairs], ("started", "queued"))
        newest = read_newest(self.server, [job_id for job_id, _ in silent])
        # Of those that are well, too: once they are silent it is soon too late.
        self._remember(jobs.values(), queue if silent else "")
        found = []
        for (job_id, execution), ms in silent.items():
            job = jobs.get(job_id)
            if job is None or (job.status == "queued" and self._in_queue(job)):
                continue
            token = Token("started", job, newest[job_id], execution)
            wait = self.grace if ms == -2 else ms / 1000
            found += self._unless_alive(token, max(wait, 0.0), "its execution has expired")
        return found

    def taken(self, queue: str) -> list[Lost]:
        """Taken from the queue by a worker that died before it began."""
        waiting = self.server.client.lrange(key("queue", queue, "intermediate"), 0, MOST - 1)
        ids = list(dict.fromkeys(text(each) for each in waiting))
        jobs = self._mine(ids, ("queued",))
        pipeline = self.server.pipeline()
        for job_id in jobs:
            pipeline.exists(key("executions", job_id))
        began = dict(zip(jobs, pipeline.execute(), strict=True)) if jobs else {}
        stuck = {each: jobs[each] for each, executions in began.items() if not executions}
        newest = read_newest(self.server, list(stuck))
        found = []
        for job_id, job in stuck.items():
            wait = self._stuck_for(job)
            token = Token("taken", job, newest[job_id])
            found.append(
                self._lost(token, f"taken from {queue} by a worker that did not begin it", wait)
            )
        self._forget(queue, stuck.values())
        return found

    def failed(self, queue: str) -> list[Lost]:
        """Those which rq found first, or whose horse was killed, the newest first."""
        jobs, newest = self._new_failures(queue)
        losses = {each: jobs[each] for each in jobs if is_loss(newest[each].said)}
        self._remember(losses.values(), queue if losses else "")
        found = []
        for job_id, job in losses.items():
            token = Token("failed", job, newest[job_id])
            if newest[job_id].said.startswith(ABANDONED):
                found += self._unless_alive(token, 0.0, "rq found it abandoned and failed it")
            else:
                found.append(self._lost(token, newest[job_id].said.strip().rstrip(";"), 0.0))
        return found

    def _new_failures(self, queue: str) -> tuple[dict[str, Record], dict[str, Newest]]:
        """Failed jobs that this process has not found to be no loss before."""
        name = key("failed", queue)
        rows = self.server.client.zrange(name, 0, FAILURES - 1, desc=True, withscores=True)
        scores = {text(job_id): float(score) for job_id, score in rows}
        known = _no_losses.setdefault((self.server.identity, self.alias, queue), {})
        # Without an end to their time all have the same score, which then tells nothing.
        fresh = [each for each, score in scores.items() if score < 0 or known.get(each) != score]
        jobs = self._mine(fresh, ("failed",))
        newest = read_newest(self.server, list(jobs))
        for each in [each for each in list(known) if each not in scores]:
            known.pop(each, None)  # another thread may look as well
        before = self.server.now() - SETTLED if jobs else 0.0
        for each in jobs:
            # rq may not have written all of it yet.
            if 0 < (newest[each].at or 0) < before and not is_loss(newest[each].said):
                known[each] = scores[each]
        return jobs, newest

    def asked_for(self, token: Token) -> Lost:
        """A task as a person asks for it, whatever became of its worker."""
        return self._lost(token, "a person asks for it", 0.0, LedgerEntry.Verdict.MANUAL.value)

    def _mine(self, ids: Sequence[str], statuses: tuple[str, ...]) -> dict[str, Record]:
        jobs = read(self.server, ids).values()
        return {
            job.job_id: job
            for job in jobs
            if job.alias == self.alias and job.status in statuses and not job.limited
        }

    def _in_queue(self, job: Record) -> bool:
        return self.server.client.lpos(key("queue", job.queue), job.job_id) is not None

    def _unless_alive(self, token: Token, wait: float, evidence: str) -> list[Lost]:
        """The task, unless something on this host is still running it."""
        job = token.record
        place = fleet.place_of(self.server, job.worker, when(job.started_at))
        unseen = self._overruns(token, wait)
        if place is not None and not place.here:
            where = f"it ran on {place.host}, where only its entry can tell: a horse that goes on "
            return [self._lost(token, f"{evidence}; {where}would not be seen", unseen)]
        if not self.table.readable:
            return [self._lost(token, f"{evidence}; no process table to look at", unseen)]
        if place is not None and fleet.process_of(self.server, place, self.table) is not None:
            return []  # silent, but there: stopped, or cut off from the server
        owner = fleet.owner(self.server, job.worker, when(job.started_at))
        horse = self.table.horse_of(job.job_id, owner)
        if horse is not None and self.table.is_surely_of(horse, job.job_id, owner):
            return []
        stopped = next((each for each in self.table.processes if each.stopped), None)
        if maybe := horse or (stopped if place is None else None):
            held = f"but process {maybe.pid} of this host may be at it"
            return [self._lost(token, f"{evidence}, {held}", math.inf)]
        if place is None or place.pid is None:
            return [self._lost(token, f"{evidence}; where it ran is not known any more", unseen)]
        gone = f"process {place.pid} of its worker is gone from this host, and no horse goes on"
        return [self._lost(token, f"{evidence}; {gone}", wait, LedgerEntry.Verdict.EXITED.value)]

    def _overruns(self, token: Token, wait: float) -> float:
        """Seconds until one that is past its timeout cannot run any more, wherever it is.

        rq gives its execution no heartbeat beyond that, so that it expires while the task still
        runs; its worker ends the horse when it next looks, up to 30 s later.
        """
        job, began = token.record, when(token.record.started_at)
        if not job.timeout or began is None:
            return wait
        if self.server.now() - began.timestamp() < job.timeout - CLOCKS:
            return wait
        if token.kind == "failed":
            return max(wait, (token.newest.at or 0.0) + OVERRUN - self.server.now())
        if wait > 0:  # it has yet to expire
            return wait + OVERRUN
        seen = (self.server.identity, job.job_id, token.execution)
        if len(_silent) > FAILURES:
            _silent.clear()
        return max(0.0, _silent.setdefault(seen, monotonic()) + OVERRUN - monotonic())

    def _remember(self, jobs: Iterable[Record], queue: str) -> None:
        """Where their workers are; of all that take from ``queue``, where it is named."""
        names = {each.worker for each in jobs if each.worker}
        if queue:
            names |= set(fleet.names_of(self.server, [queue]))
        if names:
            fleet.entries(self.server, names, self.table)

    def _lost(self, token: Token, evidence: str, wait: float, verdict: str = "") -> Lost:
        job, newest = token.record, token.newest
        place = fleet.place_of(self.server, job.worker, when(job.started_at))
        killed = re.search(r"\(signal (\d+)\)", newest.said) if token.kind == "failed" else None
        if not verdict:
            by_parent = newest.said.startswith(KILLED) and token.kind == "failed"
            verdict = str((LedgerEntry.Verdict.EXPIRED, LedgerEntry.Verdict.EXITED)[by_parent])
        return Lost(
            job.job_id,
            job.path,
            job.queue,
            _attempt(job, newest, int(token.kind in ("started", "taken"))),
            job.worker,
            verdict,
            f"worker {job.worker or '(none)'}: {evidence}",
            place.host if place is not None else "",
            place.seen_at if place is not None else _ended(job, newest),
            confirms_in=wait,
            exit_signal=_signal(int(killed[1])) if killed else "",
            token=token,
        )

    def _stuck_for(self, job: Record) -> float:
        """Seconds until it has been seen so for long enough, by this process."""
        since = _taken.setdefault((self.server.identity, job.job_id, job.enqueued_at), monotonic())
        return max(0.0, since + STUCK - monotonic())

    def _forget(self, queue: str, stuck: Iterable[Record]) -> None:
        here = {(self.server.identity, job.job_id, job.enqueued_at) for job in stuck}
        limit = 10 * STUCK
        for seen, since in list(_taken.items()):
            if seen not in here and monotonic() - since > limit:
                _taken.pop(seen, None)


def is_loss(said: str) -> bool:
    """Whether a failure is the loss of a worker, and no exception of the task's."""
    return said.startswith((ABANDONED, KILLED, NEVER_BEGAN))


def _attempt(job: Record, newest: Newest, running: int) -> int:
    """Each attempt leaves a result, or is counted in a field of ours."""
    return max(1, job.earlier + newest.count + running)


def _ended(job: Record, newest: Newest) -> datetime | None:
    at = newest.at
    return when(job.started_at) or (datetime.fromtimestamp(at, timezone.utc) if at else None)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
