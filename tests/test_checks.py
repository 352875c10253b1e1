"""The system checks, with their ids and hints."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from django.core import checks
from django.core.checks import registry
from django.db.backends.base.base import BaseDatabaseWrapper

from argus_maint import backend_checks, exceptions
from argus_maint import checks as ours

ROOT = Path(ours.__file__).parent.parent
DATABASE_BACKEND = "django_tasks_db.DatabaseBackend"
RIGHT = ["argus_maint", "django_tasks_db"]


@pytest.fixture(autouse=True)
def healthy_site(settings):
    settings.INSTALLED_APPS = RIGHT
    settings.TASKS = {"default": {"BACKEND": DATABASE_BACKEND}}
    settings.ARGUS_MAINT = {"RESCUE": {"*": {}}}
    settings.DATABASE_ROUTERS = []
    ours.register_checks()


def found() -> dict[str, checks.CheckMessage]:
    """Run our checks as `manage.py check --tag argus_maint` does; without a database."""
    messages = checks.run_checks(tags=[ours.TAG])
    assert all(message.hint for message in messages)
    return {str(message.id).removeprefix("argus_maint."): message for message in messages}


def test_a_healthy_site_hears_nothing():
    assert found() == {}


def test_checks_are_registered_once_however_often_the_app_is_loaded():
    before = len(registry.registry.registered_checks)
    ours.register_checks()
    assert len(registry.registry.registered_checks) == before


def test_checks_look_neither_at_the_urlconf_nor_at_the_database(settings, monkeypatch):
    settings.ROOT_URLCONF = "no.such.module"
    monkeypatch.delattr(BaseDatabaseWrapper, "connect")
    assert found() == {}


# -- the setting


def test_each_problem_of_the_setting_is_an_error_of_its_kind(settings):
    settings.ARGUS_MAINT = {
        "RESCUE": {"*": {"max_losses": 0}},
        "PROCESSES": {"lease": 2, "beat": 2},
        "JOB": {},
    }
    messages = found()
    assert sorted(messages) == ["E001", "E002", "E003"]
    assert all(message.level == checks.ERROR for message in messages.values())


@pytest.mark.parametrize("raw", [None, [], "RESCUE", 5])
def test_a_setting_of_the_wrong_type_is_an_error_and_no_traceback(settings, raw):
    settings.ARGUS_MAINT = raw
    assert found()["E001"].level == checks.ERROR


# -- installed apps


def test_an_app_listed_after_the_stock_worker_is_an_error_that_says_why(settings):
    settings.INSTALLED_APPS = list(reversed(RIGHT))
    message = found()["E010"]
    assert message.level == checks.ERROR
    assert "db_worker` is the stock one" in message.msg
    assert "ARGUS_OVERRIDING_APPS instead of ARGUS_EXTRA_APPS" in str(message.hint)


def test_a_site_without_the_task_table_is_an_error(settings):
    settings.INSTALLED_APPS = ["argus_maint"]
    assert found()["E011"].level == checks.ERROR


def start(folder, apps, *command, settings=""):
    """Run a real command of a site with these apps, and these settings beside."""
    (folder / "wrong_site.py").write_text(
        f"INSTALLED_APPS = {apps!r}\n"
        'DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}\n'
        + settings
    )
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "wrong_site"}
    env["PYTHONPATH"] = os.pathsep.join([str(folder), str(ROOT)])
    command = [sys.executable, "-m", "django", *command]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("command", [["db_worker"], ["maint", "status"]])
def test_without_the_task_table_a_command_ends_in_one_line(tmp_path, command):
    done = start(tmp_path, RIGHT[:1], *command)
    assert done.stderr == f"CommandError: {ours.NO_TASKS_APP} {ours.ADD_TASKS_APP}\n"
    assert done.returncode == 1


@pytest.mark.parametrize(("apps", "id"), [(RIGHT[::-1], "E010"), (RIGHT[:1], "E011")])
def test_a_wrong_list_of_apps_is_told_by_a_real_start(tmp_path, apps, id):
    done = start(tmp_path, apps, "check", "--tag", ours.TAG)
    assert f"(argus_maint.{id})" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == 1


@pytest.fixture
def app_with_a_worker(tmp_path, monkeypatch) -> str:
    commands = tmp_path / "rivalapp" / "management" / "commands"
    commands.mkdir(parents=True)
    for folder in (commands, commands.parent, commands.parent.parent):
        (folder / "__init__.py").touch()
    (commands / "db_worker.py").write_text("raise RuntimeError('a check imported a command')")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "rivalapp"


def test_another_app_whose_worker_command_wins_is_a_warning(settings, app_with_a_worker):
    settings.INSTALLED_APPS = [app_with_a_worker, *RIGHT]
    message = found()["W003"]
    assert message.level == checks.WARNING
    assert message.msg.startswith("rivalapp is listed before argus_maint")


def test_another_app_whose_worker_command_loses_is_nobodys_business(settings, app_with_a_worker):
    settings.INSTALLED_APPS = [*RIGHT, app_with_a_worker]
    assert found() == {}


# -- routers


class Router:
    """Sends an app label to a database; every other one to the default."""

    def __init__(self, **databases: str) -> None:
        self.databases = databases

    def db_for_write(self, model, **hints):
        return self.databases.get(model._meta.app_label)


def test_routers_that_part_our_tables_from_the_task_table_are_an_error(settings):
    settings.DATABASE_ROUTERS = [Router(django_tasks_database="tasks")]
    message = found()["E012"]
    assert message.level == checks.ERROR
    assert 'task table is in database "tasks"' in message.msg
    assert "Process" in message.msg
    assert message.msg.endswith('to "default".')


def test_routers_that_keep_the_tables_together_are_right(settings):
    settings.DATABASE_ROUTERS = [Router(django_tasks_database="tasks", argus_maint="tasks")]
    assert found() == {}


def test_a_router_that_breaks_is_an_error_and_no_traceback(settings):
    class Broken:
        def db_for_write(self, model, **hints):
            raise KeyError("shard")

    settings.DATABASE_ROUTERS = [Broken()]
    assert "KeyError('shard')" in found()["E012"].msg


# -- what a site should know


@pytest.mark.parametrize("raw", [{}, {"PROCESSES": {}}])
def test_a_site_that_set_no_policy_is_told_that_lost_tasks_run_again(settings, raw):
    settings.ARGUS_MAINT = raw
    message = found()["W001"]
    assert message.level == checks.WARNING
    assert "at least once" in message.msg
    assert "task_result.id" in str(message.hint)
    assert 'ARGUS_MAINT = {"RESCUE": {"*": {}}}' in str(message.hint)


@pytest.mark.parametrize(
    ("tasks", "warned"),
    [
        ({"default": {"BACKEND": "django_tasks_db.backend.DatabaseBackend"}}, True),
        ({"a": {"BACKEND": "no.such.Backend"}, "b": {"BACKEND": DATABASE_BACKEND}}, True),
        ({"default": {"BACKEND": f"{__name__}.OwnBackend"}}, True),
        ({"default": {"BACKEND": f"{__name__}.Router"}}, False),
        ({"default": {"BACKEND": "no.such.Backend"}}, False),
        ({"default": {"BACKEND": 5}, "other": None}, False),
        ({}, False),
        ([DATABASE_BACKEND], False),
        (None, False),
    ],
)
def test_a_site_with_a_database_backend_needs_a_policy_and_any_other_a_backend(
    settings, tasks, warned
):
    settings.ARGUS_MAINT = {}
    settings.TASKS = tasks
    assert ("W001" in {str(m.id)[-4:] for m in ours.check_rescue_is_set(None)}) is warned
    assert ("W004" in {str(m.id)[-4:] for m in backend_checks.check_queue(None)}) is not warned


def test_a_site_without_a_database_backend_is_told_the_line_it_lacks(settings):
    settings.TASKS = {"default": {"BACKEND": "django.tasks.backends.immediate.ImmediateBackend"}}
    message = found()["W004"]
    assert message.level == checks.WARNING
    assert f'TASKS = {{"default": {{"BACKEND": "{DATABASE_BACKEND}"}}}}' in str(message.hint)
    settings.INSTALLED_APPS = ["argus_maint"]
    assert set(found()) == {"E011"}


def __getattr__(name: str) -> type:
    if name == "OwnBackend":  # a site's subclass; made late, as the app registry is ready then
        from django_tasks_db import DatabaseBackend

        return type(name, (DatabaseBackend,), {})
    raise AttributeError(name)


# -- the version of django-tasks-db


@pytest.mark.parametrize("version", ["0.12.0", "0.12.5", "0.13", "0.13.0", "0.13.1rc1"])
def test_a_tested_version_is_right(monkeypatch, version):
    monkeypatch.setattr(metadata, "version", lambda name: version)
    assert found() == {}


@pytest.mark.parametrize("version", ["0.11.9", "0.14.0", "0.14.0a1", "0.2", "1.12.0", "main"])
def test_an_untested_version_is_a_warning_that_names_both(monkeypatch, version):
    monkeypatch.setattr(metadata, "version", lambda name: version)
    message = found()["W002"]
    assert message.level == checks.WARNING
    assert f"django-tasks-db {version} is installed" in message.msg
    assert "tested with 0.12 to 0.13" in message.msg


def test_a_copy_without_metadata_is_left_in_peace(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert found() == {}


# -- the exceptions whose paths are stored


@pytest.mark.parametrize("name", ["WorkerLost", "TaskQuarantined", "TaskDiscarded"])
def test_the_path_of_a_recorded_exception_stays_where_old_rows_expect_it(name):
    exception = getattr(exceptions, name)
    assert f"{exception.__module__}.{exception.__qualname__}" == f"argus_maint.exceptions.{name}"
    assert issubclass(exception, Exception)


def test_an_overdue_task_does_not_swallow_its_end_with_its_own_errors():
    assert not issubclass(exceptions.TaskOverdue, Exception)


def test_a_scheduler_that_wins_over_ours_is_a_warning(settings):
    pytest.importorskip("crontask")
    settings.INSTALLED_APPS = ["crontask", *RIGHT]
    assert "has a crontask command of its own" in found()["W003"].msg
    settings.INSTALLED_APPS = [*RIGHT, "crontask"]
    assert found() == {}


def test_a_job_that_is_a_command_nobody_has_is_an_error(settings):
    settings.INSTALLED_APPS = RIGHT
    jobs = {"mine": {"command": "chek", "schedule": "0 6 * * *"}}
    settings.ARGUS_MAINT = {"RESCUE": {}, "JOBS": jobs}
    message = found()["E004"]
    assert message.level == checks.ERROR
    assert (
        message.msg
    ) == 'ARGUS_MAINT["JOBS"]["mine"]: there is no command "chek". Did you mean "check"?'
