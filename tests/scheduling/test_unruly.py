"""Jobs that misbehave: the others go on, and the scheduler ends when it is told to."""

from __future__ import annotations

import os
import signal
import uuid

import pytest
from django_tasks_db.models import DBTaskResult

from argus_maint.models import Process, Run
from tests import rows
from tests.lab import gone, until
from tests.scheduling.seconds import once
from tests.scheduling.site import EACH_SECOND, Site


def test_jobs_that_raise_leave_or_hang_hold_up_no_other_and_no_end(site: Site) -> None:
    site.patch(scheduling__driver__GRACE=1.5)
    site.job("fails", EACH_SECOND, "fail")
    site.job("leaves", EACH_SECOND, "leave")
    site.job("hangs", EACH_SECOND, "hang", options={"go": site.lab.path("go")}, time_limit=1)
    site.job("works", EACH_SECOND)
    scheduler = site.scheduler()
    until(lambda: len(site.begun("works")) >= 3, 60, scheduler.log)
    until(lambda: "job.overdue" in scheduler.log)
    beats = site.process_of(scheduler).beats
    until(lambda: site.process_of(scheduler).beats > beats + 1)

    assert scheduler.stop() == 0

    assert scheduler.log.count("job.overdue") == 1
    for name, error in (("fails", "ZeroDivisionError: as asked"), ("leaves", "SystemExit: 7")):
        ended = site.runs(name)
        assert len(ended) > 1
        assert {(run.state, run.error) for run in ended} == {("failed", error)}
    assert len(site.begun("hangs")) == 1
    assert "left=hangs" in scheduler.log
    assert site.runs("hangs")[0].state == "running"  # another will find it lost


def test_jobs_that_hang_in_every_thread_keep_no_task_from_being_rescued(site: Site) -> None:
    """More than the threads of both pools: the look at who is dead needs none of them."""
    site.patch(scheduling__driver__GRACE=0.5)
    for n in range(24):
        site.job(f"hangs{n}", EACH_SECOND, "hang", options={"go": site.lab.path("go")})
    site.job("works", EACH_SECOND)
    site.fresh(*site.jobs_set)
    scheduler = site.scheduler()
    until(lambda: len(site.lab.lines("out")) >= 20, 60, scheduler.log)
    task = rows.lost()

    site.lab.until_status(task, "READY")

    assert scheduler.stop() == 0


def test_a_slow_job_does_not_hold_up_one_that_is_due_with_it(site: Site) -> None:
    site.job("slow", once(), "hang", options={"go": site.lab.path("go")})
    site.job("quick", once())
    scheduler = site.scheduler()
    until(lambda: site.begun("slow") and site.begun("quick"), 40, scheduler.log)
    until(lambda: Run.objects.filter(job="quick", state="done"))
    assert site.runs("slow")[0].state == "running"
    site.lab.folder.joinpath("go").touch()
    until(lambda: Run.objects.filter(job="slow", state="done"))


@pytest.mark.slow  # a limit that a busy machine's command has begun before
def test_a_command_past_its_time_limit_is_ended_with_all_that_it_started(site: Site) -> None:
    site.patch(jobs__performing__GRACE=0.5)
    site.command("c", once(), time_limit=15)
    scheduler = site.scheduler()
    (line,) = until(lambda: site.lab.lines("out"), 40, scheduler.log)
    pids = [int(word) for word in line.split()[1:]]
    until(lambda: all(map(gone, pids)), 20, scheduler.log)
    run = until(lambda: Run.objects.filter(state="failed").first())
    assert run.error == "chore was ended at its time limit, 15 s"


def test_a_command_does_not_outlive_the_scheduler_that_is_killed(site: Site) -> None:
    """Else it would run beside the one that is started for it or for the next tick."""
    site.command("c", once())
    scheduler = site.scheduler()
    (line,) = until(lambda: site.lab.lines("out"), 40, scheduler.log)
    pid, child = (int(word) for word in line.split()[1:])
    try:
        os.kill(scheduler.pid, signal.SIGKILL)
        until(lambda: gone(pid))
    finally:
        os.kill(child, signal.SIGKILL)  # what it has started is its own matter


def test_a_long_prune_stops_at_sigterm_and_is_taken_over(site: Site) -> None:
    site.ours("prune", once(), options={"duty": 0.01})
    one = rows.task("SUCCESSFUL", age=100 * 86400)
    values = {field.attname: getattr(one, field.attname) for field in one._meta.fields}
    DBTaskResult.objects.bulk_create(
        DBTaskResult(**{**values, "id": uuid.uuid4()}) for _ in range(3000)
    )
    first = site.scheduler("first")
    until(lambda: DBTaskResult.objects.count() < 3000, 60, first.log)

    first.signal(signal.SIGTERM)
    assert first.wait(15) == 0

    assert DBTaskResult.objects.exists(), "it was over before it was told to stop"
    run = Run.objects.get(job="prune")
    assert run.state == "running"
    assert "left=prune" not in first.log
    second = site.scheduler("second")
    again = until(lambda: Run.objects.filter(job="prune", attempt=2).first(), 40, second.log)
    assert again.pk == run.pk
    assert Process.objects.get(name="second").supervisor == again.process
