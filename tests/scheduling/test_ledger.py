"""One row a job and tick: who gets it, and what becomes of it when its process dies."""

from __future__ import annotations

import threading
import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connections

from argus_maint.conf_jobs import Job
from argus_maint.exceptions import Overlap
from argus_maint.models import Process, Run
from argus_maint.scheduling import ledger
from argus_maint.scheduling.ledger import Holder
from argus_maint.ticks import UTC, parse_schedule
from argus_maint.workers.identity import this_host
from tests import rows

pytestmark = pytest.mark.django_db(transaction=True)
HOST = this_host()


def holder(process: uuid.UUID | None = None) -> Holder:
    return Holder("crontask", "here", process or uuid.uuid4())


def of_living() -> Holder:
    return holder(rows.process("s", kind="scheduler").supervisor)


def of_dead() -> Holder:
    return holder(rows.process("s", kind="scheduler", pid=rows.dead_pid()).supervisor)


def tick(minutes: int = 0) -> datetime:
    present = datetime.now(UTC).replace(second=0, microsecond=0)
    return present + timedelta(minutes=minutes)


def job(expression: str = "0 0 1 1 *", **values: Any) -> Job:
    return Job("j", "a job", parse_schedule(expression, "UTC"), **values)


def claimed(by: Holder, when: datetime | None = None) -> Run:
    run = ledger.claim("j", when or tick(), by, "default")
    assert run is not None
    return run


def states() -> list[str]:
    return list(Run.objects.order_by("pk").values_list("state", flat=True))


def test_of_many_who_claim_at_once_one_gets_the_tick() -> None:
    when, won = tick(), []
    start = threading.Barrier(6)

    def claim() -> None:
        start.wait()
        try:
            won.append(ledger.claim("j", when, holder(), "default"))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=claim) for _ in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(won) == 6
    assert len([run for run in won if run is not None]) == 1
    assert Run.objects.count() == 1


def test_a_job_does_not_overlap_itself_and_the_tick_that_came_then_is_noted() -> None:
    first = claimed(of_living(), tick(-1))
    assert ledger.claim("j", tick(), holder(), "default") is None
    assert states() == ["running", "skipped"]
    skipped = Run.objects.get(state="skipped")
    assert skipped.report == {"why": "overlap", "run": first.pk}
    with pytest.raises(Overlap, match="j is running on here since"):
        ledger.claim("j", None, holder(), "default")

    assert ledger.finish(first, "done", {"rows": 1}, "", "default")
    assert ledger.claim("j", tick(), holder(), "default") is None  # passed by for good
    assert ledger.claim("j", tick(1), holder(), "default") is not None


def test_a_finish_is_accepted_from_the_attempt_that_owns_the_run_alone() -> None:
    frozen = claimed(of_dead())
    (lost,) = ledger.lost("default", HOST)
    again = ledger.settle(lost, job(), of_living(), "default")
    assert again is not None
    assert (again.attempt, again.state) == (2, "running")

    assert not ledger.finish(frozen, "failed", {}, "late", "default")
    assert Run.objects.get().state == "running"
    assert ledger.finish(again, "done", {}, "", "default")
    assert ledger.finish(again, "done", {}, "", "default")  # its reply was lost: still done
    assert states() == ["done"]


def test_what_is_lost_is_known_by_its_process() -> None:
    claimed(of_living())
    assert ledger.lost("default", HOST) == []
    Process.objects.update(state="ended")
    assert [run.job for run in ledger.lost("default", HOST)] == ["j"]
    Process.objects.all().delete()
    assert [run.job for run in ledger.lost("default", HOST)] == ["j"]


def test_a_process_that_is_gone_from_this_host_is_dead_at_once() -> None:
    claimed(of_dead())
    assert len(ledger.lost("default", HOST)) == 1
    assert Process.objects.get().state == "ended"


def test_a_process_of_another_host_is_alive_until_somebody_has_made_sure() -> None:
    far = rows.process("far", kind="scheduler", host=rows.elsewhere(), silent=3600)
    claimed(holder(far.supervisor))
    assert ledger.lost("default", HOST) == []


@pytest.mark.parametrize(
    "given",
    [
        None,
        job(on_lost="report"),
        job(enabled=False),
        job("* * * * *"),  # the next tick has come meanwhile
    ],
)
def test_a_lost_run_that_is_not_to_run_again_is_told_and_makes_room(given: Job | None) -> None:
    claimed(of_dead(), tick(-1))
    (lost,) = ledger.lost("default", HOST)
    assert ledger.settle(lost, given, holder(), "default") is None
    row = Run.objects.get()
    assert (row.state, row.running) == ("lost", None)
    assert row.finished_at is not None


def test_a_run_that_kills_whoever_takes_it_over_is_left_in_the_end() -> None:
    claimed(of_dead())
    for attempt in range(2, ledger.MOST_ATTEMPTS + 1):
        (lost,) = ledger.lost("default", HOST)
        again = ledger.settle(lost, job(), of_dead(), "default")
        assert again is not None
        assert again.attempt == attempt
        Process.objects.filter(state="ended").delete()  # their names are the same
    (lost,) = ledger.lost("default", HOST)
    assert ledger.settle(lost, job(), of_living(), "default") is None
    assert states() == ["lost"]


def test_of_two_who_find_a_lost_run_one_takes_it_over() -> None:
    claimed(of_dead())
    (lost,) = ledger.lost("default", HOST)
    assert ledger.settle(lost, job(), of_living(), "default") is not None
    assert ledger.settle(lost, job(), of_living(), "default") is None
    assert Run.objects.get().attempt == 2


def test_ticks_that_are_passed_over_leave_one_row() -> None:
    for minute in range(-5, 0):
        ledger.pass_over("j", tick(minute), holder(), "default", "disabled")
    (row,) = Run.objects.all()
    assert ledger.aware(row.tick) == tick(-1)
    assert ledger.last_tick("j", "default", tick()) == tick(-1)


def test_the_last_tick_is_not_one_of_the_future() -> None:
    claimed(holder(), tick(-2))
    Run.objects.update(running=None)
    claimed(holder(), tick(600))
    assert ledger.last_tick("j", "default", tick()) == tick(-2)
