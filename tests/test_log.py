"""How our own rendering writes a line of the log."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from argus_maint.log import get_logger
from tests import tasks
from tests.conftest import ROOT
from tests.lab import Lab, until


def test_what_is_not_known_is_left_out_and_a_bool_has_its_value(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "argus_maint.x")
    get_logger("argus_maint.x").info("it.happened", a=None, b="", c=0, d=True, e=False)
    assert caplog.messages == ["event=it.happened c=0 d=true e=false"]


@pytest.mark.parametrize("where", ["nowhere", "stderr", "file"])
def test_what_a_log_does_not_show_on_standard_error_is_said_there(
    where: str, tmp_path: Path
) -> None:
    script = f"""if True:
        import logging, sys
        from argus_maint import log
        where, logger = {where!r}, logging.getLogger("argus_maint.x")
        if where != "nowhere":
            stream = sys.stderr if where == "stderr" else open("log", "w")
            logger.parent.addHandler(logging.StreamHandler(stream))
        logger.warning("event=name.taken")
        log.say("argus_maint.x", "one is there already")
    """
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    said = "one is there already\n" if where == "file" else "event=name.taken\n"
    assert done.stderr == said


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
