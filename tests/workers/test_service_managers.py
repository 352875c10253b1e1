"""Under a service manager: what it sends, and being PID 1."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests import tasks
from tests.faults import namespace
from tests.lab import Lab, Supervised, until
from tests.workers import chores

# -- PID 1 ---------------------------------------------------------------------------


@pytest.fixture
def alone() -> tuple[str, ...]:
    if why := namespace.missing():
        pytest.skip(f"no PID namespace: {why}")
    return namespace.ALONE


def test_as_pid_1_it_obeys_term_and_finishes_what_is_in_hand(
    lab: Lab, alone: tuple[str, ...]
) -> None:
    worker = lab.worker(prefix=alone).ready()
    assert worker.rows("supervisor")[0].pid == 1
    result = tasks.wait_for.enqueue(lab.path("go"))
    lab.until_status(result, "RUNNING")

    os.kill(namespace.supervisor(worker), signal.SIGTERM)
    until(lambda: "supervisor.stopping" in worker.log)
    Path(lab.path("go")).touch()

    assert worker.wait() == 0
    assert lab.row(result).status == "SUCCESSFUL"


def test_as_pid_1_it_buries_the_orphans_of_its_tasks(life: Lab, alone: tuple[str, ...]) -> None:
    worker = life.worker(prefix=alone).ready()
    result = chores.leave_an_orphan.enqueue(1.5)
    inside = life.until_status(result, "SUCCESSFUL").return_value
    orphan = psutil.Process(namespace.outside(worker, inside))
    assert orphan.ppid() == namespace.supervisor(worker)

    until(lambda: not orphan.is_running(), what="reaped")

    life.until_status(tasks.add.enqueue(1, 2), "SUCCESSFUL")
    assert namespace.stop(worker) == 0


# -- the managers themselves ------------------------------------------------------------


class Managed(Supervised):
    """A ``db_worker`` that a service manager runs; ``process`` is the manager."""

    @property
    def main(self) -> int:
        """The supervisor's pid, where the manager sees it."""
        (row,) = self.rows("supervisor")
        return row.pid


def command(name: str) -> list[str]:
    flags = ["--no-startup-delay", "--interval=0.05", "--lease=3", "--processes=2"]
    return [sys.executable, "-m", "django", "db_worker", f"--worker-id={name}", *flags]


def manager(lab: Lab, name: str, arguments: list[str], env: dict[str, str]) -> Managed:
    """Start it; what it started ends with it, also when the test fails."""
    log = Path(lab.path(f"{name}.log"))
    with log.open("wb") as out:
        process = subprocess.Popen(
            arguments,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=lab.folder,
        )
    started = Managed(process, log, name)
    lab.started.append(started)
    return started


def managed(lab: Lab, name: str, arguments: list[str]) -> Managed:
    worker = manager(lab, name, arguments, lab.env)
    worker.ready(2)
    return worker


def killed_and_restarted(
    lab: Lab, worker: Managed, kill: Callable[[], Any], seconds: float = 2
) -> None:
    """The manager restarts what was killed, and the task in hand comes back by itself."""
    result = tasks.append.enqueue(lab.path("out"), "a", seconds)
    until(lambda: lab.lines("out"))
    before = worker.rows("supervisor")[0].worker_id

    kill()

    def another() -> bool:
        rows = worker.rows("supervisor")
        return len(rows) == 1 and rows[0].worker_id != before

    until(another, what="a new supervisor")
    assert len(lab.until_status(result, "SUCCESSFUL").worker_ids) == 2
    assert lab.ledger(result)[0].verdict == "exited"


def finished_while_it_stops(lab: Lab, stop: Callable[[], subprocess.Popen[str]]) -> str:
    """Stopping waits for the task in hand; returns what the manager's tool has printed."""
    result = tasks.wait_for.enqueue(lab.path("go"))
    lab.until_status(result, "RUNNING")
    tool = stop()
    lab_row = lab.row(result)
    until(lambda: lab.holder(lab_row).state == "draining", what="it stops")
    Path(lab.path("go")).touch()
    output, _ = tool.communicate(timeout=60)
    assert tool.returncode == 0, output
    row = lab.row(result)
    assert (row.status, len(row.worker_ids)) == ("SUCCESSFUL", 1)
    assert lab.ledger(result) == []
    return output


def tool(lab: Lab, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        arguments,
        env=lab.env,
        cwd=lab.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("runsv") is None, reason="needs Debian's package runit")
def test_runit(lab: Lab) -> None:
    service = lab.folder / "service"
    service.mkdir()
    run = service / "run"
    run.write_text("#!/bin/sh\nexec 2>&1\nexec " + " ".join(command("runit")) + "\n")
    run.chmod(0o755)
    worker = managed(lab, "runit", ["runsv", str(service)])

    killed_and_restarted(lab, worker, lambda: os.kill(worker.main, signal.SIGKILL))
    output = finished_while_it_stops(lab, lambda: tool(lab, "sv", "-w45", "down", str(service)))

    assert output.startswith("ok: down")
    assert worker.rows("supervisor") == []


@pytest.fixture
def supervisord(tmp_path: Path) -> Path:
    """A folder with supervisord and supervisorctl."""
    if found := shutil.which("supervisord"):
        return Path(found).parent
    venv.create(tmp_path / "venv", with_pip=True)
    folder = tmp_path / "venv" / "bin"
    pip = [str(folder / "python"), "-m", "pip", "install", "-qq", "supervisor", "setuptools<81"]
    done = subprocess.run(pip, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"supervisord cannot be installed: {done.stderr.strip().splitlines()[-1]}")
    return folder


@pytest.mark.slow
def test_supervisord(lab: Lab, supervisord: Path) -> None:
    with tempfile.TemporaryDirectory() as short:
        config = lab.folder / "supervisord.conf"
        config.write_text(
            f"""
[supervisord]
nodaemon=true
logfile=/dev/null
logfile_maxbytes=0
childlogdir={short}
pidfile={short}/pid
[unix_http_server]
file={short}/socket
[supervisorctl]
serverurl=unix://{short}/socket
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[program:worker]
command={" ".join(command("supervisord"))}
stopsignal=TERM
stopasgroup=true
stopwaitsecs=45
autorestart=unexpected
startsecs=0
"""
        )
        worker = managed(
            lab, "supervisord", [str(supervisord / "supervisord"), "-n", "-c", str(config)]
        )
        ctl = [str(supervisord / "supervisorctl"), "-c", str(config)]

        killed_and_restarted(lab, worker, lambda: os.kill(worker.main, signal.SIGKILL))
        output = finished_while_it_stops(lab, lambda: tool(lab, *ctl, "stop", "worker"))

        assert output.strip() == "worker: stopped"
        status = tool(lab, *ctl, "status").communicate(timeout=30)[0]
        assert status.split()[:2] == ["worker", "STOPPED"]


def _why_no_systemd() -> str:
    if os.geteuid() != 0:
        return "needs root"
    if not Path("/lib/systemd/systemd").exists():
        return "needs systemd's files"
    return namespace.missing()


@pytest.mark.slow
@pytest.mark.skipif(bool(_why_no_systemd()), reason=_why_no_systemd() or "-")
def test_systemd(lab: Lab) -> None:
    units = lab.folder / "config" / "systemd" / "user"
    units.mkdir(parents=True)
    names = [name for name in lab.env if name.startswith(("ARGUS_MAINT", "DJANGO", "PYTHON"))]
    (lab.folder / "environment").write_text(
        "".join(f"{name}='{lab.env[name]}'\n" for name in [*names, "PATH"])
    )
    (units / "worker.service").write_text(
        f"""
[Service]
Type=notify
EnvironmentFile={lab.folder}/environment
ExecStart={" ".join(command("systemd"))}
WorkingDirectory={lab.folder}
StandardOutput=append:{lab.folder}/worker.log
StandardError=append:{lab.folder}/worker.log
WatchdogSec=3
TimeoutStopSec=45
Restart=on-failure
RestartSec=0
"""
    )
    lab.env["SYSTEMD_LOG_LEVEL"] = "info"
    alone = [*namespace.ALONE, "--mount", "sh", "-c", namespace.SYSTEMD, "sh", str(lab.folder)]
    worker = manager(lab, "systemd", alone, lab.env)
    inner = namespace.supervisor(worker)

    def systemctl(*arguments: str) -> subprocess.Popen[str]:
        enter = ["nsenter", f"--target={inner}", "--mount", "--pid"]
        env = ["env", "XDG_RUNTIME_DIR=/run/user/0", "systemctl", "--user"]
        return tool(lab, *enter, *env, *arguments)

    def show(name: str) -> str:
        shown = systemctl("show", "worker.service", f"--property={name}", "--value")
        return shown.communicate(timeout=30)[0].strip()

    until(lambda: systemctl("list-units").wait(30) == 0, what="systemd answers")
    # Returns when READY has been said: the unit is of type notify.
    output, _ = (started := systemctl("start", "worker.service")).communicate(timeout=60)
    assert started.returncode == 0, output
    assert show("ActiveState") == "active"
    assert show("StatusText") == "working with 2 workers"
    worker.ready(2)

    main = int(show("MainPID"))
    stopped = namespace.outside(worker, main)
    # Not killed but stopped: it is silent, and the watchdog ends it.
    killed_and_restarted(lab, worker, lambda: os.kill(stopped, signal.SIGSTOP), seconds=8)
    assert show("NRestarts") == "1"
    worker.ready(2)

    finished_while_it_stops(lab, lambda: systemctl("stop", "worker.service"))
    assert (show("ActiveState"), show("Result")) == ("inactive", "success")
    assert show("ExecMainStatus") == "0"
