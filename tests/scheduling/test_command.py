"""``manage.py crontask`` as a process: its options, its words, signals, the service manager."""

from __future__ import annotations

import signal
import tempfile

import pytest
from django.core.management import load_command_class

from argus_maint.models import Process
from tests.lab import until
from tests.scheduling.site import CRONTASK, EACH_SECOND, KINDS, Site
from tests.workers.test_notify import Ear

with_crontask = pytest.mark.skipif(not CRONTASK, reason="needs django-crontask")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_with_status_0_and_the_words_of_django_crontask(
    site: Site, number: signal.Signals
) -> None:
    """One kind, then the other: both kinds meet all signals."""
    scheduler = site.scheduler("s", KINDS[number % len(KINDS)])
    site.ready(scheduler)
    assert site.process_of(scheduler).kind == "scheduler"

    scheduler.signal(number)

    assert scheduler.wait(30) == 0
    words = ("Starting", f"Received {number.name} ({number.value}), shutting down…", "Shutting")
    places = [scheduler.log.index(each) for each in words]
    assert places == sorted(places)
    assert "Starting scheduler…" in scheduler.log and "Shutting down scheduler…" in scheduler.log
    assert "Traceback" not in scheduler.log
    row = Process.objects.get(name="s")
    assert (row.state, row.verdict, row.reason) == ("ended", "exited", "stopped")


def test_the_service_manager_is_told_of_ready_of_life_and_of_the_end(site: Site) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ear = Ear(f"{folder}/notify")
        scheduler = site.scheduler(NOTIFY_SOCKET=ear.address, WATCHDOG_USEC="400000")
        said = ear.heard("WATCHDOG=1", times=4)
        assert said[0].startswith("READY=1\n")
        assert site.process_of(scheduler)  # registered before it is ready

        assert scheduler.stop() == 0
        assert "STOPPING=1" in ear.listen()
        ear.close()


@with_crontask
def test_the_tasks_of_the_site_and_a_heartbeat_are_loaded_or_not(site: Site) -> None:
    cron = {"ARGUS_MAINT_TEST_CRON_EVERY": "1"}
    cron["ARGUS_MAINT_TEST_SCHEDULER"] = "crontask"
    loads = site.lab.start("loads", "crontask", "--name=loads", **cron)
    bare = site.lab.start("bare", "crontask", "--no-task-loading", "--no-heartbeat", **cron)
    site.ready(loads, bare)
    assert "Loaded tasks from tests.scheduling." in loads.log
    assert "Scheduling heartbeat." in loads.log
    assert "Loaded" not in bare.log and "heartbeat" not in bare.log
    name, holder = (
        "@cron tests.scheduling.tasks.tidy0 cron[second='*/1']",
        site.process_of(loads).supervisor,
    )
    until(lambda: len(site.runs(name)) > 1, what="a @cron task")
    assert {run.process for run in site.runs(name)} == {holder}
    assert loads.stop() == bare.stop() == 0


@with_crontask
def test_under_the_command_of_django_crontask_our_jobs_run_too(site: Site) -> None:
    """Our app is listed after it, so its command has won."""
    site.job("a", EACH_SECOND)
    site.job("b", EACH_SECOND)
    scheduler = site.scheduler("theirs", "theirs")
    until(lambda: len(site.begun("a")) > 1 and len(site.begun("b")) > 1, 40, scheduler.log)
    assert "Loaded tasks from argus_maint." in scheduler.log
    assert Process.objects.filter(kind="scheduler").count() == 1
    scheduler.signal(signal.SIGTERM)
    assert scheduler.wait() == 0


def test_help_says_how_it_ends(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        load_command_class("argus_maint", "crontask").run_from_argv(["m", "crontask", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    for word in ("--no-task-loading", "--no-heartbeat", "--name", "20 seconds", "Exit status"):
        assert word in shown
    assert (end.value.code, "Starting" in shown) == (0, False)
