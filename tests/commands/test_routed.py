"""Two aliases on one task table, which a router sends to a database of its own."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.lab import Lab, Supervised, until

pytestmark = pytest.mark.slow
ENQUEUE = (
    "from tests import tasks; "
    "print(tasks.append.using(backend={alias!r}).enqueue({path!r}, {alias!r}, {seconds}).id)"
)


@pytest.fixture
def site(lab: Lab, tmp_path: Path) -> Lab:
    lab.env |= {"DJANGO_SETTINGS_MODULE": "tests.routed", "ROUTED_FOLDER": str(tmp_path)}
    for name in ("default", "tasks"):
        lab.manage("migrate", "-v0", f"--database={name}")
    return lab


def enqueue(site: Lab, alias: str, seconds: float) -> str:
    code = ENQUEUE.format(alias=alias, path=site.path("out"), seconds=seconds)
    return site.manage("shell", "-v0", "-c", code).stdout.split()[-1]


def told(site: Lab, *arguments: str) -> Any:
    return json.loads(site.manage("maint", *arguments, "--json").stdout)


def states(site: Lab, *arguments: str) -> dict[str, tuple[str, str]]:
    found = told(site, "tasks", *arguments)["tasks"]
    return {each["task_id"]: (each["backend"], each["state"]) for each in found}


def worker(site: Lab, alias: str) -> Supervised:
    started = site.start(
        f"of-{alias}", "db_worker", f"--backend={alias}", "--processes=1", "--interval=0.1"
    )
    until(lambda: "event=worker.started" in started.log, what=f"the worker of {alias}")
    return started


def test_each_alias_has_its_own_workers_and_its_own_losses(site: Lab) -> None:
    first, second = enqueue(site, "default", 0), enqueue(site, "second", 600)
    assert states(site) == {first: ("default", "ready"), second: ("second", "ready")}
    of_second = worker(site, "second")
    until(lambda: site.lines("out"), what="the task of second begins")
    assert states(site) == {first: ("default", "ready"), second: ("second", "running")}
    assert set(states(site, "--backend=second")) == {second}
    counts = {each["backend"]: each for each in told(site, "status")["queues"]}
    assert (counts["default"]["workers"], counts["second"]["workers"]) == (0, 1)

    of_second.signal_tree(signal.SIGKILL)
    of_second.process.wait(10)
    (act,) = told(site, "rescue")["acts"]
    assert (act["task_id"], act["backend"], act["action"]) == (second, "second", "requeued")
    worker(site, "default")
    until(lambda: first not in states(site), what="the task of default has ended")
    assert states(site) == {second: ("second", "ready")}, "which the other worker does not take"
    assert told(site, "history", f"--task={second}")["entries"]
