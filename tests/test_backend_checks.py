"""The system checks of the setting TASKS: a line for each alias with which something is wrong."""

from __future__ import annotations

import sys

import django
import pytest
from django.core import checks
from django.utils.module_loading import import_string

from argus_maint import backend_checks
from argus_maint import checks as ours
from argus_maint.backends.adapters.database import Database
from tests.test_checks import DATABASE_BACKEND, RIGHT, found, start


@pytest.fixture(autouse=True)
def healthy_site(settings):
    settings.INSTALLED_APPS = RIGHT
    settings.TASKS = {"default": {"BACKEND": DATABASE_BACKEND}}
    settings.ARGUS_MAINT = {"RESCUE": {"*": {}}}
    ours.register_checks()
    backend_checks.register_checks()


IMMEDIATE = {"BACKEND": "django.tasks.backends.immediate.ImmediateBackend"}
DUMMY = {"BACKEND": "django.tasks.backends.dummy.DummyBackend"}
if django.VERSION < (6, 0):
    IMMEDIATE = {"BACKEND": "django_tasks.backends.immediate.ImmediateBackend"}
    DUMMY = {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}
OTHERS = {"default": {"BACKEND": DATABASE_BACKEND}, "at_once": IMMEDIATE, "noted": DUMMY}


@pytest.fixture
def production(monkeypatch) -> None:
    """As a site of its own sees it, where no test runner is."""
    monkeypatch.setattr(backend_checks, "is_production", lambda: True)


def of_aliases() -> list[tuple[str, str]]:
    """Numbers and messages, in the order of TASKS."""
    made = backend_checks.check_aliases(None)
    assert all(each.level == checks.WARNING and each.hint for each in made)
    assert all("\n" not in each.msg for each in made)
    return [(str(each.id)[-4:], each.msg) for each in made]


def test_an_alias_whose_package_is_missing_is_told_what_to_install(settings, monkeypatch):
    monkeypatch.setitem(sys.modules, "django_tasks_rq", None)  # also where it is installed
    settings.TASKS = {"default": {"BACKEND": DATABASE_BACKEND}}
    settings.TASKS["rq"] = {"BACKEND": "django_tasks_rq.RQBackend"}
    settings.TASKS["odd"] = {"BACKEND": "no.such.Backend"}
    (first, rq), (second, odd) = of_aliases()
    assert first == second == "W005"
    assert rq == (
        'TASKS["rq"]: django_tasks_rq.RQBackend needs the package django-tasks-rq: '
        "pip install django-tasks-rq."
    )
    assert odd.startswith('TASKS["odd"]: no.such.Backend cannot be used: ModuleNotFoundError')


@pytest.mark.parametrize(
    ("adapter", "says"),
    [
        ("tests.backends.shelf.ShelfBackend", "is no subclass of argus_maint.backends.adapters"),
        ("tests.backends.shelf.site", "is no subclass of argus_maint.backends.adapters"),
        ("tests.backends.shelf.Nobody", "does not define"),
    ],
)
def test_an_adapter_of_the_site_that_is_none_leaves_its_alias_alone(settings, adapter, says):
    path = "tests.backends.shelf.ShelfBackend"
    settings.TASKS = {"default": {"BACKEND": DATABASE_BACKEND}, "shelf": {"BACKEND": path}}
    settings.ARGUS_MAINT = {"RESCUE": {"*": {}}, "BACKENDS": {path: adapter}}
    ((number, told),) = of_aliases()
    assert number == "W005"
    assert told.startswith(f'TASKS["shelf"]: the adapter of {path} cannot be used: ')
    assert f"ARGUS_MAINT[\"BACKENDS\"]['{path}']" in told and says in told


@pytest.mark.usefixtures("production")
def test_an_adapter_that_fails_ends_no_command(settings, monkeypatch):
    monkeypatch.setattr(Database, "warnings", lambda self: 1 / 0)
    ((number, told),) = of_aliases()
    assert number == "W007"
    assert "its adapter failed: ZeroDivisionError" in told


def test_a_test_run_may_use_what_is_made_for_tests(settings):
    settings.TASKS = OTHERS
    assert of_aliases() == []


@pytest.mark.usefixtures("production")
def test_on_a_production_site_a_backend_without_a_queue_is_a_warning_for_each_alias(settings):
    settings.TASKS = OTHERS
    (first, at_once), (second, noted) = of_aliases()
    assert first == second == "W006"
    assert at_once.startswith('TASKS["at_once"]: ImmediateBackend runs each task inside')
    assert noted == 'TASKS["noted"]: DummyBackend never runs a task: it is meant for tests.'


@pytest.mark.usefixtures("production")
def test_what_another_adapter_warns_of_is_told_in_production(settings, monkeypatch):
    told = ["it is full", "TASKS['default']: it is full."]  # an adapter may name itself
    monkeypatch.setattr(Database, "warnings", lambda self: told)
    assert of_aliases() == [("W007", 'TASKS["default"]: it is full.')] * 2


@pytest.mark.usefixtures("production")
def test_a_site_whose_setting_is_wrong_hears_of_that_and_of_nothing_else(settings):
    settings.TASKS = OTHERS
    settings.ARGUS_MAINT = {"BACKENDS": 5}
    assert set(found()) == {"E001", "W001"}


@pytest.mark.parametrize(
    ("tasks", "warned"),
    [
        ({"default": {"BACKEND": "django_tasks_rq.RQBackend"}}, False),
        ({"a": IMMEDIATE, "b": {"BACKEND": "django_tasks_redis.RedisTaskBackend"}}, False),
        ({"default": IMMEDIATE, "other": DUMMY}, True),
        ({"default": {"BACKEND": f"{__name__}.OwnQueue"}}, False),
        ({"default": {"BACKEND": "django_tasks.backends.nothing.Backend"}}, True),
    ],
)
def test_a_site_with_another_queue_is_not_told_to_take_the_database(settings, tasks, warned):
    settings.TASKS = tasks
    assert bool(backend_checks.check_queue(None)) is warned


@pytest.mark.parametrize(
    ("debug", "command", "told"),
    [(False, "check", True), (True, "check", False), (False, "test", False)],
)
def test_a_real_start_tells_production_from_the_rest(tmp_path, debug, command, told):
    """``manage.py test`` makes its checks after it has found the tests."""
    (tmp_path / "noted_tests.py").write_text(
        "from django.test import SimpleTestCase\n\n\n"
        "class Noted(SimpleTestCase):\n    def test_nothing(self):\n        pass\n"
    )
    tasks = {"default": {"BACKEND": DATABASE_BACKEND}, "noted": DUMMY}
    settings = f"DEBUG = {debug}\nTASKS = {tasks!r}\nARGUS_MAINT = {{'RESCUE': {{}}}}\n"
    apps = [RIGHT[0], *(["django_tasks"] if django.VERSION < (6, 0) else []), RIGHT[1]]
    words = (command, "noted_tests") if command == "test" else (command,)
    done = start(tmp_path, apps, *words, settings=settings)
    assert done.returncode == 0, done.stderr
    assert ("(argus_maint.W006)" in done.stderr) is told
    assert ("Ran 1 test" in done.stderr) is (command == "test")


def test_a_missing_package_stops_no_command_of_ours(tmp_path):
    tasks = {"default": {"BACKEND": DATABASE_BACKEND}, "gone": {"BACKEND": "no.such.Backend"}}
    settings = f"TASKS = {tasks!r}\nARGUS_MAINT = {{'RESCUE': {{}}}}\n"
    done = start(tmp_path, RIGHT, "check", "--tag", ours.TAG, settings=settings)
    assert done.returncode == 0
    assert 'TASKS["gone"]: no.such.Backend cannot be used' in done.stderr
    done = start(tmp_path, RIGHT, "maint", "jobs", "--help", settings=settings)
    assert (done.returncode, done.stderr) == (0, "")


def __getattr__(name: str) -> type:
    if name == "OwnQueue":  # a backend that nobody knows
        base = import_string(
            IMMEDIATE["BACKEND"].replace("immediate.ImmediateBackend", "base.BaseTaskBackend")
        )
        return type(name, (base,), {"enqueue": lambda self: None, "__module__": __name__})
    raise AttributeError(name)
