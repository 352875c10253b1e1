"""Who starts workers: by what runs, and by the files of service managers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from argus_maint.doctor import boot, schedules
from argus_maint.doctor.line import Line
from tests import rows
from tests.lab import Lab, until
from tests.observe import notes


def _found(tmp_path: Path, words: str, *, inside: bool = False) -> list[Line]:
    return [each for each in boot.look("default", tmp_path, inside) if words in each.found]


@pytest.mark.django_db
def test_files_of_service_managers_are_read_and_comments_are_not(tmp_path: Path) -> None:
    lines = list(boot.look("default", tmp_path, False))
    assert [each.level for each in lines] == ["warn", "warn"]
    assert "maint units" in lines[0].fix and "maint crontab --install" in lines[1].fix
    for name, text in {
        "etc/systemd/system/shop-worker.service": "ExecStart=/srv/manage.py db_worker\n",
        "etc/cron.d/shop": "# maint tick\n* * * * * shop cd /srv && python manage.py maint tick\n",
        "etc/service/other/run": "#!/bin/sh\n# exec manage.py db_worker\nexec true\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    worker, ticks = boot.look("default", tmp_path, False)
    assert worker.found == f"db_worker: {tmp_path}/etc/systemd/system/shop-worker.service"
    assert ticks.found == f"crontask: {tmp_path}/etc/cron.d/shop"
    assert {worker.level, ticks.level} == {"ok"}


@pytest.mark.django_db
def test_in_a_container_it_says_that_it_cannot_see(tmp_path: Path) -> None:
    lines = list(boot.look("default", tmp_path, True))
    assert [each.level for each in lines] == ["ok", "ok"]
    assert "is not seen from inside this container" in lines[0].found


def test_a_worker_that_was_started_by_hand(lab: Lab, tmp_path: Path) -> None:
    worker = lab.worker(name="web").ready()
    (line,) = _found(tmp_path, "db_worker web (pid")
    assert line.level == "warn" and "started by hand" in line.found
    assert worker.stop() == 0


@pytest.mark.slow
def test_a_worker_that_supervisord_started(lab: Lab, tmp_path: Path) -> None:
    """A real supervisord, and a real db_worker below it."""
    program = (
        f"{sys.executable} -m django db_worker --processes 1 --worker-id=web --no-startup-delay"
    )
    config = tmp_path / "supervisord.conf"
    config.write_text(
        f"[supervisord]\nlogfile={tmp_path}/log\npidfile={tmp_path}/pid\n"
        f"[program:worker]\ncommand={program}\nstopwaitsecs=30\n"
    )
    supervisord = Path(sys.executable).with_name("supervisord")

    with subprocess.Popen(
        [str(supervisord), "-n", "-c", str(config)],
        env=lab.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            until(lambda: _alive("web"), 90, "web is registered")
            (line,) = _found(tmp_path, "db_worker web ")
            assert (line.level, line.found) == ("ok", "db_worker web was started by supervisord")
        finally:
            children = psutil.Process(process.pid).children(recursive=True)
            process.terminate()
            process.wait(40)
            psutil.wait_procs(children, 10)


def _alive(name: str) -> bool:
    from argus_maint.models import Process

    return Process.objects.filter(name=name, kind="supervisor", state="alive").exists()


# -- does anything fire the ticks? -------------------------------------------------


@pytest.mark.django_db
def test_ticks() -> None:
    def found(words: str) -> Line:
        (line,) = [each for each in schedules.look("default") if words in each.found]
        return line

    assert found("no job has ever run here").level == "bad"
    notes.run("rescue", age=5000)
    line = found("nothing has fired a tick for 1h23m; rescue was due 1h2")
    assert (line.level, line.fix.split()[0]) == ("bad", "manage.py")
    notes.run("rescue", age=30)
    assert found("ticks are fired; last by cron on web, 30s ago").level == "ok"
    rows.process("sched", kind="scheduler", info={"driver": "crontask"})
    assert found("ticks are fired; schedulers: sched on ").level == "ok"
    notes.run("prune", "failed", age=60, error="No space left")
    line = found("job prune failed 60s ago: No space left")
    assert line.fix.startswith("manage.py maint jobs --job prune")


@pytest.mark.django_db
def test_jobs_that_nobody_should_switch_off(settings: object) -> None:
    settings.ARGUS_MAINT = {"JOBS": {"prune": {"enabled": False}, "storage": {"enabled": False}}}  # type: ignore[attr-defined]
    warned = [each.found for each in schedules.look("default") if each.level == "warn"]
    assert warned == ["the job prune is switched off"]
