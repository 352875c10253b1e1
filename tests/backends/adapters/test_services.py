"""Services of ``maint units`` with the real workers of other backends: a stop ends no task."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from argus_maint.units import Site, executable, render
from argus_maint.units.workers import Worker, concurrent_worker, redis_worker, rq_worker
from tests import tasks
from tests.backends.adapters.conftest import Broker
from tests.backends.adapters.world import lines
from tests.lab import Lab, until
from tests.units import tools
from tests.workers.test_service_managers import manager, tool

SETTINGS = """
from tests.backends.adapters.settings import *
INSTALLED_APPS = [*INSTALLED_APPS, "django_tasks_concurrent"]
"""
WORKERS = {
    "rq": rq_worker("rq", ["default", "bulk"]),
    "redis": redis_worker("redis", "redis", 20),
    "default": concurrent_worker("concurrent", "default", "default"),
}


@dataclass
class Service:
    """One worker under a service manager, and the command that stops it."""

    stop: Callable[[], subprocess.Popen[str]]


def site(lab: Lab, worker: Worker) -> Site:
    (lab.folder / "site_settings.py").write_text(SETTINGS)
    environment = lab.folder / "site.env"
    path = f"{lab.env['PYTHONPATH']}:{lab.folder}"
    chosen = {key: lab.env[key] for key in lab.env if key.startswith(("ARGUS_MAINT", "PATH"))}
    chosen |= {"PYTHONPATH": path, "DJANGO_SETTINGS_MODULE": "site_settings"}
    environment.write_text("".join(f"{key}='{text}'\n" for key, text in chosen.items()))
    return Site(
        python=sys.executable,
        folder=str(lab.folder),
        user="root",
        environment=str(environment),
        settings="site_settings",
        logs=str(lab.folder),
        database=False,
        grace=20,
        scheduler=("shell", "-c", "input()"),  # nothing that would look after the task too
        others=(worker,),
    )


def supervisord(lab: Lab, worker: Worker, short: str) -> Service:
    tools.module("supervisor")
    (text,) = render("supervisord", site(lab, worker), []).values()
    config = lab.folder / "supervisord.conf"
    config.write_text(f"""
[supervisord]
logfile=/dev/null
logfile_maxbytes=0
pidfile={short}/pid
[unix_http_server]
file={short}/socket
[supervisorctl]
serverurl=unix://{short}/socket
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
{text}""")
    folder = Path(sys.executable).parent
    manager(lab, "supervisord", [str(folder / "supervisord"), "-n", "-c", str(config)], lab.env)
    control = [str(folder / "supervisorctl"), "-c", str(config)]
    return Service(lambda: tool(lab, *control, "stop", f"argus-maint-{worker.role}"))


def runit(lab: Lab, worker: Worker, short: str) -> Service:
    runsvdir = tools.need("runsvdir", "runit")
    services = Path(short, "service")
    for name, text in render("runit", site(lab, worker), []).items():
        path = services / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755 if executable(text) else 0o644)
    manager(lab, "runsvdir", [runsvdir, "-P", str(services)], lab.env)
    service = str(services / f"argus-maint-{worker.role}")
    return Service(lambda: tool(lab, "sv", "-w35", "down", service))


@pytest.fixture
def short() -> Iterator[str]:
    """A folder whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory() as folder:
        yield folder


@pytest.mark.slow
@pytest.mark.parametrize("start", [supervisord, runit])
@pytest.mark.parametrize("alias", WORKERS)
def test_a_service_that_is_stopped_waits_for_the_task_in_hand(
    broker: Broker, lab: Lab, short: str, alias: str, start: Callable[..., Service]
) -> None:
    service = start(lab, WORKERS[alias], short)
    path = lab.folder / "done"
    tasks.append.using(backend=alias).enqueue(str(path), "slow", 4)
    until(lambda: lines(path), 40, f"{alias} takes the task")

    output, _ = (stopped := service.stop()).communicate(timeout=60)

    assert stopped.returncode == 0, output
    begin, end = (line.split()[0] for line in lines(path))
    assert (begin, end) == ("begin", "end"), json.dumps(lines(path))
