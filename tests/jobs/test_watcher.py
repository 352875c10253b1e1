"""A rescue from outside: at once on what is certain, after a lease on what is not."""

from __future__ import annotations

import signal
import threading
from typing import Any

import pytest
from django.db import connection
from django.test import override_settings

from argus_maint.jobs import watcher
from argus_maint.jobs.errand import Errand
from argus_maint.models import LedgerEntry, Process, Sighting
from argus_maint.observe.census import take
from argus_maint.workers import registry
from tests import rows, tasks
from tests.lab import Lab, until

pytestmark = pytest.mark.django_db(transaction=True)
FAST = {"RESCUE": {"*": {"backoff": [0, 0]}}, "PROCESSES": {"lease": 1.5, "beat": 0.3}}


def _status(row: Any) -> str:
    row.refresh_from_db()
    return str(row.status)


def _watchers(**how: Any) -> list[Process]:
    return list(Process.objects.filter(kind="watcher", **how))


def test_what_is_proved_dead_is_rescued_at_once() -> None:
    row = rows.lost()
    rescue = watcher.make(Errand("default", "alice@host"))
    assert _status(row) == "READY"
    assert [act.action for act in rescue.acts] == ["requeued"]
    assert LedgerEntry.objects.get().noticed_by == "alice@host"
    assert not _watchers()
    assert rescue.waited == 0


@override_settings(ARGUS_MAINT=FAST)
def test_a_silent_process_is_watched_for_its_lease_and_then_its_task_rescued() -> None:
    silent = rows.process("far", host=rows.elsewhere(), lease=1.0, silent=60)
    row = rows.task("RUNNING", workers=(silent.worker_id,))
    told: list[float] = []
    errand = Errand("default", "alice@host", progress=lambda left, total: told.append(left))

    rescue = watcher.make(errand)

    assert _status(row) == "READY"
    assert 1.0 <= rescue.waited < 3
    assert told[0] > 0.5 > told[-1] >= 0
    (entry,) = LedgerEntry.objects.all()
    assert (entry.verdict, entry.action) == ("expired", "requeued")
    (own,) = _watchers()
    assert (own.state, own.reason, own.beats > 2) == ("ended", "stopped", True)


@override_settings(ARGUS_MAINT=FAST)
def test_a_process_that_beats_again_while_it_is_watched_keeps_its_task() -> None:
    silent = rows.process("far", host=rows.elsewhere(), lease=1.0, silent=60)
    row = rows.task("RUNNING", workers=(silent.worker_id,))
    assert silent.supervisor is not None
    supervisor = silent.supervisor

    def beat() -> None:
        registry.beat(supervisor, "default", 5.0)
        connection.close()

    timer = threading.Timer(0.5, beat)
    timer.start()
    rescue = watcher.make(Errand("default", "alice@host"))
    timer.join()
    assert _status(row) == "RUNNING"
    assert (rescue.acts, rescue.waiting) == ([], [])
    assert _watchers(state="ended")


def test_without_waiting_a_silent_process_is_left_alone_and_named() -> None:
    silent = rows.process("far", host=rows.elsewhere(), silent=60)
    row = rows.task("RUNNING", workers=(silent.worker_id,))
    rescue = watcher.make(Errand("default", "alice@host", wait=False))
    assert _status(row) == "RUNNING"
    assert [each.worker_id for each in rescue.waiting] == [silent.worker_id]
    assert not _watchers()


def test_a_dry_run_writes_nothing_at_all() -> None:
    silent = rows.process("far", host=rows.elsewhere(), silent=60)
    rows.task("RUNNING", workers=(silent.worker_id,))
    rows.task("RUNNING", workers=("stock",))
    row = rows.lost()
    before = list(Process.objects.order_by("pk").values())
    rescue = watcher.make(Errand("default", "alice@host", dry_run=True))
    assert _status(row) == "RUNNING"
    assert [str(act.action) for act in rescue.acts] == ["requeued"]
    assert (rescue.unregistered, len(rescue.waiting)) == (1, 1)
    assert list(Process.objects.order_by("pk").values()) == before
    assert not LedgerEntry.objects.exists() and not Sighting.objects.exists()


def test_it_signs_off_when_it_is_interrupted() -> None:
    rows.process("far", host=rows.elsewhere(), silent=60)

    def interrupt(left: float, total: float) -> None:
        assert _watchers(state="alive")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watcher.make(Errand("default", "alice@host", progress=interrupt))
    assert _watchers(state="ended") and not _watchers(state="alive")


@override_settings(ARGUS_MAINT=FAST)
def test_a_watcher_that_was_itself_taken_for_dead_begins_anew() -> None:
    rows.process("far", host=rows.elsewhere(), lease=1.0, silent=60)
    ended: list[str] = []

    def end_it(left: float, total: float) -> None:
        if not ended:
            ended.extend(each.worker_id for each in _watchers())
            registry.end(ended[0], "default", 1.0, verdict="expired")

    rescue = watcher.make(Errand("default", "alice@host", progress=end_it))
    assert len(rescue.ended) == 1
    assert len(_watchers(state="ended")) == 2


def test_a_real_worker_elsewhere_that_is_stopped_is_rescued_from_here(lab: Lab) -> None:
    """Real processes, and a boot id that hides from us whether they exist."""
    worker = lab.worker("--lease=3").ready()
    result = tasks.sleep.enqueue(600)
    holder = lab.holder(result)
    worker.signal_tree(signal.SIGSTOP)
    Process.objects.update(boot_id="another")
    # A witness whose own beats are further apart than this begins anew: not on a busy machine.
    lab.setting(**FAST | {"PROCESSES": {"lease": 3, "beat": 1}})
    until(lambda: list(take("default").states.values()) == ["expired", "expired"])

    done = lab.manage("maint", "rescue")

    assert "1 task rescued" in done.stdout, done.stdout
    assert "waiting 3 s to confirm" in done.stderr
    assert lab.row(result).status == "READY"
    (entry,) = lab.ledger(result)
    assert (entry.verdict, entry.worker_id) == ("expired", holder.worker_id)
