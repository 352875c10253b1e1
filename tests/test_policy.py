"""What a task declares about its rescue, and what is in force for it."""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import inspect
import json
import subprocess
import sys

import pytest

from argus_maint.conf import Policy, Settings
from argus_maint.policy import declared_options, freeze, policy_for, rescue_policy, thaw


def installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


WORLDS = [name for name in ("django.tasks", "django_tasks") if installed(name)]


@pytest.fixture(params=WORLDS)
def task(request, settings):
    """The ``@task`` of each framework that is there: Django's own, and the backport."""
    backend = f"{request.param}.backends.immediate.ImmediateBackend"
    settings.TASKS = {"default": {"BACKEND": backend}}
    return importlib.import_module(request.param).task


@rescue_policy(on_lost="fail", backoff=(0, "2m"))
def charge() -> str:
    """Charge."""
    return "charged"


def mail() -> None: ...


def trace(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


DECLARED = {"on_lost": "fail", "backoff": (0.0, 120.0)}


# -- declaring


def test_a_policy_below_the_task_decorator_is_read_from_the_task(task):
    assert declared_options(task(charge)) == DECLARED
    assert declared_options(task(priority=5)(charge).using(priority=7)) == DECLARED


def test_a_policy_above_the_task_decorator_returns_the_very_same_task(task):
    decorated = task(mail)
    try:
        assert rescue_policy(time_limit="10m")(decorated) is decorated
        assert declared_options(decorated) == {"time_limit": 600.0}
    finally:
        del mail.argus_maint_policy  # type: ignore[attr-defined]


def test_the_decorated_function_is_the_very_same_and_still_works():
    def pay() -> int:
        return 5

    assert rescue_policy(max_losses=1)(pay) is pay
    assert pay() == 5
    assert charge.__doc__ == "Charge."


def test_an_async_task_keeps_being_async():
    @rescue_policy(max_losses=2)
    async def fetch() -> int:
        return 7

    assert inspect.iscoroutinefunction(fetch)
    assert asyncio.run(fetch()) == 7
    assert declared_options(fetch) == {"max_losses": 2}


def test_a_policy_is_seen_through_a_wrapper():
    assert declared_options(trace(charge)) == DECLARED
    inner = trace(mail)
    outer = trace(inner)
    rescue_policy(on_lost="fail")(inner)  # after outer copied what inner had
    assert declared_options(outer) == {"on_lost": "fail"}
    assert declared_options(mail) == {}


def test_policies_add_up_and_the_outer_one_wins_without_changing_what_it_wraps():
    @rescue_policy(on_lost="requeue", max_losses=7)
    @trace
    @rescue_policy(on_lost="fail", time_limit=5)
    def inner() -> None: ...

    assert declared_options(inner) == {"on_lost": "requeue", "max_losses": 7, "time_limit": 5.0}
    outer = rescue_policy(max_losses=2)(trace(charge))
    assert declared_options(outer) == {**DECLARED, "max_losses": 2}
    assert declared_options(charge) == DECLARED


def test_a_task_that_declares_nothing_has_no_options(task):
    assert declared_options(task(mail)) == {}


def test_what_is_returned_is_a_copy():
    declared_options(charge)["on_lost"] = "requeue"
    assert declared_options(charge) == DECLARED


# -- mistakes


def test_an_unknown_option_is_a_type_error_with_the_one_that_was_meant():
    with pytest.raises(TypeError, match=r"no key 'max_loses'\. Did you mean \"max_losses\"\?"):
        rescue_policy(max_loses=3)  # type: ignore[call-arg]


def test_a_wrong_value_is_a_value_error_where_the_decorator_stands():
    with pytest.raises(ValueError, match=r"rescue_policy\(\): max_losses must be a whole number"):
        rescue_policy(max_losses=0)


def test_a_decorator_without_its_parentheses_says_how_it_is_used():
    with pytest.raises(TypeError, match="takes options by name, as in @rescue_policy"):

        @rescue_policy
        def forgotten() -> None: ...


def test_a_policy_that_says_nothing_is_refused():
    with pytest.raises(TypeError, match="takes options by name"):
        rescue_policy()


@pytest.mark.parametrize("target", [5, "task", print])
def test_what_is_no_task_function_cannot_be_marked(target):
    with pytest.raises(TypeError, match="decorate"):
        rescue_policy(on_lost="fail")(target)


# -- what is in force


SITE = Settings(
    rescue=(
        ("*", {"max_losses": 5, "time_limit": 60.0}),
        ("pay.*", {"on_lost": "fail", "time_limit": 30.0}),
        ("pay.tasks.log", {"on_lost": "requeue"}),
    )
)


def test_without_patterns_the_defaults_are_in_force():
    assert policy_for("a.b", settings=Settings()) == Policy()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("mail.send", Policy(max_losses=5, time_limit=60.0)),
        ("pay.tasks.charge", Policy(on_lost="fail", max_losses=5, time_limit=30.0)),
        ("pay.tasks.log", Policy(on_lost="requeue", max_losses=5, time_limit=30.0)),
        ("PAY.tasks.charge", Policy(max_losses=5, time_limit=60.0)),
    ],
)
def test_the_more_specific_pattern_wins_key_by_key(path, expected):
    assert policy_for(path, settings=SITE) == expected


def test_what_a_task_declares_wins_over_the_patterns():
    policy = policy_for("pay.tasks.charge", {"time_limit": None, "max_losses": 1}, settings=SITE)
    assert policy == Policy(on_lost="fail", max_losses=1, time_limit=None)


def test_the_sites_own_setting_is_used_when_none_is_given(settings):
    settings.ARGUS_MAINT = {"RESCUE": {"a.b": {"on_lost": "fail"}, "*": {"on_lost": "requeue"}}}
    assert policy_for("a.b").on_lost == "fail"
    assert policy_for("a.c").on_lost == "requeue"


# -- stored


def test_a_declared_policy_survives_its_way_through_json():
    stored = json.loads(json.dumps(freeze(DECLARED)))
    assert stored == freeze(DECLARED)
    assert thaw(stored) == DECLARED
    assert policy_for("a.b", stored, settings=Settings()).backoff == (0.0, 120.0)


def test_an_option_that_only_a_newer_version_knows_is_left_out():
    assert thaw({"on_lost": "fail", "of_tomorrow": 1}) == {"on_lost": "fail"}


def test_a_stored_value_that_nobody_knows_is_refused_rather_than_guessed():
    with pytest.raises(ValueError, match="on_lost must be"):
        policy_for("a.b", {"on_lost": "of_tomorrow"}, settings=Settings())


def test_declaring_a_policy_does_not_load_the_task_table():
    code = "import sys, argus_maint.policy; sys.exit('django_tasks_db' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
