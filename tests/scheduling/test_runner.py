"""What a process that runs jobs does: claims, does, writes down, takes over."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from argus_maint.conf_jobs import Job
from argus_maint.exceptions import JobError, JobStopped, Overlap
from argus_maint.models import Process, Run
from argus_maint.scheduling import ledger
from argus_maint.scheduling.ledger import Holder
from argus_maint.scheduling.member import Member
from argus_maint.scheduling.runner import Runner
from argus_maint.ticks import parse_schedule
from tests import rows
from tests.scheduling.seconds import every_second

pytestmark = pytest.mark.django_db(transaction=True)


class Site:
    """A runner, and what its jobs were called with."""

    def __init__(self, member: Member) -> None:
        self.member, self.calls = member, []
        self.outcome: Any = {"n": 1}
        self.runner = Runner("default", member, self.perform)

    def perform(self, job: Job, run: Run) -> dict[str, Any]:
        self.calls.append((job.name, ledger.aware(run.tick)))
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return dict(self.outcome)


@pytest.fixture
def site() -> Iterator[Site]:
    member = Member("default", "cron")
    with member.beating():
        yield Site(member)


def job(expression: str = "* * * * *", **values: Any) -> Job:
    return Job("j", "a job", parse_schedule(expression, "UTC"), **values)


def now() -> datetime:
    return ledger.utc_now("default")


def ran(tick: datetime) -> None:
    rows.ran("j", tick)


def newest() -> Run:
    run = Run.objects.order_by("-pk").first()
    assert run is not None
    return run


def test_a_tick_that_is_due_is_run_once_and_written_down(site: Site) -> None:
    ran(job().schedule.latest(now()) - timedelta(minutes=1))
    (run,) = site.runner.fire(job())
    assert site.runner.fire(job()) == [] or now().second < 5  # a minute may have begun
    assert (run.state, run.report, run.driver) == ("done", {"n": 1}, "cron")
    assert newest().finished_at is not None
    assert newest().process == site.member.process
    assert site.runner.under_way == {}


def test_missed_ticks_are_counted_on_the_run_that_makes_up_for_them(site: Site) -> None:
    daily = job(f"{now():%M} {now():%H} * * *")
    ran(daily.schedule.latest(now()) - timedelta(days=4))
    (run,) = site.runner.fire(daily)
    assert run.missed == 3
    assert len(site.calls) == 1


def test_all_missed_ticks_are_run_in_their_order_where_a_job_wants_it(site: Site) -> None:
    daily = job(f"{now():%M} {now():%H} * * *", catch_up="all")
    last = daily.schedule.latest(now())
    ran(last - timedelta(days=3))
    assert [run.state for run in site.runner.fire(daily)] == ["done"] * 3
    assert [tick for _, tick in site.calls] == [last - timedelta(days=n) for n in (2, 1, 0)]


def test_a_job_that_is_switched_off_is_not_run_for_what_it_missed_meanwhile(site: Site) -> None:
    daily = job(f"{now():%M} {now():%H} * * *", enabled=False)
    ran(daily.schedule.latest(now()) - timedelta(days=3))
    assert site.runner.fire(daily) == []
    assert newest().report == {"why": "disabled"}
    assert site.runner.fire(job(daily.schedule.expression)) == []
    assert site.calls == []


def test_a_tick_that_is_too_late_to_be_run_says_so(site: Site) -> None:
    last = now() - timedelta(minutes=30)
    daily = job(f"{last:%M} {last:%H} * * *", catch_up="skip")
    ran(daily.schedule.latest(now()) - timedelta(days=1))
    assert site.runner.fire(daily) == []
    assert (newest().state, newest().report) == ("skipped", {"why": "late"})


@pytest.mark.parametrize(
    ("outcome", "error", "report"),
    [
        (JobError("two rows could not go", {"rows": 5}), "two rows could not go", {"rows": 5}),
        (ZeroDivisionError("oh"), "ZeroDivisionError: oh", {}),
        (SystemExit(3), "SystemExit: 3", {}),
    ],
)
def test_a_job_that_fails_is_written_down_with_its_error(
    site: Site, outcome: BaseException, error: str, report: dict[str, Any]
) -> None:
    site.outcome = outcome
    run = site.runner.by_hand(job())
    assert (run.state, run.error, run.report) == ("failed", error, report)
    assert newest().running is None


def test_what_an_interrupt_ends_has_failed(site: Site) -> None:
    site.outcome = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        site.runner.by_hand(job())
    assert (newest().state, newest().error) == ("failed", "interrupted")


def test_a_report_that_json_cannot_hold_is_kept_as_text(site: Site) -> None:
    site.outcome = {"when": now(), "what": {1, 2}}
    assert site.runner.by_hand(job()).state == "done"
    assert newest().report["what"] == "{1, 2}"


def test_a_job_by_hand_does_not_run_beside_itself(site: Site) -> None:
    other = rows.process("s", kind="scheduler")
    assert ledger.claim("j", None, Holder("hand", "here", other.supervisor), "default")
    with pytest.raises(Overlap):
        site.runner.by_hand(job())
    assert site.calls == []


def test_a_run_whose_process_is_dead_is_run_again(site: Site) -> None:
    dead = rows.process("s", kind="scheduler", pid=rows.dead_pid())
    tick = job().schedule.latest(now())
    assert ledger.claim("j", tick, Holder("cron", "here", dead.supervisor), "default")
    yearly = job(f"{tick:%M} {tick:%H} {tick:%d} {tick:%m} *")
    (run,) = site.runner.take_over({"j": yearly})
    assert (run.state, run.attempt) == ("done", 2)
    assert site.calls == [("j", tick)]
    assert site.runner.take_over({"j": yearly}) == []


def test_a_job_that_was_told_to_stop_leaves_its_tick_to_others(site: Site) -> None:
    daily = job(f"{now():%M} {now():%H} * * *")
    ran(daily.schedule.latest(now()) - timedelta(days=1))
    site.outcome = JobStopped()
    site.runner.fire(daily)
    assert newest().state == "running"
    site.member.sign_off(keep=True)

    other = Member("default", "crontask")
    with other.beating():
        there = Site(other)
        (run,) = there.runner.take_over({"j": daily})
    assert (run.state, run.attempt) == ("done", 2)


def test_a_claim_whose_reply_was_lost_is_found_by_the_process_itself(site: Site) -> None:
    daily = job(f"{now():%M} {now():%H} * * *")
    tick = daily.schedule.latest(now())
    assert ledger.claim("j", tick, site.member.holder, "default")  # and nobody began it
    (run,) = site.runner.take_over({"j": daily})
    assert (run.state, run.attempt) == ("done", 2)


def test_a_run_that_was_taken_over_meanwhile_does_not_count(site: Site) -> None:
    def perform(job: Job, run: Run) -> dict[str, Any]:
        Run.objects.filter(pk=run.pk).update(attempt=2, process=rows.uuid.uuid4())
        return {}

    site.runner.perform = perform
    run = site.runner.by_hand(job())
    assert run.state == "lost"
    assert newest().state == "running"


def test_who_fires_a_little_early_waits_for_the_clock_of_the_database(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host whose clock is a second ahead of the database's."""
    each_second = Job("j", "a job", every_second())
    before = now().replace(microsecond=0)
    ran(before - timedelta(seconds=2))
    utc_now = ledger.utc_now
    monkeypatch.setattr(ledger, "utc_now", lambda using: utc_now(using) - timedelta(seconds=1))
    assert site.runner.fire(each_second)
    assert site.calls[-1][1] >= before


def test_a_command_that_ends_well_leaves_no_process_behind() -> None:
    member = Member("default", "cron")
    with member.beating():
        assert Process.objects.get().kind == "scheduler"
    assert not Process.objects.exists()


def test_a_process_whose_lease_was_taken_registers_anew(site: Site) -> None:
    Process.objects.update(state="ended")
    site.member.beat()
    living = Process.objects.get(state="alive")
    assert living.supervisor == site.member.process
    assert living.worker_id.endswith("-1")
