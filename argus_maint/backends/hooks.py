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
# Nothing of these is, or is built on, a pool in memory.
_OTHERS = {"django", "django_tasks", "django_tasks_cloud", "django_tasks_db"}
_OTHERS |= {"django_tasks_local_db", "django_tasks_redis", "django_tasks_rq"}


def install() -> None:
    """Hook into what TASKS names. Raises nothing; calling it again changes nothing."""
    if any(map(_is_pool, _paths())):
        from argus_maint.backends import pools

        pools.install()


def _paths() -> list[str]:
    configured = getattr(settings, "TASKS", None)
    if not isinstance(configured, Mapping):
        return []
    paths = (each.get("BACKEND") for each in configured.values() if isinstance(each, Mapping))
    return [path for path in paths if isinstance(path, str)]


def _is_pool(path: str) -> bool:
    """Whether it is a pool of django-tasks-local, or a site's class that is built on one."""
    package = path.partition(".")[0]
    if package == POOLS:
        return find_spec(POOLS) is not None
    if package in _OTHERS or find_spec(POOLS) is None:
        return False
    with contextlib.suppress(Exception):  # the site's code; Django's own checks tell of it
        declared = import_string(path)
        return any(each.__module__.startswith(f"{POOLS}.") for each in declared.__mro__)
    return False
