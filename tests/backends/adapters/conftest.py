"""A Redis server of this run's own, which a test may stop and start."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings

from tests.lab import until

if TYPE_CHECKING:
    from tests.backends.adapters.world_rq import RQWorld
    from tests.lab import Lab

# Elsewhere the packages that they import may not be there.
SETTINGS = "tests.backends.adapters.settings"
collect_ignore_glob = [] if os.environ.get("DJANGO_SETTINGS_MODULE") == SETTINGS else ["test_*"]


class Broker:
    """A throw-away ``redis-server`` on a free port of the loopback."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port: int = settings.BROKER_PORT
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        """Start it, empty or (after ``stop``) with what it had."""
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(self.port)]
        command += ["--dir", str(self.folder), "--save", "", "--appendonly", "yes", *options]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        until(self.answers, what="redis-server")

    def answers(self) -> bool:
        """Whether it takes connections."""
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        """End it; what it holds stays in its folder."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)
            self.process = None


@pytest.fixture(scope="session")
def _broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    if shutil.which("redis-server") is None:
        pytest.fail("redis-server is not on PATH", pytrace=False)
    broker = Broker(tmp_path_factory.mktemp("redis"))
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()


@pytest.fixture
def broker(_broker: Broker) -> Iterator[Broker]:
    """The server, running and empty."""
    import redis

    if _broker.process is None:
        _broker.start()
    with redis.Redis(port=_broker.port) as client:
        client.flushall()
    yield _broker
    if _broker.process is None:
        _broker.start()


@pytest.fixture
def child_env(child_env: dict[str, str]) -> dict[str, str]:
    """The environment of a child process, with the settings of these tests."""
    return {
        **child_env,
        "DJANGO_SETTINGS_MODULE": SETTINGS,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }


@pytest.fixture(autouse=True)
def _strangers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A horse of another run on this host may keep a task from being lost: leave them out."""
    if "lab" not in request.fixturenames:
        return
    from argus_maint.backends.adapters.rq import processes

    lab, look = request.getfixturevalue("lab"), processes.table

    def own() -> processes.Table:
        seen, sessions = look(), {each.pid for each in lab.started}
        kept = tuple(each for each in seen.processes if each.session in sessions)
        return processes.Table(kept, seen.readable)

    monkeypatch.setattr(processes, "table", own)


@pytest.fixture
def rq(lab: Lab, broker: Broker, settings: Any) -> Iterator[RQWorld]:
    """RQ, to a process that has just been started and remembers no worker."""
    from argus_maint.backends.adapters.rq import fleet
    from tests.backends.adapters.world_rq import RQWorld

    settings.ARGUS_MAINT = {"RESCUE": {"*": {"on_lost": "requeue", "backoff": (0, 0)}}}
    fleet._remembered.clear()
    world = RQWorld(lab)
    try:
        yield world
    finally:
        world.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of these need packages that a plain environment does not have."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.backends)
