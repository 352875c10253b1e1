"""How our own rendering writes a line of the log."""

from __future__ import annotations

import logging
import re

import pytest

from argus_maint.log import get_logger
from tests import tasks
from tests.lab import Lab, until


def test_what_is_not_known_is_left_out_and_a_bool_has_its_value(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "argus_maint.x")
    get_logger("argus_maint.x").info("it.happened", a=None, b="", c=0, d=True, e=False)
    assert caplog.messages == ["event=it.happened c=0 d=true e=false"]


def test_the_end_of_a_worker_names_it_and_its_task(lab: Lab) -> None:
    worker = lab.worker(name="web").ready()
    result = tasks.os_exit.enqueue(7)
    until(lambda: lab.ledger(result))
    assert re.search(
        rf"event=worker\.ended worker_id=web\.[0-9a-f]{{12}}\.1 pid=\d+ number=1 reason=crashed "
        rf"status=7 task_id={result.id} held_task=true",
        worker.log,
    )
    worker.stop()
    first, *_, last = [line.partition("event=")[2] for line in worker.log.splitlines()]
    assert re.fullmatch(r"supervisor\.started name=web pid=\d+ processes=1", first)
    assert last == "supervisor.stopped status=0"
