"""Schedulers that are stopped or killed: what they miss, what others take over."""

from __future__ import annotations

import os
import signal

import pytest
from django_tasks_db.models import DBTaskResult

from argus_maint.dbtime import db_now
from argus_maint.models import Process, Run
from tests.faults.conftest import hold
from tests.lab import until
from tests.scheduling.seconds import once
from tests.scheduling.site import CRONTASK, EACH_SECOND, Account, Site

with_crontask = pytest.mark.skipif(not CRONTASK, reason="needs django-crontask")


def ticks(site: Site, job: str) -> list[int]:
    return [int(run.tick.timestamp()) for run in site.runs(job) if run.tick is not None]


def test_who_was_stopped_alone_runs_the_newest_missed_tick_and_counts_the_others(
    site: Site,
) -> None:
    site.job("a", EACH_SECOND)
    scheduler = site.scheduler()
    until(lambda: len(site.begun("a")) >= 2, 60, scheduler.log)

    scheduler.signal(signal.SIGSTOP)
    hold(4.5)
    before_it = max(site.runs("a"), key=lambda run: run.pk).pk  # one may be late at the start
    scheduler.signal(signal.SIGCONT)

    late = until(lambda: Run.objects.filter(job="a", missed__gte=3, pk__gt=before_it).first())
    until(lambda: len(ticks(site, "a")) >= 5)
    assert scheduler.stop() == 0
    before = max(tick for tick in ticks(site, "a") if tick < late.tick.timestamp())
    assert late.tick.timestamp() - before == late.missed + 1
    assert (late.started_at - late.tick).total_seconds() < 2  # it was the newest
    assert len(site.begun("a")) == len(set(site.begun("a"))) == len(ticks(site, "a"))


@pytest.mark.parametrize("kind", ["plain", pytest.param("crontask", marks=with_crontask)])
def test_with_another_nothing_is_missed_and_nothing_is_run_twice_after_a_thaw(
    site: Site, kind: str
) -> None:
    """Stopped for longer than its lease, which was taken: no backlog, and a new row."""
    site.job("a", EACH_SECOND, options={"seconds": 0.1}, catch_up="all")
    cron = {"ARGUS_MAINT_TEST_CRON_EVERY": "1"}
    frozen, other = site.scheduler("frozen", kind, **cron), site.scheduler("other", kind, **cron)
    site.ready(frozen, other)
    until(lambda: len(site.begun("a")) >= 2)

    frozen.signal(signal.SIGSTOP)
    until(lambda: Process.objects.filter(name="frozen", state="ended"), 60, "its lease taken")
    frozen.signal(signal.SIGCONT)

    until(lambda: Process.objects.filter(name="frozen", state="alive"), 30, frozen.log)
    seen = len(site.begun("a"))
    until(lambda: len(site.begun("a")) >= seen + 2)
    assert frozen.stop() == other.stop() == 0
    account = Account(site, "a", min(ticks(site, "a")), max(ticks(site, "a")), 1)
    assert account.twice == []
    # What was claimed as its scheduler was told to end is left to the next one.
    told = account.lost + account.skipped + account.left
    assert [tick for tick in account.missed if tick not in told] == [], told
    if kind == "crontask":
        name = "@cron tests.scheduling.tasks.tidy0 cron[second='*/1']"
        claimed = ticks(site, name)
        done = Run.objects.filter(job=name, state__in=["done", "lost"]).count()
        assert sorted(set(claimed)) == claimed
        assert done - 1 <= DBTaskResult.objects.count() <= done


def test_after_a_kill_the_next_tick_is_run_by_another_at_its_time(site: Site) -> None:
    """Also where the run that is in its way was lost just now, and nobody has swept it up."""
    site.job("a", EACH_SECOND, options={"seconds": 0.6})
    site.lease(60)  # no beat, and so no sweep, comes to help
    pair = [site.scheduler(name) for name in ("one", "two")]
    site.ready(*pair)
    run = until(lambda: Run.objects.filter(state="running", job="a").first())
    victim = next(each for each in pair if site.process_of(each).supervisor == run.process)
    killed_at = db_now("default")
    os.kill(victim.pid, signal.SIGKILL)

    later = until(lambda: Run.objects.filter(job="a", pk__gt=run.pk, state="done").first())

    assert Run.objects.get(pk=run.pk).state == "lost"
    assert not Run.objects.filter(state="skipped", tick__gt=killed_at).exists()
    assert (later.started_at - later.tick).total_seconds() < 5
    assert later.process != run.process


def test_a_run_that_ends_within_the_grace_is_not_taken_over(site: Site) -> None:
    """Who was told to stop still has its lease, for as long as it waits for what it runs."""
    site.lease(3)
    site.job("again", once(), options={"seconds": 12}, on_lost="rerun")
    stopped = site.scheduler("stopped")
    site.ready(stopped)
    until(lambda: site.begun("again"), 40, stopped.log)
    other = site.scheduler("other")
    site.ready(other)
    assert stopped.stop() == 0
    run = Run.objects.get(job="again")
    assert (run.state, run.attempt, len(site.begun("again"))) == ("done", 1, 1)
    assert Process.objects.get(name="stopped").reason == "stopped"
    assert other.stop() == 0


def test_a_run_whose_scheduler_was_killed_is_run_again_on_its_host(site: Site) -> None:
    site.job("again", once(), options={"seconds": 1.5}, on_lost="rerun")
    site.job("told", once(), options={"seconds": 1.5}, on_lost="report")
    victim = site.scheduler("victim")
    site.ready(victim)
    until(lambda: site.begun("again") and site.begun("told"), 40, victim.log)
    other = site.scheduler("other")
    os.kill(victim.pid, signal.SIGKILL)

    until(lambda: Run.objects.filter(job="again", state="done", attempt=2), 30, other.log)

    assert len(site.begun("again")) == 2
    until(lambda: Run.objects.filter(job="told", state="lost"))
    assert len(site.begun("told")) == 1
    assert "job.lost" in other.log


@with_crontask
@pytest.mark.slow
def test_two_stock_schedulers_enqueue_everything_twice_and_two_of_ours_once(site: Site) -> None:
    """What the ledger is for."""
    cron = {"ARGUS_MAINT_TEST_CRON_EVERY": "2"}

    def enqueued(kind: str) -> list[int]:
        pair = [site.scheduler(f"{kind}{n}", kind, **cron) for n in range(2)]
        site.ready(*pair)
        DBTaskResult.objects.all().delete()
        hold(4.5)
        for each in pair:
            each.signal(signal.SIGTERM)
        for each in pair:
            assert each.wait() == 0
        moments = DBTaskResult.objects.values_list("enqueued_at", flat=True)
        seconds = [round(each.timestamp() / 2) for each in moments]
        return [seconds.count(each) for each in sorted(set(seconds))]

    theirs, ours = enqueued("stock"), enqueued("crontask")
    assert max(theirs) == 2
    assert set(ours) == {1}
    assert len(ours) >= 2
