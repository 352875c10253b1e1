"""Whose run is it? What keeps one from being lost, or run twice, between two processes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger
from django.core.management import call_command
from django.db import OperationalError, connection

from argus_maint.clock import now as monotonic
from argus_maint.conf_jobs import Job
from argus_maint.management.commands.crontask import _Eye
from argus_maint.models import Process, Run
from argus_maint.scheduling import executor, ledger
from argus_maint.scheduling.executor import ClaimingExecutor
from argus_maint.scheduling.ledger import Holder
from argus_maint.scheduling.member import Member
from argus_maint.scheduling.runner import Runner
from argus_maint.scheduling.trigger import TickTrigger
from argus_maint.ticks import UTC, Schedule
from argus_maint.workers.identity import this_host
from tests import rows
from tests.lab import until
from tests.scheduling.seconds import once, schedule

pytestmark = pytest.mark.django_db(transaction=True)
HOST = this_host()


class Host:
    """A process that runs jobs, and what it saw at each: the runs that looked lost."""

    def __init__(self) -> None:
        self.member = Member("default", "cron")
        self.runner = Runner("default", self.member, self.perform)
        self.seen: list[list[Run]] = []

    def perform(self, job: Job, run: Run) -> dict[str, Any]:
        self.seen.append(ledger.lost("default", HOST))
        return {}

    def freeze(self) -> None:
        """For longer than its lease, which others have taken."""
        assert self.member.beaten_at is not None
        self.member.beaten_at -= 100
        Process.objects.update(state="ended")


@pytest.fixture
def host() -> Iterator[Host]:
    made = Host()
    yield made
    made.member.sign_off(keep=False)


def due_once(**values: Any) -> Job:
    return Job("j", "a job", schedule(once()), **values)


def tick(minutes: int = 0) -> datetime:
    present = datetime.now(UTC).replace(second=0, microsecond=0)
    return present + timedelta(minutes=minutes)


def test_who_claims_is_registered_first(host: Host) -> None:
    """A scheduler fires before its loop has come to the first beat."""
    assert [run.state for run in host.runner.fire(due_once())] == ["done"]
    assert host.seen == [[]]


def test_who_claims_after_its_lease_was_taken_registers_anew_first(host: Host) -> None:
    host.member.register()
    host.freeze()
    assert [run.state for run in host.runner.fire(due_once())] == ["done"]
    assert host.seen == [[]]


@pytest.mark.parametrize("on_lost", ["rerun", "report"])
def test_a_run_is_not_begun_where_the_claim_outlasted_the_lease(
    host: Host, monkeypatch: pytest.MonkeyPatch, on_lost: str
) -> None:
    """Another may have it by then. Where nobody has, the process finds it at its next beat."""
    claim = ledger.claim

    def slow(*arguments: Any, **named: Any) -> Run | None:
        run = claim(*arguments, **named)
        host.freeze()
        return run

    monkeypatch.setattr(ledger, "claim", slow)
    job = due_once(on_lost=on_lost)
    assert host.runner.fire(job) == []
    assert host.seen == []

    host.member.beat()
    (run,) = host.runner.take_over({"j": job})
    assert (run.state, run.attempt, len(host.seen)) == ("done", 2, 1)


def test_an_end_is_written_when_the_database_is_back(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile the run is neither lost nor forgotten, and so not begun again."""
    outage, strays = [True, True], []
    transaction = ledger.short_transaction

    @contextlib.contextmanager
    def away(using: str, wait: float) -> Iterator[None]:
        if host.seen and outage:
            outage.pop()
            strays.append(host.runner.strays())
            raise OperationalError("the server has gone away")
        with transaction(using, wait):
            yield

    monkeypatch.setattr(ledger, "short_transaction", away)
    (run,) = host.runner.fire(due_once())
    assert (run.state, strays) == ("done", [[], []])
    assert Run.objects.get().state == "done"


def test_an_end_that_is_given_up_is_not_taken_for_a_claim_without_a_reply(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise OperationalError("the server has gone away")

    monkeypatch.setattr(ledger, "_through_outages", away)
    with pytest.raises(OperationalError):
        host.runner.fire(due_once())
    assert Run.objects.get().state == "running"
    assert host.runner.strays() == []


def test_a_lost_run_is_not_in_the_way_of_the_next_tick(host: Host) -> None:
    dead = rows.process("s", kind="scheduler", pid=rows.dead_pid())
    first = ledger.claim("j", tick(-1), Holder("cron", "here", dead.supervisor), "default")
    assert first is not None
    assert host.runner.claim("j", tick(), job=due_once()) is not None
    assert Run.objects.get(pk=first.pk).state == "lost"
    assert not Run.objects.filter(state="skipped").exists()


def test_a_tick_that_was_skipped_for_a_lost_run_is_made_up_for(host: Host) -> None:
    """Of a process far away it takes a lease to know, and the next tick has come by then."""
    until(lambda: datetime.now(UTC).second < 57, what="some seconds before the next minute")
    far = rows.process("far", kind="scheduler", host=rows.elsewhere(), silent=3600)
    each_minute = Job("j", "a job", Schedule("* * * * *", "UTC"))
    first = ledger.claim("j", tick(-1), Holder("cron", "far", far.supervisor), "default")
    assert first is not None
    assert host.runner.fire(each_minute) == []
    assert Run.objects.get(tick=ledger.to_column(tick())).state == "skipped"

    Process.objects.filter(pk=far.pk).update(state="ended")
    (run,) = host.runner.take_over({"j": each_minute})
    assert (run.pk, run.attempt, run.state) == (first.pk, 2, "done")


def test_what_is_lost_is_looked_up_by_an_index() -> None:
    """At each beat, and the table may hold the runs of months."""
    times = [tick(-n) for n in range(1, 4001)]
    made = (Run(job="j", tick=each, state="done", host="", started_at=each) for each in times)
    Run.objects.bulk_create(made, batch_size=1000)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE" + (" TABLE argus_maint_run" * (connection.vendor == "mysql")))
    plans = [
        ledger.under_way("default").filter(process__isnull=False).explain(),
        Run.objects.filter(job="j", tick__lte=times[0]).order_by("-tick").values("tick").explain(),
    ]
    for plan in plans:
        assert any(word in plan for word in ("SEARCH", "Index", " range ", " ref ")), plan
    for word in ("SCAN", "Seq Scan", " ALL "):
        assert word not in plans[0]


# -- the site's own scheduler ---------------------------------------------------------


def test_what_is_being_enqueued_at_a_beat_is_not_lost_and_holds_up_no_other(host: Host) -> None:
    first = host.runner.claim("@cron tidy", tick(-1))
    second = host.runner.claim("@cron tidy", tick())
    assert first is not None and second is not None
    assert host.runner.strays() == []
    host.runner.finish(first, "done", {}, "")
    host.runner.finish(second, "done", {}, "")
    assert not Run.objects.exclude(state="done", running=None).exists()


def fired(host: Host, when: datetime, grace: int | None = 3600) -> list[int]:
    """What a job of the site's scheduler does that is fired now for a tick."""
    calls: list[int] = []
    scheduler = BackgroundScheduler()
    trigger = CronTrigger(minute="*")
    job = scheduler.add_job(calls.append, trigger, args=[1], misfire_grace_time=grace, name="x")
    job._jobstore_alias = "default"
    pool = ClaimingExecutor(host.runner)
    pool.start(scheduler, "default")
    try:
        pool._run(job, [when])
    finally:
        pool.shutdown()
    return calls


def test_what_another_has_claimed_is_not_enqueued(host: Host) -> None:
    when = tick()
    assert fired(host, when) == [1]
    other = Host()
    assert fired(other, when) == []
    other.member.sign_off(keep=False)
    assert Run.objects.get().state == "done"


@pytest.mark.parametrize(
    ("grace", "state", "called"), [(3600, "done", [1]), (1, "skipped", []), (None, "done", [1])]
)
def test_one_that_is_fired_too_late_is_not_written_down_as_done(
    host: Host, grace: int | None, state: str, called: list[int]
) -> None:
    assert fired(host, datetime.now(UTC) - timedelta(minutes=5), grace) == called
    assert Run.objects.get().state == state


def test_schedulers_that_were_started_at_other_times_agree_on_the_tick_of_an_interval() -> None:
    when = datetime(2026, 3, 1, 12, 0, 47, tzinfo=UTC)
    trigger = IntervalTrigger(seconds=30)
    assert executor.tick_of(trigger, when) == when.replace(second=30)
    assert executor.tick_of(TickTrigger(Schedule("* * * * *", "UTC")), when) == when


def test_a_clock_that_is_set_right_by_years_has_no_ticks_counted() -> None:
    trigger = TickTrigger(Schedule("* * * * *", "UTC"))
    then, present = datetime(2016, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 0, 0, 30, tzinfo=UTC)
    assert trigger.get_next_fire_time(then, present) == present + timedelta(seconds=30)
    assert trigger.get_next_fire_time(present, present - timedelta(seconds=5)) > present


# -- who watches -------------------------------------------------------------------------


def test_a_glance_sees_who_holds_a_run_and_may_be_dead(host: Host) -> None:
    far = rows.process("far", kind="scheduler", host=rows.elsewhere())
    host.member.register()
    eye = _Eye(host.member)
    assert not eye.glance()
    assert ledger.claim("j", tick(), Holder("cron", "far", far.supervisor), "default")
    assert not eye.glance()
    Process.objects.filter(pk=far.pk).update(last_beat_at=rows.ago(60))
    assert eye.glance()
    # Since then its silence counts, and the next look tells when it will be proof.
    due = eye.look()
    assert due is not None and abs(due - monotonic() - far.lease) < 5
    far.delete()
    assert not eye.glance()


# -- no scheduler, only cron lines -----------------------------------------------------


def test_a_rescue_that_was_lost_with_its_host_is_found_by_the_cron_line_of_another(
    settings: Any,
) -> None:
    """It is the job that makes sure of the dead, so it must not be in its own way."""
    settings.ARGUS_MAINT = {"PROCESSES": {"lease": 1}}
    far = rows.process("far", kind="scheduler", host=rows.elsewhere(), silent=3600, lease=1.0)
    lost = ledger.claim("rescue", tick(-3), Holder("cron", "far", far.supervisor), "default")
    assert lost is not None

    call_command("maint", "run", "rescue", "--scheduled")

    assert Run.objects.get(pk=lost.pk).state == "lost"
    assert Run.objects.filter(job="rescue", state="done").exists()
    ended = SimpleNamespace(**Process.objects.values("state", "verdict").get(pk=far.pk))
    assert (ended.state, ended.verdict) == ("ended", "expired")
