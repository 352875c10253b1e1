"""A log reader that stands still must not make the queue stand still."""

from __future__ import annotations

import contextlib
import fcntl
import io
import logging
import os
import pty
import re
import select
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from argus_maint.workers import output
from argus_maint.workers.output import Unwaiting
from tests import tasks
from tests.lab import Lab, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="pipe sizes are Linux's")


def fill(descriptor: int) -> int:
    """Fill a pipe or socket to the brim; returns how much went in."""
    os.set_blocking(descriptor, False)
    total = 0
    for size in (4096, 1):
        try:
            while True:
                total += os.write(descriptor, b"." * size)
        except BlockingIOError:
            continue
    os.set_blocking(descriptor, True)
    return total


def read(descriptor: int) -> bytes:
    """What there is to read; waits a moment for it."""
    if select.select([descriptor], [], [], 0.05)[0]:
        return os.read(descriptor, 1 << 16)
    return b""


@pytest.fixture(params=["pipe", "socket", "terminal"])
def line(request: pytest.FixtureRequest) -> Iterator[tuple[int, int]]:
    """Read and write end of something that can be full."""
    if request.param == "pipe":
        ends = os.pipe()
    elif request.param == "socket":
        ends = tuple(each.detach() for each in socket.socketpair())  # type: ignore[assignment]
    else:
        ends = pty.openpty()
    yield ends
    for end in ends:
        os.close(end)


def test_lines_without_room_are_dropped_and_counted(line: tuple[int, int]) -> None:
    end, write = line
    with os.fdopen(write, "w", closefd=False) as stream:
        ours = Unwaiting(stream)
        ours.write("first\n")
        assert os.read(end, 100).split() == [b"first"]
        fill(write)
        for _ in range(3):
            assert ours.write("x" * 200 + "\n") == 201
        while read(end):
            pass
        ours.write("last\n")
        text = read(end).decode()
        ours.close()
    assert text.splitlines()[-2:] == ["(3 lines dropped: nobody read)", "last"]
    assert os.get_blocking(write)


def test_streams_and_handlers_are_given_back() -> None:
    end, write = os.pipe()
    stream = os.fdopen(write, "w", buffering=1)
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger("argus_maint.tests.output")
    logger.addHandler(handler)
    memory = logging.StreamHandler(io.StringIO())
    logger.addHandler(memory)
    before = (sys.stdout, sys.stderr, memory.stream)
    try:
        with output.never_waiting():
            assert isinstance(handler.stream, Unwaiting)
            assert memory.stream is before[2]
            fill(write)
            logger.warning("dropped")
        assert handler.stream is stream
        assert (sys.stdout, sys.stderr, memory.stream) == before
    finally:
        logger.removeHandler(handler)
        logger.removeHandler(memory)
        os.close(end)
        handler.close()
        with contextlib.suppress(BrokenPipeError):
            stream.close()


def test_a_log_that_nobody_reads_stops_no_beat_and_no_rescue(lab: Lab) -> None:
    os.mkfifo(lab.path("log"))
    reader = os.open(lab.path("log"), os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    into = ("sh", "-c", 'exec "$@" >"$0" 2>&1', lab.path("log"))
    worker = lab.worker("--lease=1", prefix=into).ready()
    result = tasks.wait_for.enqueue(lab.path("go"))
    lab.until_status(result, "RUNNING")
    ours = os.open(lab.path("log"), os.O_WRONLY)
    try:
        fill(ours)
        (before,) = worker.rows("supervisor")
        os.kill(lab.holder(result).pid, signal.SIGKILL)

        lab.until_status(result, "READY")
        until(lambda: worker.rows("supervisor")[0].beats > before.beats + 3, what="beats go on")

        Path(lab.path("go")).touch()
        text = b""
        while lab.row(result).status != "SUCCESSFUL":  # a worker's own line waits for us
            text += read(reader)
        worker.signal(signal.SIGTERM)
        while worker.process.poll() is None:
            text += read(reader)
    finally:
        os.close(ours)
        os.close(reader)
    assert worker.process.returncode == 0
    assert re.search(rb"\(\d+ lines dropped: nobody read\)\n", text)
    assert [entry.action for entry in lab.ledger(result)] == ["requeued"]
