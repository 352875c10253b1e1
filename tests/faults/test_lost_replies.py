"""The database did it, and nobody was told: replies lost between a worker and its server."""

from __future__ import annotations

import itertools
import os
from datetime import timedelta

import pytest
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from tests import tasks
from tests.faults.conftest import servers, through
from tests.faults.evidence import acts, announced, deaths, runs, undisturbed
from tests.faults.proxy import Proxy
from tests.lab import Lab, until

TABLE = "UPDATE .django_tasks_database_dbtaskresult. SET"
CLAIM = f"{TABLE}.*'RUNNING', .?started_at"
COMPLETION = f"{TABLE} .status. = '(SUCCESSFUL|FAILED)'"


@servers
@pytest.mark.parametrize("fault", ["lose_reply", "lose_statement"])
def test_a_claim_whose_reply_is_lost_runs_once(lab: Lab, proxy: Proxy, fault: str) -> None:
    result = tasks.append.enqueue(lab.path("out"), "a")
    lost = getattr(proxy, fault)(CLAIM)

    lab.worker(**through(proxy)).ready()

    undisturbed(lab, result)
    assert lost.hit == 1
    assert len(runs(lab, "a")) == 1


@servers
@pytest.mark.parametrize("fault", ["lose_reply", "lose_statement"])
def test_a_completion_whose_reply_is_lost_counts_once(lab: Lab, proxy: Proxy, fault: str) -> None:
    lost = getattr(proxy, fault)(COMPLETION, times=2)
    lab.worker(**through(proxy)).ready()
    good, bad = tasks.append.enqueue(lab.path("out"), "a"), tasks.fail.enqueue("no")

    undisturbed(lab, good)
    row = lab.until_status(bad, "FAILED")

    assert lost.hit == 2
    assert len(runs(lab, "a")) == 1
    assert row.exception_class_path == "builtins.ValueError"
    announced(lab, bad, "FAILED")
    assert acts() == []


@servers
def test_lines_that_are_cut_all_the_time_lose_nothing_and_repeat_nothing(
    lab: Lab, proxy: Proxy
) -> None:
    results = [tasks.append.enqueue(lab.path("out"), f"n{n}", 0.02) for n in range(60)]
    claims = proxy.lose_reply(CLAIM, times=15)
    writes = proxy.lose_reply(COMPLETION, times=15)
    lab.worker("--processes=3", "--lease=4", **through(proxy)).ready(3)
    others = lab.worker("--lease=4", name="other").ready()

    # Now here, now there: a fixed number would meet the same statement every time.
    replies = itertools.cycle(range(3, 12))

    def all_done() -> bool:
        proxy.cut_after(replies=next(replies))
        return not DBTaskResult.objects.exclude(status="SUCCESSFUL").exists()

    until(all_done, 90)

    for result in results:
        undisturbed(lab, result)
    assert sorted(line.split()[1] for line in lab.lines("out") if line.startswith("begin")) == (
        sorted(f"n{n}" for n in range(60))
    )
    assert claims.hit >= 1 and writes.hit >= 1
    assert deaths() == []
    assert others.stop() == 0


def test_a_task_that_its_living_worker_does_not_hold_is_given_back(lab: Lab) -> None:
    """What a claim looks like whose commit came long after the worker had given up on it."""
    worker = lab.worker("--lease=3").ready()
    (owner,) = worker.rows()
    # Far in the future, so that nobody claims it before it is made RUNNING by hand.
    later = timezone.now() + timedelta(days=1)
    result = tasks.append.using(run_after=later).enqueue(lab.path("out"), "a")
    held = tasks.wait_for.enqueue(lab.path("go"))
    lab.until_status(held, "RUNNING")
    DBTaskResult.objects.filter(pk=result.id).update(
        status="RUNNING",
        started_at=timezone.now(),
        worker_ids=[owner.worker_id],
        run_after=timezone.now(),
    )

    (entry,) = until(lambda: lab.ledger(result))

    assert (entry.verdict, entry.action, entry.counted) == ("orphaned", "requeued", False)
    assert lab.row(held).status == "RUNNING"
    lab.folder.joinpath("go").touch()
    row = lab.until_status(result, "SUCCESSFUL")
    assert row.worker_ids == [owner.worker_id] * 2
    assert len(runs(lab, "a")) == 1
    undisturbed(lab, held)


@servers
def test_an_outcome_survives_a_server_that_is_gone_without_a_word(lab: Lab, proxy: Proxy) -> None:
    """The worker asks on the dead line, is told, and writes on another one."""
    if os.getuid():
        pytest.skip("only root can close a connection silently")
    hung = proxy.forget(COMPLETION)
    worker = lab.worker("--lease=12", **through(proxy)).ready()
    result = tasks.append.enqueue(lab.path("out"), "a")

    undisturbed(lab, result)

    assert hung.hit == 1
    assert len(runs(lab, "a")) == 1
    assert "worker.stuck" not in worker.log
    assert deaths() == []


@servers
@pytest.mark.parametrize("arrives", [True, False])
def test_a_worker_that_nobody_answers_is_ended_after_a_lease(
    lab: Lab, proxy: Proxy, arrives: bool
) -> None:
    """The line is up and silent: only the supervisor, whose keeper commits, can tell."""
    hung = (proxy.hang if arrives else proxy.swallow)(COMPLETION)
    worker = lab.worker("--lease=3", **through(proxy)).ready()
    result = tasks.append.enqueue(lab.path("out"), "a")

    row = lab.until_status(result, "SUCCESSFUL", 40)

    until(lambda: "worker.stuck" in worker.log)
    worker.ready()
    assert hung.hit == 1
    (death,) = until(deaths)
    assert death[1:] == ("exited", "stuck")
    if arrives:  # what the server has written stays, though nobody announced it
        assert len(row.worker_ids) == len(runs(lab, "a")) == 1
        assert acts() == []
    else:
        assert len(row.worker_ids) == len(runs(lab, "a")) == 2
        assert acts() == [("exited", "requeued")]
        announced(lab, result)


@servers
def test_a_claim_that_nobody_answers_is_given_back(lab: Lab, proxy: Proxy) -> None:
    hung = proxy.hang(CLAIM)
    result = tasks.append.enqueue(lab.path("out"), "a")

    worker = lab.worker("--lease=3", **through(proxy)).ready()

    row = lab.until_status(result, "SUCCESSFUL", 40)
    worker.ready()
    assert hung.hit == 1
    assert len(row.worker_ids) == 2
    assert len(runs(lab, "a")) == 1
    (entry,) = lab.ledger(result)
    assert (entry.verdict, entry.action) in [("exited", "requeued"), ("orphaned", "requeued")]
    announced(lab, result)
