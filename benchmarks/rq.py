"""django-tasks-rq on a Redis server of its own: a prune beside a working worker, a killed worker.

``prune``: 100,000 finished jobs past their retention are deleted while a stock rqworker works
jobs that do nothing. The longest command is the server's own figure (SLOWLOG, from 1 ms on),
of all commands, those of the worker included; the rate of the worker is told before and
meanwhile. ``abandoned``: a worker and its horse get SIGKILL in the middle of a job, right
after another worker has done rq's maintenance, and that one goes on with short jobs. We look
once a second and change nothing, so that rq finds the same job by its own interval, 600 s;
that is its worst case for a worker that stays, and its best is a worker that starts.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.common import Figure, laboratory, parser, report, say

if TYPE_CHECKING:
    from argus_maint.backends.adapters.rq.adapter import RQ
    from benchmarks.bench import Bench
    from tests.lab import Supervised

LONGEST = 0.050  # seconds: target for any command on the server
FOUND = 100.0  # seconds: target for an abandoned task
RQ_SECONDS = 1100  # for which rq's own maintenance is waited for


def main() -> int:
    options = parser(__doc__, ("sqlite",))
    options.add_argument("--jobs", type=int, default=100_000, help="default: 100000")
    options.add_argument(
        "--only", choices=("prune", "abandoned"), help="one of the two (default: both)"
    )
    arguments = options.parse_args()
    jobs = 3000 if arguments.quick else arguments.jobs
    figures: list[Figure] = []
    with server() as port:
        os.environ["ARGUS_MAINT_BENCH_RQ_PORT"] = str(port)
        with laboratory(arguments.database) as bench:
            if arguments.only != "abandoned":
                figures += _prune(bench, port, jobs)
            if arguments.only != "prune":
                figures += _abandoned(bench, port, arguments.quick)
    return report("rq", arguments, figures)


def until(condition: Callable[[], Any], seconds: float = 60, what: str = "") -> None:
    """Wait for something."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.05)


@contextlib.contextmanager
def server() -> Iterator[int]:
    """A redis-server on a free port of the loopback; the port."""
    if shutil.which("redis-server") is None:
        sys.exit("redis-server is not on PATH")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port)]
    command += ["--save", "", "--appendonly", "no", "--slowlog-max-len", "100000"]
    command += ["--slowlog-log-slower-than", "1000"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: _answers(port), what="redis-server")
        yield port
    finally:
        process.terminate()
        process.wait(20)


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _client(port: int) -> Any:
    import redis

    return redis.Redis(port=port)


def _adapter() -> RQ:
    from argus_maint.backends.adapters import adapters
    from argus_maint.backends.adapters.rq.adapter import RQ

    return next(each for each in adapters("default") if isinstance(each, RQ))


def _worker(bench: Bench, port: int, name: str) -> Supervised:
    command = ("rqworker", "default", "--job-class", "django_tasks_rq.Job", "--name", name)
    worker = bench.start(name, *command)
    until(lambda: _client(port).hget(f"rq:worker:{name}", "state"), what=f"rqworker {name}")
    return worker


def _enqueue(task: Any, *arguments: Any) -> str:
    return str(task.using(backend="rq").enqueue(*arguments).id)


def _prune(bench: Bench, port: int, jobs: int) -> list[Figure]:
    from argus_maint.backends.adapters.base import PruneOrder
    from argus_maint.retention import Retention
    from benchmarks import tasks

    client = _client(port)
    _fill(client, jobs)
    for _ in range(5000):
        _enqueue(tasks.nothing)
    worker = _worker(bench, port, "works")
    before = _rate(client, 10)
    client.slowlog_reset()
    at, began = _worked(client), time.perf_counter()
    day = Retention({"successful": 86_400.0, "failed": None, "quarantined": None})
    done = _adapter().prune(PruneOrder(day))
    took = time.perf_counter() - began
    during = (_worked(client) - at) / took
    slow = client.slowlog_get(100_000)
    longest = max(slow, key=lambda each: each["duration"], default=None)
    seconds = longest["duration"] / 1e6 if longest else 0.001
    what = longest["command"].split()[0].decode() if longest else "nothing over 1 ms"
    deleted = done.deleted["successful"]
    worker.signal_tree(9)
    worker.process.wait(10)
    client.flushall()
    say(f"pruned {deleted} of {jobs} in {took:.1f} s, {done.batches} steps; {len(slow)} over 1 ms")
    assert deleted == jobs, done
    return [
        Figure(
            f"longest command on the server while {jobs:,} jobs are pruned",
            f"{seconds * 1000:.1f} ms ({what})",
            target=f"< {LONGEST * 1000:.0f} ms",
            met=seconds < LONGEST,
        ),
        Figure(
            f"the prune of {jobs:,} finished jobs",
            f"{took:.0f} s, {done.batches} steps, the longest {done.worst * 1000:.1f} ms for us",
        ),
        Figure("jobs a second of the worker meanwhile", f"{during:.1f}", f"{before:.1f} before"),
    ]


def _fill(client: Any, jobs: int) -> None:
    """Finished jobs as rq leaves them, of two days ago."""
    from benchmarks import tasks

    first = _enqueue(tasks.nothing)
    stored = client.hgetall(f"rq:job:{first}")
    client.flushall()
    ended = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(time.time() - 2 * 86_400))
    stored |= {b"status": b"finished", b"started_at": ended.encode(), b"ended_at": ended.encode()}
    later = int(time.time()) + 86_400
    for start in range(0, jobs, 1000):
        pipeline = client.pipeline(transaction=False)
        for number in range(start, min(jobs, start + 1000)):
            task_id = f"{number:032d}"
            pipeline.hset(f"rq:job:{task_id}", mapping=stored)
            pipeline.xadd(f"rq:results:{task_id}", {"type": 1, "worker_name": "works"})
            pipeline.zadd("rq:finished:default", {task_id: later + number})
            for key in (f"rq:job:{task_id}", f"rq:results:{task_id}"):
                pipeline.expireat(key, later + number)
        pipeline.execute()
    say(f"{jobs} finished jobs are there")


def _worked(client: Any) -> int:
    return int(client.hget("rq:worker:works", "successful_job_count") or 0)


def _rate(client: Any, seconds: float) -> float:
    until(lambda: _worked(client) > 3, 60, "a worker that works")
    at = _worked(client)
    time.sleep(seconds)
    return (_worked(client) - at) / seconds


def _abandoned(bench: Bench, port: int, quick: bool) -> list[Figure]:
    from tests import tasks as long

    out = Path(bench.path("abandoned"))
    task_id = _enqueue(long.append, str(out), "x", 3600)
    victim = _worker(bench, port, "victim")
    until(out.exists, what="the beginning of the task")
    _worker(bench, port, "stays")
    until(lambda: _client(port).hget("rq:worker:stays", "state") == b"idle", what="maintenance")
    assert _adapter().lost() == []  # as whoever looks regularly has looked before
    victim.signal_tree(9)
    killed = time.monotonic()
    over = threading.Event()
    feeder = threading.Thread(target=_feed, args=(over,))
    feeder.start()
    try:
        first, ours = _found(task_id, killed)
        say(f"we found it after {ours:.1f} s")
        limit = 0 if quick else RQ_SECONDS
        theirs = _failed_by_rq(port, task_id, killed, limit)
        starts = None
        if theirs is None:
            _worker(bench, port, "starts")
            starts = _failed_by_rq(port, task_id, killed, RQ_SECONDS)
    finally:
        over.set()
        feeder.join()
    peer = f"{theirs:.0f} s: maintenance of a worker that stays" if theirs else ""
    if starts is not None:
        peer = f"{starts:.0f} s: at the start of another worker, which came as we had found it"
    return [
        Figure(
            "kill to an abandoned task found",
            f"{ours:.1f} s (suspected after {first:.1f} s)",
            peer,
            f"< {FOUND:.0f} s",
            ours < FOUND,
        )
    ]


def _feed(over: threading.Event) -> None:
    """Short jobs, as on a site: an idle worker comes to its maintenance later still."""
    from benchmarks import tasks

    while not over.wait(5):
        _enqueue(tasks.nothing)


def _found(task_id: str, killed: float) -> tuple[float, float]:
    first = 0.0
    while time.monotonic() < killed + 300:
        for lost in _adapter().lost():
            if lost.task_id == task_id:
                first = first or time.monotonic() - killed
                if not lost.confirms_in:
                    return first, time.monotonic() - killed
        time.sleep(1)
    raise AssertionError("never found")


def _failed_by_rq(port: int, task_id: str, killed: float, limit: float) -> float | None:
    client = _client(port)
    while time.monotonic() - killed < limit:
        if client.hget(f"rq:job:{task_id}", "status") == b"failed":
            return time.monotonic() - killed
        time.sleep(1)
    return None


if __name__ == "__main__":
    sys.exit(main())
