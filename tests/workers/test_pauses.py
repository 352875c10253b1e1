"""Paused queues and drained workers, with real workers and real command lines."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from django.db import connection
from django_tasks_db.models import DBTaskResult, get_date_max

from argus_maint.jobs import pauses
from argus_maint.jobs.pauses import Hold
from argus_maint.models import Act, Pause
from tests import tasks
from tests.lab import Lab, until
from tests.schemas import validate

MAIL = tasks.append.using(queue_name="mail")
HOLD = tasks.wait_for.using(queue_name="mail")


def _maint(lab: Lab, *arguments: str) -> Any:
    value = json.loads(lab.manage("maint", *arguments, "--json").stdout)
    validate("pauses", value)
    return value


def _canary(lab: Lab, name: str) -> None:
    """Workers have looked at the queue since: a task of another one has been done."""
    lab.until_status(tasks.append.enqueue(lab.path("canary"), name), "SUCCESSFUL")


def test_a_paused_queue_is_left_alone_until_it_is_resumed(lab: Lab) -> None:
    lab.worker("--queue-name=*", "--processes=2").ready(2)
    held = HOLD.enqueue(lab.path("go"))
    lab.until_status(held, "RUNNING")
    told = _maint(lab, "pause", "mail", "--why", "mail is down")
    assert (told["now"]["queue"], told["ready"], told["running"]) == ("mail", 0, 1)
    waiting = [MAIL.enqueue(lab.path("out"), str(number)) for number in range(3)]
    for number in range(3):
        _canary(lab, str(number))
    Path(lab.path("go")).touch()
    lab.until_status(held, "SUCCESSFUL")  # what runs goes on to its end
    _canary(lab, "after")
    assert {lab.row(each).status for each in waiting} == {"READY"}
    assert _maint(lab, "resume", "mail")["before"]["why"] == "mail is down"
    for each in waiting:
        lab.until_status(each, "SUCCESSFUL")
    assert list(Act.objects.order_by("pk").values_list("verb", "subject")) == [
        ("pause", "mail"),
        ("resume", "mail"),
    ]


def test_a_pause_ends_by_itself_by_the_clock_of_the_database(lab: Lab) -> None:
    lab.worker("--queue-name=*").ready()
    lab.until_status(MAIL.enqueue(lab.path("out"), "names the queue"), "SUCCESSFUL")
    _maint(lab, "pause", "mail", "--why", "short", "--until", "3s")
    end = Pause.objects.get().until
    result = MAIL.enqueue(lab.path("out"), "waits")
    row = lab.until_status(result, "SUCCESSFUL")
    assert end is not None and row.started_at > end - timedelta(milliseconds=50)  # one host
    assert _maint(lab, "resume", "mail")["changed"] is False


def test_no_claim_that_begins_after_the_pause_takes_from_the_queue(lab: Lab) -> None:
    """Four workers go through a full queue while it is paused and resumed, again and again.

    A worker reads its clock before it sends the claim, and all run on this host: what of the
    queue started after the pause was made had been taken in spite of it. The lease is long,
    for a claim that takes half a beat is confirmed, with a later time.
    """
    lab.worker("--queue-name=*", "--processes=4", "--lease=120").ready(4)
    what = Hold("default", "mail")
    mail = DBTaskResult.objects.filter(queue_name="mail")
    for _ in range(3):
        _fill("mail", 400)
        until(mail.exclude(status="READY").exists)
        pauses.hold(what, "alice@host", "race", None, "default")
        paused_at = datetime.now(timezone.utc)
        _canary(lab, "x")
        until(lambda: not mail.filter(status="RUNNING").exists())
        assert not mail.filter(started_at__gt=paused_at).exists()
        assert mail.filter(status="READY").exists()  # else nothing was shown
        mail.delete()
        pauses.lift(what, "alice@host", "", "default")
        lab.until_status(MAIL.enqueue(lab.path("out"), "resumed"), "SUCCESSFUL")


def _fill(queue: str, number: int) -> None:
    """All at once, or the workers keep up with it."""
    new = (
        DBTaskResult(
            args_kwargs={"args": [1, 2], "kwargs": {}},
            task_path="tests.tasks.add",
            backend_name="default",
            queue_name=queue,
            run_after=get_date_max(),
            enqueued_at=datetime.now(timezone.utc),
        )
        for _ in range(number)
    )
    DBTaskResult.objects.bulk_create(new)


def test_a_drained_worker_finishes_what_it_holds_and_takes_no_more(lab: Lab) -> None:
    web = lab.worker("--processes=2", name="web").ready(2)
    held = tasks.wait_for.enqueue(lab.path("go"))
    holder = lab.holder(held)
    told = _maint(lab, "drain", "web", "--why", "new kernel")
    assert (told["now"]["worker"], told["running"]) == ("web", 1)
    waiting = tasks.add.enqueue(1, 2)
    Path(lab.path("go")).touch()
    lab.manage("maint", "drain", "web", "--why", "new kernel", "--wait")
    assert lab.row(held).status == "SUCCESSFUL"
    assert lab.row(held).worker_ids == [holder.worker_id]

    assert web.stop() == 0
    again = lab.worker("--processes=2", name="web").ready(2)
    other = lab.worker("--queue-name=other", name="other").ready()
    done = tasks.add.using(queue_name="other").enqueue(1, 1)
    lab.until_status(done, "SUCCESSFUL")
    beats = again.rows()[0].beats
    until(lambda: again.rows()[0].beats > beats)  # it stays, and beats
    assert lab.row(waiting).status == "READY"
    _maint(lab, "drain", "web", "--undo")
    row = lab.until_status(waiting, "SUCCESSFUL")
    assert row.worker_ids[-1].startswith("web.")
    assert other.stop() == 0


def test_a_worker_waits_for_a_table_that_is_not_there_yet(lab: Lab) -> None:
    """Code first, and manage.py migrate a moment later: the order of many a deploy."""
    worker = lab.worker().ready()
    old, new = Pause._meta.db_table, "argus_maint_not_yet"
    quote = connection.ops.quote_name
    with connection.schema_editor() as editor:
        editor.execute(f"ALTER TABLE {quote(old)} RENAME TO {quote(new)}")
    try:
        until(lambda: "database.lost" in worker.log)
        pids = worker.worker_pids()
        result = tasks.add.enqueue(1, 2)
    finally:
        with connection.schema_editor() as editor:
            editor.execute(f"ALTER TABLE {quote(new)} RENAME TO {quote(old)}")
    lab.until_status(result, "SUCCESSFUL")
    assert worker.worker_pids() == pids
