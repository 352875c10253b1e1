"""The rendered files under the real programs: they start, restart, fire and stop.

The folder and the environment file have names that hurt. What a file says is changed only
where the test says so.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from argus_maint.drills import clock
from argus_maint.units import Site, executable, render
from tests import rows
from tests.faults import namespace
from tests.lab import Lab, Supervised, until
from tests.units import tools
from tests.units.sites import job
from tests.workers.test_service_managers import (
    Managed,
    finished_while_it_stops,
    killed_and_restarted,
    manager,
    tool,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]
QUICK = ("--no-startup-delay", "--interval=0.05", "--lease=3")
NAMES = ("ARGUS_MAINT", "DJANGO", "PYTHON")


def site(lab: Lab, name: str, **more: Any) -> Site:
    """This test's own project. Its nightly prune is due every minute."""
    lab.setting(
        RESCUE={"*": {"backoff": [0, 0]}},
        RETENTION={"successful": "1d"},
        JOBS={"prune": {"schedule": "* * * * *", "zone": "UTC"}},
    )
    folder = lab.folder / "a b%c ($(X))"
    (folder / "logs").mkdir(parents=True)
    environment = folder / "site's 100%.env"
    chosen = [each for each in lab.env if each.startswith(NAMES)]
    environment.write_text("".join(f"{each}='{lab.env[each]}'\n" for each in [*chosen, "PATH"]))
    return Site(
        python=sys.executable,
        folder=str(folder),
        user="root",
        environment=str(environment),
        settings=lab.env["DJANGO_SETTINGS_MODULE"],
        logs=str(folder / "logs"),
        processes=2,
        flags=(f"--worker-id={name}", *QUICK),
        **more,
    )


def written(files: dict[str, str], folder: Path) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
        (folder / name).chmod(0o755 if executable(text) else 0o644)


def start(lab: Lab, name: str, *arguments: str) -> Managed:
    """A manager with nothing of the site's environment: it has to come from the file."""
    env = {each: text for each, text in lab.env.items() if not each.startswith(NAMES)}
    return manager(lab, name, list(arguments), env)


def kill(worker: Managed, number: int = signal.SIGKILL) -> None:
    os.kill(worker.main, number)


def old_task() -> Any:
    return rows.task("SUCCESSFUL", age=3 * 86_400).pk


def gone(pk: Any) -> bool:
    return not rows.DBTaskResult.objects.filter(pk=pk).exists()


def until_pruned(pk: Any, seconds: float) -> None:
    until(lambda: gone(pk), seconds, "the prune line has fired")


# -- supervisord and runit ---------------------------------------------------------------


def test_supervisord_starts_restarts_and_stops_a_worker(lab: Lab) -> None:
    tools.module("supervisor")
    folder = Path(sys.executable).parent
    with tempfile.TemporaryDirectory() as short:
        config = lab.folder / "supervisord.conf"
        shop = replace(site(lab, "managed"), logs=short)
        (text,) = render("supervisord", shop, []).values()
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
        worker = start(lab, "managed", str(folder / "supervisord"), "-n", "-c", str(config))
        worker.ready(2)
        ctl = [str(folder / "supervisorctl"), "-c", str(config)]

        killed_and_restarted(lab, worker, lambda: kill(worker))
        stop = [*ctl, "stop", "argus-maint-worker"]
        assert "stopped" in finished_while_it_stops(lab, lambda: tool(lab, *stop))

        def states() -> list[list[str]]:
            status = tool(lab, *ctl, "status").communicate(timeout=30)[0].splitlines()
            return [line.split()[:2] for line in status]

        running = [["argus-maint-scheduler", "RUNNING"], ["argus-maint-worker", "STOPPED"]]
        until(lambda: states() == running, what="the scheduler has run for its startsecs")


def test_runsvdir_starts_restarts_and_stops_a_worker(lab: Lab) -> None:
    runsvdir = tools.need("runsvdir", "runit")
    shop = site(lab, "managed")
    written(render("runit", shop, []), lab.folder / "sv")
    (lab.folder / "service").mkdir()
    for each in (lab.folder / "sv").iterdir():
        (lab.folder / "service" / each.name).symlink_to(each)
    worker = start(lab, "managed", runsvdir, "-P", str(lab.folder / "service"))
    worker.ready(2)
    service = str(lab.folder / "service" / "argus-maint-worker")

    killed_and_restarted(lab, worker, lambda: kill(worker))
    output = finished_while_it_stops(lab, lambda: tool(lab, "sv", "-w45", "down", service))

    assert output.startswith("ok: down")
    log = Path(shop.logs, "argus-maint-worker", "current")
    until(lambda: "supervisor.stopped" in log.read_text(), what="svlogd has the log")


# -- systemd -----------------------------------------------------------------------------

# The rest of the sandbox holds in a namespace too; the database is in the real /tmp.
NOT_HERE = ("PrivateTmp", "ProtectHome", "ProtectKernelLogs", "ProtectKernelTunables")


@pytest.mark.timeout(200)  # the timer alone may take a minute
def test_systemd_starts_restarts_fires_and_stops(lab: Lab) -> None:
    tools.need("/lib/systemd/systemd", "systemd")
    if why := namespace.missing():
        tools.cannot(why)
    shop = site(lab, "managed", writable=(str(lab.folder), "/tmp"))
    units = render("systemd", shop, [job("prune", "* * * * *")])
    for name, text in units.items():
        text = text.replace("WatchdogSec=30", "WatchdogSec=3")  # so that it is not long
        for each in NOT_HERE:
            text = re.sub(rf"(?m)^{each}=.*\n", "", text)
        units[name] = text
    written(units, lab.folder / "config/systemd/user")
    alone = [*namespace.ALONE, "--mount", "sh", "-c", namespace.SYSTEMD, "sh", str(lab.folder)]
    worker = start(lab, "managed", *alone)
    inner = namespace.supervisor(worker)

    def systemctl(*arguments: str) -> subprocess.Popen[str]:
        enter = ["nsenter", f"--target={inner}", "--mount", "--pid"]
        return tool(lab, *enter, "env", "XDG_RUNTIME_DIR=/run/user/0", "systemctl", "--user",
                    *arguments)  # fmt: skip

    def show(name: str, unit: str = "argus-maint-worker.service") -> str:
        shown = systemctl("show", unit, f"--property={name}", "--value")
        return shown.communicate(timeout=30)[0].strip()

    until(lambda: systemctl("list-units").wait(30) == 0, what="systemd answers")
    old = old_task()
    started = systemctl(
        "start", "argus-maint-job-prune.timer", "argus-maint-worker", "argus-maint-scheduler"
    )
    output, _ = started.communicate(timeout=60)
    assert started.returncode == 0, output + worker.log
    assert show("StatusText") == "working with 2 workers"
    assert show("StatusText", "argus-maint-scheduler.service") == "running 5 jobs"
    assert (show("OOMPolicy"), show("KillMode")) == ("continue", "mixed")
    worker.ready(2)

    # Not killed but stopped: it is silent, and the watchdog ends it.
    main = namespace.outside(worker, int(show("MainPID")))
    killed_and_restarted(lab, worker, lambda: os.kill(main, signal.SIGSTOP), seconds=8)
    assert show("NRestarts") == "1"
    worker.ready(2)

    finished_while_it_stops(lab, lambda: systemctl("stop", "argus-maint-worker"))
    assert (show("ActiveState"), show("Result")) == ("inactive", "success")

    until_pruned(old, 75)
    ended = ("Result", "success"), ("ExecMainStatus", "0")
    for name, value in ended:
        assert show(name, "argus-maint-job-prune.service") == value


# -- openrc ------------------------------------------------------------------------------

OPENRC = """
set -e
root=$1 scripts=$2 layers=$3
mount --make-rprivate /
mkdir -p "$layers/etc/init.d"
cp "$root/etc/rc.conf" "$root/etc/insserv.conf" "$layers/etc/"
cp "$scripts"/* "$layers/etc/init.d/"
mount -t overlay o -o "lowerdir=$root/usr:/usr" /usr
mount -t overlay o -o "lowerdir=$root/lib:/usr/lib" /usr/lib
mount -t overlay o -o "lowerdir=$root/sbin:/usr/sbin" /usr/sbin
mount -t overlay o -o "lowerdir=$layers/etc:/etc" /etc
mount -t tmpfs tmpfs /run
mkdir -p /run/lock
for each in starting started stopping inactive wasinactive failed hotplugged daemons \\
    options exclusive scheduled crashed tmp; do mkdir -p "/run/openrc/$each"; done
touch /run/openrc/softlevel
while :; do sleep 0.2; done  # as PID 1 it buries the dead, which OpenRC waits for
"""


def openrc_root() -> Path:
    """Debian's packages openrc, librc1, libeinfo1 and insserv, unpacked: never installed."""
    root = Path(os.environ.get("ARGUS_MAINT_TEST_OPENRC", "/nowhere"))
    if not (root / "sbin/openrc-run").exists():
        tools.cannot("ARGUS_MAINT_TEST_OPENRC names no folder with openrc's packages unpacked")
    return root


def test_openrc_starts_restarts_and_stops_a_worker(lab: Lab) -> None:
    root = openrc_root()
    if why := namespace.missing() or tools.why_no_mounts():
        tools.cannot(why)
    shop = site(lab, "managed")
    written(render("openrc", shop, []), lab.folder / "init.d")
    with short_folder() as layers:
        alone = [*namespace.ALONE, "--mount", "sh", "-c", OPENRC, "sh", str(root)]
        worker = start(lab, "managed", *alone, str(lab.folder / "init.d"), str(layers))
        inner = namespace.supervisor(worker)
        until(lambda: Path(f"/proc/{inner}/root/run/openrc/softlevel").exists(), what=worker.log)

        def service(*arguments: str) -> subprocess.Popen[str]:
            enter = ["nsenter", f"--target={inner}", "--mount", "--pid"]
            return tool(lab, *enter, "/etc/init.d/argus-maint-worker", *arguments)

        output, _ = (started := service("--nodeps", "start")).communicate(timeout=60)
        assert started.returncode == 0, output + worker.log
        worker.ready(2)
        assert "started" in service("--nodeps", "status").communicate(timeout=30)[0]

        main = namespace.outside(worker, worker.main)
        killed_and_restarted(lab, worker, lambda: os.kill(main, signal.SIGKILL), seconds=1)
        worker.ready(2)
        finished_while_it_stops(lab, lambda: service("--nodeps", "stop"))
        assert service("--nodeps", "status").wait(30) == 3
    assert "supervisor.stopped" in Path(shop.logs, "argus-maint-worker.log").read_text()


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp())
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# -- cron --------------------------------------------------------------------------------

CRON = """
set -e
lab=$1; shift
mount --make-rprivate /
mount -t tmpfs tmpfs /var/spool/cron
mkdir -m 1730 /var/spool/cron/crontabs
chgrp crontab /var/spool/cron/crontabs
: > "$lab/empty"; mount --bind "$lab/empty" /etc/crontab
mount --bind "$lab/cron.d" /etc/cron.d
mount -t tmpfs tmpfs /run
[ ! -s "$lab/user.crontab" ] || crontab "$lab/user.crontab"
# 60 seconds in one, and not yet a quarter past three.
exec env LD_PRELOAD="$1" FAKETIME='@2027-01-01 03:15:30 x60' cron -f
"""


def cron(lab: Lab, name: str) -> Supervised:
    program = tools.need("cron", "cron")
    assert program
    if why := namespace.missing() or tools.why_no_mounts() or clock.missing():
        tools.cannot(why)
    alone = [*namespace.ALONE, "--mount", "sh", "-c", CRON, "sh", str(lab.folder)]
    return start(lab, name, *alone, str(clock.library()))


def test_cron_fires_the_line_of_cron_d_at_its_time(lab: Lab) -> None:
    shop = site(lab, "cron", locks=str(lab.folder))
    (text,) = render("cron.d", shop, [job("prune", "17 3 * * *")]).values()
    written({"cron.d/argus-maint": text}, lab.folder)
    old = old_task()
    with clock.tidy():
        cron(lab, "cron")
        until_pruned(old, 40)
    assert Path(f"{shop.locks}/argus-maint-prune.lock").exists()


def test_cron_fires_the_line_of_a_user_but_no_file_whose_name_has_a_dot(lab: Lab) -> None:
    shop = site(lab, "cron")
    (text,) = render("crontab", replace(shop, one_line=True), [job()]).values()
    dotted = f"* * * * * root touch '{lab.folder}/dotted'\n"
    plain = f"* * * * * root touch '{lab.folder}/plain'\n"
    files = {"user.crontab": text, "cron.d/argus.maint": dotted, "cron.d/argus-maint": plain}
    written(files, lab.folder)
    old = old_task()
    with clock.tidy():
        cron(lab, "cron")
        until_pruned(old, 40)
        until(lambda: (lab.folder / "plain").exists())
    assert not (lab.folder / "dotted").exists()


# -- kubernetes ----------------------------------------------------------------------------


def test_a_probe_hears_a_worker_and_misses_one_that_has_stopped(lab: Lab) -> None:
    """The command of the probe as the kubelet runs it, beside a worker with the same variables."""
    yaml = tools.module("yaml")
    (text,) = render("kubernetes", site(lab, "pod"), []).values()
    deployment = next(iter(yaml.safe_load_all(text)))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    probe = container["livenessProbe"]["exec"]["command"]
    with short_folder() as folder:
        variables = {each["name"]: each["value"] for each in container["env"]}
        said = {**variables, "NOTIFY_SOCKET": f"{folder}/notify"}

        def listen() -> int:
            done = subprocess.run(probe, env={**lab.env, **said}, capture_output=True)
            return done.returncode

        assert listen() != 0  # nobody speaks
        worker = lab.worker(**said).ready()
        assert listen() == 0
        assert listen() == 0
        assert list(folder.iterdir()) == []
        worker.signal(signal.SIGSTOP)
        assert listen() != 0
        worker.signal(signal.SIGCONT)
        assert listen() == 0
        assert psutil.pid_exists(worker.pid) and worker.stop() == 0
