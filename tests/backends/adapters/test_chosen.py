"""Which adapter stands for which alias."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import override_settings

from argus_maint.backends.adapters import adapters
from argus_maint.backends.adapters.base import CAPABILITIES, Adapter


def by_alias() -> dict[str, Adapter]:
    return {each.alias: each for each in adapters("default")}


def test_every_alias_has_one_in_the_order_of_the_setting(settings: Any) -> None:
    assert list(by_alias()) == list(settings.TASKS)


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("default", "database"),
        ("immediate", "immediate"),
        ("old_immediate", "immediate"),
        ("dummy", "dummy"),
        ("old_dummy", "dummy"),
        ("gone", "unusable"),
    ],
)
def test_the_class_chooses(alias: str, name: str) -> None:
    assert by_alias()[alias].name == name


def test_what_is_not_supported_has_a_reason() -> None:
    for adapter in adapters("default"):
        if adapter.name != "unusable":
            missing = {each for each in CAPABILITIES if not adapter.supports(each)}
            assert missing <= set(adapter.why_not), adapter


@pytest.mark.parametrize(
    ("backend", "says"),
    [
        ("django_tasks_nowhere.Backend", "No module named 'django_tasks_nowhere'"),
        ("django_tasks_db.Backendd", 'does not define a "Backendd"'),
        (None, "TASKS['x'] names no BACKEND"),
        ("nonsense", "nonsense cannot be used"),
    ],
)
def test_a_backend_that_cannot_be_used_says_so_and_spares_the_others(
    backend: str | None, says: str
) -> None:
    with override_settings(
        TASKS={
            "x": {"BACKEND": backend},
            "default": {"BACKEND": "django_tasks_db.DatabaseBackend"},
        }
    ):
        broken, good = adapters("default")
    assert says in broken.warnings()[0]
    assert "\n" not in broken.warnings()[0]
    assert good.name == "database"


@override_settings(
    TASKS={"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}},
    ARGUS_MAINT={
        "BACKENDS": {
            "django_tasks_db.DatabaseBackend": "argus_maint.backends.adapters.generic.Generic"
        }
    },
)
def test_a_site_names_its_own() -> None:
    assert adapters("default")[0].name == "generic"
