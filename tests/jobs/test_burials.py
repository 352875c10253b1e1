"""Burials: who is meant, who is refused, and what becomes of the tasks."""

from __future__ import annotations

import os
import uuid

import pytest
from django_tasks_db.models import DBTaskResult

from argus_maint.backends import database
from argus_maint.jobs import burials, watcher
from argus_maint.jobs.burials import WrongProcess
from argus_maint.jobs.errand import Errand
from argus_maint.models import Act, LedgerEntry, Process
from argus_maint.observe import status
from tests import rows

pytestmark = pytest.mark.django_db


def _far(name: str = "far", silent: float = 600, workers: int = 1) -> list[Process]:
    """A supervisor on another host, and its workers."""
    group, host = uuid.uuid4(), rows.elsewhere()
    head = rows.process(name, 0, kind="supervisor", host=host, supervisor=group, silent=silent)
    return [head] + [
        rows.process(name, number, host=host, supervisor=group, silent=silent)
        for number in range(1, workers + 1)
    ]


def _bury(token: str) -> list[str]:
    return burials.bury(burials.find(token, "default"), "alice@host", "burnt down", "default")


def _rescue() -> list[LedgerEntry]:
    return watcher.make(Errand("default", "alice@host", wait=False)).acts


def _refused(token: str) -> tuple[str, int]:
    with pytest.raises(WrongProcess) as error:
        burials.find(token, "default")
    return str(error.value), error.value.status


def test_a_supervisor_is_buried_with_its_workers_and_what_they_held_is_rescued() -> None:
    head, one, two = _far(workers=2)
    other = rows.process("other", host=rows.elsewhere(), silent=600)
    held = rows.task("RUNNING", workers=(one.worker_id,))
    kept = rows.task("RUNNING", workers=(other.worker_id,))
    grave = burials.find("far", "default")
    assert (grave.tasks, grave.over, grave.seems_alive) == ([held.pk], False, False)
    assert set(_bury("far")) == {head.worker_id, one.worker_id, two.worker_id}
    ended = Process.objects.get(pk=one.pk)
    assert (ended.state, ended.verdict, ended.reason) == ("ended", "manual", "buried")
    assert (ended.noticed_by, Process.objects.get(pk=other.pk).state) == ("alice@host", "alive")
    (entry,) = _rescue()
    assert (entry.task_id, entry.action, entry.verdict) == (held.pk, "requeued", "manual")
    assert (entry.counted, entry.losses, entry.reason) == (True, 1, "buried")
    assert "was put down as dead by alice@host" in entry.evidence
    assert DBTaskResult.objects.get(pk=kept.pk).status == "RUNNING"
    act = Act.objects.get()
    assert (act.verb, act.subject, act.why) == ("bury", "far", "burnt down")
    assert set(act.details["processes"]) == {head.worker_id, one.worker_id, two.worker_id}


def test_a_burial_forgives_no_loss() -> None:
    """Only a requeue by hand does: a task may have killed the worker that was buried."""
    _, worker = _far()
    row = rows.task("RUNNING", workers=("a", worker.worker_id))
    rows.entry(row, attempt=1)
    _bury("far")
    (entry,) = _rescue()
    assert (entry.action, entry.verdict, entry.losses) == ("requeued", "manual", 2)
    assert database.losses(row.pk, "default") == 2


def test_a_worker_is_named_by_number_or_id_and_buried_alone() -> None:
    head, one, two = _far(workers=2)
    assert _bury("far.1") == [one.worker_id]
    assert _bury(two.worker_id) == [two.worker_id]
    assert Process.objects.get(pk=head.pk).state == "alive"


def test_a_name_may_have_its_host_with_it_as_a_finding_has() -> None:
    head, one = _far("web")
    for each in (head, one):
        each.worker_id = each.worker_id.replace(each.worker_id.split(".")[1], "a" * 12)
        each.save()
    other, _ = _far("web")
    Process.objects.filter(supervisor=other.supervisor).update(hostname="farther")
    assert "or NAME@HOST" in _refused("web")[0]
    assert set(_bury(f"web@{head.hostname}")) == {head.worker_id, one.worker_id}
    assert Process.objects.get(pk=other.pk).state == "alive"
    assert len(_bury("web.1@farther")) == 1
    assert len(_bury("web@farther")) == 1
    assert _refused("web@nowhere")[0].startswith("No process is called 'web@nowhere'.")


def test_a_dead_one_is_named_with_its_host_too() -> None:
    for each in _far():
        burials.registry.end(each.worker_id, "default", 1.0, verdict="expired", reason="lost")
    host = Process.objects.get(kind="supervisor").hostname
    assert burials.find(f"far@{host}", "default").over
    assert len(_bury(f"far@{host}")) == 2


def test_one_that_is_alive_on_this_host_is_refused() -> None:
    group = uuid.uuid4()
    rows.process("here", 0, kind="supervisor", pid=rows.dead_pid(), supervisor=group)
    rows.process("here", 1, supervisor=group)
    line, status_ = _refused("here")
    assert f"here.1 is alive: pid {os.getpid()} on this host" in line and status_ == 1
    assert not Act.objects.exists()


def test_one_that_beats_elsewhere_is_told_and_may_be_buried() -> None:
    _far(silent=1)
    assert burials.find("far", "default").seems_alive
    assert len(_bury("far")) == 2


def test_an_unknown_name_has_the_nearest_and_an_ambiguous_one_its_ids() -> None:
    _far("web")
    assert _refused("wbe") == ("No process is called 'wbe'. Did you mean \"web\"?", 2)
    Process.objects.filter(kind="supervisor").update(worker_id="web.aaaaaaaaaaaa.0")
    second = _far("web", workers=0)[0]
    line, code = _refused("web")
    assert "web.aaaaaaaaaaaa.0 on far" in line and second.worker_id in line and code == 2


def test_a_dead_supervisor_without_heir_is_meant_to_be_gone() -> None:
    for each in _far():
        assert burials.registry.end(
            each.worker_id, "default", 1.0, verdict="expired", reason="lost", noticed_by="w"
        )
    assert [each.name for each in status.gather("default").gone] == ["far"]
    grave = burials.find("far", "default")
    assert grave.over and len(grave.processes) == 2
    assert len(_bury("far")) == 2
    assert status.gather("default").gone == []
    assert {*Act.objects.get().details["processes"].values()} == {"lost"}
    assert "gone as it was meant to be (buried)" in _refused("far")[0]


def test_a_dead_one_of_the_same_name_on_another_host_is_not_buried_with_it() -> None:
    for each in _far():
        burials.registry.end(each.worker_id, "default", 1.0, verdict="expired", reason="lost")
    first = Process.objects.get(kind="supervisor", name="far")
    Process.objects.filter(supervisor=first.supervisor).update(
        hostname="farther", ended_at=first.ended_at - rows.timedelta(minutes=1)
    )
    other = rows.process("far", 7, kind="supervisor", host=rows.elsewhere())
    burials.registry.end(other.worker_id, "default", 1.0, verdict="expired", reason="lost")
    grave = burials.find("far", "default")
    assert [each.hostname for each in grave.processes] == ["far"]


def test_a_dead_one_with_an_heir_needs_no_burial() -> None:
    for each in _far():
        burials.registry.end(each.worker_id, "default", 1.0, verdict="expired", reason="lost")
    rows.process("next", 0, kind="supervisor", host=rows.elsewhere())  # newer, on that host
    assert "another has taken its place" in _refused("far")[0]


def test_one_that_ends_meanwhile_is_left_with_its_own_end() -> None:
    head, worker = _far()
    grave = burials.find("far", "default")
    burials.registry.end(worker.worker_id, "default", 1.0, verdict="exited", reason="stopped")
    assert burials.bury(grave, "alice@host", "why", "default") == [head.worker_id]
    assert Process.objects.get(pk=worker.pk).reason == "stopped"


def test_one_that_beats_after_the_look_is_not_dead_after_all() -> None:
    """A person reads for a while before the answer: the host may be back by then."""
    head, worker = _far()
    held = rows.task("RUNNING", workers=(worker.worker_id,))
    grave = burials.find("far", "default")
    assert not grave.seems_alive
    assert burials.registry.beat(head.supervisor, "default", 1.0) == 2
    assert burials.bury(grave, "alice@host", "why", "default") == []
    assert {*Process.objects.values_list("state", flat=True)} == {"alive"}
    assert DBTaskResult.objects.get(pk=held.pk).status == "RUNNING"
    assert not Act.objects.exists()
