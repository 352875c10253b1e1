"""Signals of both worlds, counted once; and the backends for which they are all there is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import django_tasks.signals as backport
import pytest
from django.tasks import signals as own
from django.test import override_settings

from argus_maint.backends import signals
from argus_maint.backends.adapters import adapters
from argus_maint.backends.adapters.base import CAPABILITIES
from argus_maint.models import SignalCount
from tests.lab import until

WORLDS = (own, backport)
# A class of that package needs no cloud to be told by its module.
TASKS = {"sqs": {"BACKEND": "tests.backends.adapters.pool_of_site.Cloudy"}}


@pytest.fixture
def tally(monkeypatch: pytest.MonkeyPatch) -> Iterator[signals.Tally]:
    """Counting for "sqs", in this process, without a thread."""
    made = signals.Tally()
    made.thread = SimpleNamespace()  # type: ignore[assignment]
    monkeypatch.setattr(signals, "_tally", made)
    monkeypatch.setattr(signals, "_wanted", set())
    signals.install({"sqs"})
    signals.install({"sqs"})
    yield made
    for world in WORLDS:
        for event in signals.EVENTS:
            uid = f"argus_maint.{event}"
            getattr(world, f"task_{event}").disconnect(dispatch_uid=uid)


def result(number: int | None, status: str = "READY", backend: str = "sqs") -> Any:
    task = SimpleNamespace(module_path="shop.mail")
    return SimpleNamespace(id=number, status=status, backend=backend, task=task)


def send(event: str, about: Any, *worlds: Any) -> None:
    for world in worlds or WORLDS:
        getattr(world, f"task_{event}").send(sender=None, task_result=about)


@pytest.mark.django_db(transaction=True)
def test_an_event_of_a_task_counts_once_whichever_world_tells(tally: signals.Tally) -> None:
    send("enqueued", result(1))  # by both
    send("enqueued", result(2), own)
    send("enqueued", result(3), backport)
    send("enqueued", result(None), own)  # a backend that has no id to tell
    send("enqueued", result(None), own)
    send("started", result(1, "RUNNING"))
    send("finished", result(1, "SUCCESSFUL"))
    send("finished", result(2, "FAILED"))
    send("enqueued", result(4, backend="default"))
    tally.write()
    counted = {"enqueued": 5, "failed": 1, "started": 1, "successful": 1}
    assert signals.totals("sqs", "default") == counted
    send("enqueued", result(1))
    send("enqueued", result(5))
    tally.write()
    tally.write()
    assert signals.totals("sqs", "default")["enqueued"] == 6
    assert signals.totals("default", "default") == {}


@pytest.mark.django_db(transaction=True)
def test_what_the_database_did_not_take_is_written_later(
    tally: signals.Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(counts: Any) -> None:
        raise OSError("gone")

    send("enqueued", result(1))
    with monkeypatch.context() as broken:
        broken.setattr(signals, "_add", away)
        tally.write()
        send("enqueued", result(2))
        tally.write()
    assert not SignalCount.objects.exists()
    tally.write()
    assert signals.totals("sqs", "default") == {"enqueued": 2}


def test_memory_is_bounded(tally: signals.Tally, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "REMEMBERED", 10)
    for number in range(50):
        send("enqueued", result(number))
    assert len(tally.seen) == 10 and tally.counts["sqs", "enqueued"] == 50


PROCESS = """
import django, os, sys
django.setup()
from types import SimpleNamespace
from django.tasks.signals import task_enqueued
from argus_maint.backends import signals
signals.install({"sqs"})
def send(n):
    task = SimpleNamespace(module_path="x")
    about = SimpleNamespace(id=n, status="READY", backend="sqs", task=task)
    task_enqueued.send(sender=None, task_result=about)
send(1)
if pid := os.fork():
    os.waitpid(pid, 0)
else:
    send(2)
sys.exit(0)
"""


def test_each_process_adds_its_own_at_its_end(child_env: dict[str, str]) -> None:
    for _ in range(2):
        subprocess.run([sys.executable, "-c", PROCESS], env=child_env, check=True, timeout=60)
    until(lambda: signals.totals("sqs", "default") == {"enqueued": 4})


@override_settings(TASKS=TASKS)
@pytest.mark.django_db(transaction=True)
def test_a_cloud_is_its_providers() -> None:
    (cloud,) = adapters("default")
    assert cloud.name == "cloud"
    assert not any(map(cloud.supports, CAPABILITIES))
    assert set(cloud.why_not) == set(CAPABILITIES)
    assert all("the provider's" in why for why in cloud.why_not.values())
    assert "dead-letter" in cloud.warnings()[0]
    assert cloud.counters() == {}


def test_that_package_sends_no_signal_of_its_own() -> None:
    """Else there would be more to count."""
    import django_tasks_cloud

    (folder,) = map(Path, django_tasks_cloud.__path__)
    sources = [path.read_text(encoding="utf-8") for path in folder.rglob("*.py")]
    assert len(sources) > 10 and not any("task_enqueued" in each for each in sources)
