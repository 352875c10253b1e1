"""``maint work``: a worker of any backend, by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.test import override_settings

from tests.backends import shelf
from tests.commands.calls import maint, shell, wrong
from tests.lab import Lab, until

TASKS = {
    "default": {"BACKEND": "django_tasks_db.DatabaseBackend"},
    "second": {"BACKEND": "django_tasks_db.DatabaseBackend"},
    "noted": {"BACKEND": "django_tasks_db.backend.Nobody"},
}


@pytest.mark.parametrize(
    ("options", "command"),
    [
        ((), "db_worker --queue-name '*'"),
        (("--queue", "mail,bulk"), "db_worker --queue-name mail,bulk"),
        (("--queue", "mail,*"), "db_worker --queue-name '*'"),
        (
            ("--backend", "second", "--processes", "2", "--name", "by-hand"),
            "db_worker --queue-name '*' --backend second --processes=2 --worker-id=by-hand",
        ),
    ],
)
def test_it_says_which_command_it_is(options: tuple[str, ...], command: str) -> None:
    with override_settings(TASKS=TASKS):
        assert maint("work", *options, "--dry-run").strip() == f"manage.py {command}"


def test_a_backend_of_the_site_names_its_own_program(tmp_path: Path) -> None:
    with override_settings(**shelf.site(tmp_path)):
        out = maint("work", "--backend", tmp_path.name, "--dry-run", "--name", "x")
    assert out.strip() == "manage.py work_shelf"


def test_what_cannot_be_started_is_one_line() -> None:
    with override_settings(TASKS=TASKS):
        assert "TASKS has no backend 'third'" in wrong("work", "--backend", "third")
        assert "has no workers that could be started" in wrong("work", "--backend", "noted")


@pytest.mark.django_db(transaction=True)
def test_it_becomes_the_worker(lab: Lab) -> None:
    started = lab.start("hand", "maint", "work", "--name=by-hand", "--processes=1")
    until(lambda: "event=worker.started" in started.log, what="the worker")
    assert "db_worker" in started.log.splitlines()[0]
    assert started.stop() == 0, "TERM reaches it"


def test_help_says_what_a_stranger_needs() -> None:
    text = shell("work", "--help").stdout
    assert "rqworker" in text and "--dry-run" in text and "exit status" in text
