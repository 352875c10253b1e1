"""What comes in between: two who act at one moment, and jobs that leave a mess behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from apscheduler.triggers.cron import CronTrigger
from django.db import OperationalError, ProgrammingError, connection, transaction
from django.test import override_settings
from django_tasks_db.models import TaskResultStatus

from argus_maint.conf_jobs import Job
from argus_maint.exceptions import HandedOver, JobError
from argus_maint.jobs import expiry, performing
from argus_maint.models import Run
from argus_maint.scheduling import executor, ledger
from argus_maint.scheduling.ledger import Holder
from argus_maint.scheduling.member import Member
from argus_maint.scheduling.runner import Runner
from argus_maint.workers import registry
from argus_maint.workers.identity import this_host
from tests import rows
from tests.lab import Lab, until
from tests.scheduling.seconds import schedule
from tests.scheduling.test_claims import Host, due_once, fired, tick

pytestmark = pytest.mark.django_db(transaction=True)
HOST = this_host()


@pytest.fixture
def host() -> Iterator[Host]:
    made = Host()
    yield made
    made.member.sign_off(keep=False)


def holder() -> Holder:
    return Holder("cron", "here", rows.uuid.uuid4())


def newest() -> Run:
    run = Run.objects.order_by("-pk").first()
    assert run is not None
    return run


# -- a worker that is quicker than the scheduler ------------------------------------------


def test_a_run_that_a_worker_takes_before_it_was_handed_over_is_not_lost(lab: Lab) -> None:
    """Its task is in the queue before the scheduler has said so, and workers wait for it."""
    from argus_maint.jobs.on_worker import run_job

    scheduler, task = holder(), rows.task("RUNNING", workers=("w",))
    run = ledger.claim("history", tick(), scheduler, "default")
    assert run is not None
    seen: list[list[Run]] = []

    def perform(job: Job, run: Run) -> dict[str, Any]:
        seen.append(ledger.lost("default", HOST))
        ledger.hand_over(claimed, str(task.pk), "default")  # too late
        seen.append(ledger.lost("default", HOST))
        return {}

    def runner_of(member: Member) -> Runner:
        return Runner(member.using, member, perform)

    claimed = run
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("argus_maint.jobs.on_worker.runner_of", runner_of)
        context = SimpleNamespace(task_result=SimpleNamespace(id=str(task.pk)))
        given = (context,) if run_job.takes_context else ()
        assert run_job.func(*given, "history", run.pk, 1) == "done"
    assert seen == [[], []]
    assert newest().state == "done"


FRAMEWORK = TaskResultStatus.__module__.rpartition(".")[0]  # or its backport
OTHER = {
    "default": {"BACKEND": f"{FRAMEWORK}.backends.dummy.DummyBackend"},
    "db": {"BACKEND": "django_tasks_db.DatabaseBackend", "QUEUES": []},
}


def test_a_run_goes_into_the_queue_of_the_database_whatever_the_default_is(lab: Lab) -> None:
    """Of any other nothing can be looked up: it would be lost, and be put in again and again."""
    member = Member("default", "cron")
    job = due_once(run_on="worker")
    with override_settings(TASKS=OTHER), member.beating():
        (run,) = performing.runner_of(member).fire(job)
        assert [task.backend_name for task in rows.DBTaskResult.objects.all()] == ["db"]
        assert ledger.lost("default", HOST) == []
    assert (newest().pk, newest().state, newest().attempt) == (run.pk, "running", 1)


@override_settings(TASKS={"default": OTHER["default"]})
def test_without_such_a_queue_it_says_so(host: Host) -> None:
    job = due_once(run_on="worker")
    host.runner.perform = performing.runner_of(host.runner.member).perform
    (run,) = host.runner.fire(job)
    assert (run.state, run.error) == ("failed", "no backend of TASKS is a database backend")


# -- what a job leaves behind -----------------------------------------------------------


def leave_autocommit_off() -> None:
    transaction.set_autocommit(False)
    Run.objects.exists()


def leave_a_block_open() -> None:
    transaction.atomic().__enter__()


def leave_a_transaction_open() -> None:
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT 1")


@pytest.mark.parametrize(
    "leave", [leave_autocommit_off, leave_a_block_open, leave_a_transaction_open]
)
def test_a_job_that_leaves_a_transaction_open_takes_no_end_with_it(host: Host, leave: Any) -> None:
    """The end would be rolled back with what the job left, and the tick be run at each beat."""

    def perform(job: Job, run: Run) -> dict[str, Any]:
        leave()
        return {"n": 1}

    host.runner.perform = perform
    try:
        (run,) = host.runner.fire(due_once(on_lost="report"))
        assert run.state == "done"
    finally:
        ledger.discard("default")  # as a thread of the scheduler does when it is done
    assert host.runner.strays() == []
    assert (newest().state, newest().report) == ("done", {"n": 1})


def test_the_transaction_of_who_runs_a_job_by_hand_stays(host: Host) -> None:
    host.member.register()
    with transaction.atomic():
        run = host.runner.by_hand(due_once())
        transaction.set_rollback(True)
    assert run.state == "done"
    assert not Run.objects.exists()


@pytest.mark.parametrize("text", ["nul \0 byte", "half \ud83d a pair", "\U0001f40d"])
def test_whatever_a_job_says_its_end_is_written(host: Host, text: str) -> None:
    """A run whose end no database takes would be under way, and in the way, for ever."""

    def perform(job: Job, run: Run) -> dict[str, Any]:
        raise JobError(text, {text: [text, {"n": float("nan")}]})

    host.runner.perform = perform
    (run,) = host.runner.fire(due_once())
    assert (run.state, host.runner.under_way) == ("failed", {})
    assert (newest().state, newest().running) == ("failed", None)
    assert newest().error[:4] == text[:4] or text > "\uffff"


def test_the_end_of_what_a_job_forked_is_not_the_end_of_the_run(
    host: Host, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child that was to leave with os._exit and raised instead."""

    def perform(job: Job, run: Run) -> dict[str, Any]:
        child = os.fork()
        if not child:
            raise ZeroDivisionError
        _, status = os.waitpid(child, 0)
        return {"child": os.waitstatus_to_exitcode(status)}

    def never(*_: Any, **__: Any) -> Any:
        os._exit(99)

    host.runner.perform = perform
    parent, finish = os.getpid(), ledger.finish
    monkeypatch.setattr(
        ledger, "finish", lambda *given: (finish if os.getpid() == parent else never)(*given)
    )
    (run,) = host.runner.fire(due_once())
    assert (run.state, run.report) == ("done", {"child": 1})


# -- the site's own scheduler --------------------------------------------------------------


def test_a_tick_of_the_site_whose_claim_got_no_reply_is_enqueued(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor, "PAUSE", 0.01)
    claim, faults = ledger.claim, [True]

    def without_reply(*given: Any, **named: Any) -> Run | None:
        run = claim(*given, **named)
        if faults and faults.pop():
            raise OperationalError("server closed the connection unexpectedly")
        return run

    monkeypatch.setattr(ledger, "claim", without_reply)
    assert fired(host, tick()) == [1]
    assert (newest().state, Run.objects.count()) == ("done", 1)


def test_nobody_else_takes_a_tick_of_the_site_for_his_own(host: Host) -> None:
    assert ledger.claim(name(args=(1,)), tick(), holder(), "default", 0, False) is not None
    assert fired(host, tick()) == []


def test_a_tick_of_the_site_whose_claim_took_long_is_enqueued(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else would: what was claimed once is never enqueued by another."""
    claim = ledger.claim

    def slow(*given: Any, **named: Any) -> Run | None:
        run = claim(*given, **named)
        host.freeze()
        return run

    monkeypatch.setattr(ledger, "claim", slow)
    assert fired(host, tick()) == [1]


def test_who_is_about_to_go_claims_nothing(host: Host) -> None:
    """What it claimed and did not begin would be told as lost."""
    host.runner.stop.set()
    assert fired(host, tick()) == []
    assert host.runner.fire(due_once(on_lost="report")) == []
    assert not Run.objects.exists()


def test_a_claim_in_the_moment_of_going_is_given_back(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = ledger.claim

    def late(*given: Any, **named: Any) -> Run | None:
        run = claim(*given, **named)
        host.runner.stop.set()
        return run

    job = due_once(on_lost="report")
    monkeypatch.setattr(ledger, "claim", late)
    assert host.runner.fire(job) == []
    monkeypatch.setattr(ledger, "claim", claim)
    other = Host()
    assert [run.state for run in other.runner.fire(job)] == ["done"]
    other.member.sign_off(keep=False)


def test_ticks_that_are_to_be_made_up_for_wait_for_the_next_process(host: Host) -> None:
    """With ``catch_up: "all"``: those after the one that was stopped are not passed by."""
    from argus_maint.exceptions import JobStopped

    def perform(job: Job, run: Run) -> dict[str, Any]:
        host.runner.stop.set()
        raise JobStopped

    host.runner.perform = perform
    job = Job("j", "a job", schedule("3600s"), catch_up="all")
    newest_tick = job.schedule.latest(ledger.utc_now("default"))
    first = ledger.claim("j", newest_tick - timedelta(hours=4), holder(), "default")
    assert first is not None
    ledger.finish(first, "done", {}, "", "default")
    host.runner.fire(job)
    assert not Run.objects.filter(state="skipped").exists()


def name(path: str = "x", expression: str = "* * * * *", **more: Any) -> str:
    """What a scheduler calls a job of the site."""
    trigger = CronTrigger.from_crontab(expression) if path != "x" else CronTrigger(minute="*")
    task = SimpleNamespace(module_path=path, enqueue=None)
    bound = SimpleNamespace(__self__=task if "." in path else None)
    given = {"args": (), "kwargs": {}, **more}
    job = SimpleNamespace(name=path.rpartition(".")[2], func=bound, trigger=trigger, **given)
    return executor.name_of(job)


def test_jobs_of_the_site_have_names_of_their_own() -> None:
    """Of two with one name the ledger would give a tick to one, and the other never run."""
    long = f"shop.{'x' * 90}.tasks.tidy"
    names = [
        name("shop.tasks.tidy"),
        name("blog.tasks.tidy"),
        name("blog.tasks.tidy", args=(1,)),
        name("blog.tasks.tidy", args=(2,)),
        name(long, "0 5 * * *"),
        name(long, "0,30 5 * * *"),
        name(f"{long}_more", "0 5 * * *"),
        name("blog.tasks.Tidy"),
        name("blog.tasks.t\u00efdy"),
    ]
    assert len(set(names)) == len(names)
    claims = [ledger.claim(each, tick(), holder(), "default", 0, False) for each in names]
    assert None not in claims


# -- passing over, and the history -------------------------------------------------------------


def test_a_tick_that_another_claims_while_it_is_passed_over_is_his(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two hosts whose settings differ for a while."""
    ledger.pass_over("j", tick(-2), holder(), "default", "disabled")
    write = ledger.short_transaction

    def meanwhile(*given: Any) -> Any:
        monkeypatch.undo()
        assert ledger.claim("j", tick(-1), holder(), "default")
        return write(*given)

    monkeypatch.setattr(ledger, "short_transaction", meanwhile)
    ledger.pass_over("j", tick(-1), holder(), "default", "disabled")
    states = dict(Run.objects.values_list("state", "tick"))
    assert {state: ledger.aware(at) for state, at in states.items()} == {
        "skipped": tick(-2),
        "running": tick(-1),
    }


def test_who_passes_over_late_does_not_put_the_row_back(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.pass_over("j", tick(-3), holder(), "default", "disabled")
    write = ledger.short_transaction

    def meanwhile(*given: Any) -> Any:
        Run.objects.update(tick=ledger.to_column(tick(-1)))
        return write(*given)

    monkeypatch.setattr(ledger, "short_transaction", meanwhile)
    ledger.pass_over("j", tick(-2), holder(), "default", "disabled")
    monkeypatch.undo()
    assert ledger.last_tick("j", "default", tick()) == tick(-1)


def test_a_clock_of_the_database_that_was_set_repeats_no_tick_and_stops_none(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ticks of an hour that comes again have been; what was ahead of it is in no way."""
    job, start = Job("j", "a job", schedule("60s")), ledger.utc_now("default")
    ran: list[Any] = []

    def fire(*minutes: int) -> None:
        for offset in minutes:
            moved = timedelta(minutes=offset)
            monkeypatch.setattr(ledger, "utc_now", lambda using, by=moved: start + by)
            ran.extend(ledger.aware(run.tick) for run in host.runner.fire(job))

    fire(200, 201, 202)
    before = len(ran)
    fire(141, 142)  # an hour back: ahead of all the others of this minute
    fire(143)
    fire(200, 201, 202)
    assert before == 3
    assert len(ran) == len(set(ran)) == 6
    fire(203, 204)
    assert len(ran) == len(set(ran)) >= 7


@pytest.mark.parametrize("handed", [False, True])
def test_ticks_that_are_made_up_for_are_not_passed_by_because_another_is_at_it(
    host: Host, handed: bool
) -> None:
    """Of all that were missed the first is run, or waits for a worker; then comes the next."""
    other, ran, task = Host(), list[Any](), rows.task("READY")
    job = Job("j", "a job", schedule("3600s"), catch_up="all")
    at = job.schedule.latest(ledger.utc_now("default")) - timedelta(hours=4)
    ledger.pass_over("j", at, holder(), "default", "disabled")

    def perform(job: Job, run: Run) -> dict[str, Any]:
        ran.append(run.tick)
        assert other.runner.fire(job) == []
        if handed:
            raise HandedOver(str(task.pk))
        return {}

    host.runner.perform = perform
    host.runner.fire(job)
    while handed and newest().state == "running":
        assert host.runner.fire(job) == other.runner.fire(job) == []
        Run.objects.filter(state="running").update(state="done", running=None)
        host.runner.fire(job)
    other.member.sign_off(keep=False)
    assert ran == sorted(set(ran)) and len(ran) == 4
    assert Run.objects.filter(state="skipped").count() == 1  # the one before


def test_who_looked_before_another_claimed_passes_nothing_by(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job("j", "a job", schedule("3600s"), catch_up="all")
    first = job.schedule.latest(ledger.utc_now("default")) - timedelta(hours=3)
    ledger.pass_over("j", first, holder(), "default", "disabled")
    what, living = host.runner.look(job), rows.process("s", kind="scheduler").supervisor
    monkeypatch.setattr(host.runner, "look", lambda job: what)
    assert ledger.claim("j", what.ticks[0], Holder("cron", "here", living), "default")
    assert host.runner.fire(job) == []
    assert Run.objects.count() == 2


@pytest.mark.parametrize("error", [JobError("oh"), ZeroDivisionError(), SystemExit(1)])
def test_one_of_the_ticks_that_are_made_up_for_may_fail(host: Host, error: BaseException) -> None:
    def perform(job: Job, run: Run) -> dict[str, Any]:
        raise error

    job = Job("j", "a job", schedule("3600s"), catch_up="all")
    at = job.schedule.latest(ledger.utc_now("default")) - timedelta(hours=3)
    ledger.pass_over("j", at, holder(), "default", "disabled")
    host.runner.perform = perform
    assert [run.state for run in host.runner.fire(job)] == ["failed"] * 3
    assert host.runner.fire(job) == []


def of_days_ago(days: int, job: str = "j") -> Run:
    at = ledger.to_column(tick(-1440 * days))
    return Run.objects.create(
        job=job, tick=at, state="done", driver="cron", host="", started_at=rows.ago(86400 * days)
    )


def test_the_newest_tick_stays_beside_one_of_a_clock_that_was_ahead() -> None:
    """Else a job that is due each month would be taken for a new one."""
    of_days_ago(90)
    kept, ahead = of_days_ago(60), of_days_ago(-400)
    Run.objects.filter(pk=ahead.pk).update(started_at=rows.ago(86400 * 50))
    *_, runs = expiry.own_steps("default")
    assert runs.condition.params == (kept.pk,)


# -- who beats, and what nobody knows any more -------------------------------------------------


def test_a_beat_that_fails_in_any_way_is_not_the_last(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without beats the run would be taken for lost while it goes on."""
    host.member.beat_every = 0.05
    beat, calls = registry.beat, []

    def once(*given: Any) -> int:
        calls.append(1)
        if len(calls) == 1:
            raise ProgrammingError("commands out of sync")
        return beat(*given)

    monkeypatch.setattr(registry, "beat", once)
    with host.member.beating():
        until(lambda: len(calls) > 2, 5)


def test_a_run_of_a_job_that_is_no_more_comes_to_an_end_by_a_cron_line(lab: Lab) -> None:
    dead = rows.process("s", kind="scheduler", pid=rows.dead_pid())
    gone = ledger.claim("old", tick(-3), Holder("cron", "here", dead.supervisor), "default")
    assert gone is not None
    lab.manage("maint", "tick", check=False)
    assert Run.objects.get(pk=gone.pk).state == "lost"
