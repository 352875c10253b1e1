"""What a service manager is told, in the protocol of systemd."""

from __future__ import annotations

import json
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection

from argus_maint.workers import supervisor as module
from argus_maint.workers.board import Board
from argus_maint.workers.notify import Manager
from argus_maint.workers.supervisor import Supervisor, SupervisorOptions
from tests import tasks
from tests.lab import Lab, until
from tests.workers import chores

NOWHERE = "/no/such/place" if connection.vendor == "sqlite" else "argus_maint_no_such_database"


class Ear:
    """The socket of a service manager, and what has been said on it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.said: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.setblocking(False)

    def heard(self, text: str, times: int = 1) -> list[str]:
        """All messages up to the one that holds ``text`` for that many times."""
        until(lambda: sum(text in each for each in self.listen()) >= times, what=text)
        return self.said

    def listen(self) -> list[str]:
        while True:
            try:
                self.said.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return self.said

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def ear(request: pytest.FixtureRequest) -> Iterator[Ear]:
    with tempfile.TemporaryDirectory() as folder:  # a short path: an address has 108 bytes
        ear = Ear(f"{folder}/notify" if request.param == "path" else f"@argus-maint-{folder}")
        yield ear
        ear.close()


def test_the_service_manager_is_told_of_ready_of_life_and_of_the_end(life: Lab, ear: Ear) -> None:
    worker = life.worker("--grace=7", NOTIFY_SOCKET=ear.address, WATCHDOG_USEC="300000").ready()
    said = ear.heard("WATCHDOG=1", times=5)
    assert said[0].startswith("EXTEND_TIMEOUT_USEC=") or "READY=1" in said[0]
    assert sum("READY=1" in each for each in said) == 1
    # A pulse before it was ready would be taken for a start that has succeeded.
    ready = next(n for n, each in enumerate(said) if "READY=1" in each)
    assert not any("WATCHDOG=1" in each for each in said[:ready])
    # What a task starts must not speak for us.
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC"):
        result = chores.environment.enqueue(name)
        assert life.until_status(result, "SUCCESSFUL").return_value is None

    assert worker.stop() == 0
    stopping = [each for each in ear.listen() if "STOPPING=1" in each]
    assert "EXTEND_TIMEOUT_USEC=15000000" in stopping[0]  # the grace, and time to sign off


def test_a_start_that_waits_for_the_database_is_not_ready_and_not_failed(life: Lab) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ear = Ear(f"{folder}/notify")
        worker = life.worker(
            NOTIFY_SOCKET=ear.address,
            WATCHDOG_USEC="300000",
            ARGUS_MAINT_TEST_DB_NAME=NOWHERE,
            LIFE_PATCH=json.dumps({"argus_maint.workers.supervisor.PATIENCE": 0.5}),
        )
        ear.heard("EXTEND_TIMEOUT_USEC")
        until(lambda: "keeper.waiting" in worker.log)
        assert worker.stop() == 0
        assert not any("READY=1" in each for each in ear.listen())
        ear.close()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float], list[str]]]:
    """A supervisor with a clock of ours: what it tells its manager when it looks that late."""
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere")
    monkeypatch.setenv("WATCHDOG_USEC", "600000000")
    clock, said = [0.0], []
    monkeypatch.setattr(module, "now", lambda: clock[0])
    monkeypatch.setattr(Manager, "tell", lambda self, text: said.append(text))
    options = SupervisorOptions(processes=1, grace=30, lease=15, beat=5, batch=False)
    supervisor = Supervisor(options, Board(1), lambda *_: None, lambda *_: None)

    def at(when: float) -> list[str]:
        clock[0] = when
        said.clear()
        supervisor._ping()
        return list(said)

    at.supervisor = supervisor  # type: ignore[attr-defined]
    yield at
    for descriptor in (*supervisor.lifeline, *supervisor.wakeup, supervisor.places[0].stack):
        os.close(descriptor)


def test_a_start_that_waits_asks_for_more_time_before_it_has_run_out(told: Any) -> None:
    """However rare the watchdog is to be pinged: each message is good for 15 s."""
    asked = [when for when in range(60) if "EXTEND_TIMEOUT_USEC=15000000" in told(when)]
    assert all(after - before < 15 for before, after in zip(asked, asked[1:], strict=False))
    assert asked[-1] == 55
    told.supervisor.board.header.last_commit = 56.0
    # The watchdog's time runs from READY on: it is not left waiting for the next round.
    assert told(57) == ["READY=1\nSTATUS=working with 1 workers", "WATCHDOG=1"]
    pinged = [57, *(when for when in range(58, 1000) if told(when) == ["WATCHDOG=1"])]
    assert all(after - before == 300 for before, after in zip(pinged, pinged[1:], strict=False))


def test_a_watchdog_of_another_process_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid() + 1))
    assert Manager().watchdog_every is None
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert Manager().watchdog_every == 1.5
    assert not {"WATCHDOG_USEC", "WATCHDOG_PID", "NOTIFY_SOCKET"} & set(os.environ)


def test_a_manager_that_does_not_listen_is_no_reason_to_stop(lab: Lab) -> None:
    worker = lab.worker(NOTIFY_SOCKET="/no/such/socket").ready()
    lab.until_status(tasks.add.enqueue(1, 2), "SUCCESSFUL")
    assert worker.stop() == 0
