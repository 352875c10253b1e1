"""Where a backend says nothing by itself: what is hooked into this process, and when.

``install`` looks at the paths in TASKS, as text. Only what these name is imported, so a site
that runs none of these packages pays for a look at its setting and nothing else.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from importlib.util import find_spec

from django.conf import settings
from django.utils.module_loading import import_string

POOLS = "django_tasks_local"
# Packages of backends that tell more than their signals do.
_SEEN = {"django", "django_tasks", "django_tasks_db", "django_tasks_local"}
_SEEN |= {"django_tasks_local_db", "django_tasks_redis", "django_tasks_rq"}


def install() -> None:
    """Hook into what TASKS names. Raises nothing; calling it again changes nothing."""
    paths = _paths()
    if any(map(_is_pool, paths.values())):
        from argus_maint.backends import pools

        pools.install()
    if unseen := {alias for alias, path in paths.items() if path.partition(".")[0] not in _SEEN}:
        from argus_maint.backends import signals

        signals.install(unseen)


def _paths() -> dict[str, str]:
    configured = getattr(settings, "TASKS", None)
    if not isinstance(configured, Mapping):
        return {}
    paths = {
        str(alias): each.get("BACKEND")
        for alias, each in configured.items()
        if isinstance(each, Mapping)
    }
    return {alias: path for alias, path in paths.items() if isinstance(path, str)}


def _is_pool(path: str) -> bool:
    """Whether it is a pool of django-tasks-local, or a site's class that is built on one."""
    package = path.partition(".")[0]
    if package in _SEEN | {"django_tasks_cloud"} or find_spec(POOLS) is None:
        return package == POOLS and find_spec(POOLS) is not None
    with contextlib.suppress(Exception):  # the site's code; Django's own checks tell of it
        declared = import_string(path)
        return any(each.__module__.startswith(f"{POOLS}.") for each in declared.__mro__)
    return False
