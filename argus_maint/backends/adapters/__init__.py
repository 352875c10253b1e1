"""Which adapter stands for which alias of the setting TASKS.

Using it::

    for adapter in adapters(using):
        if adapter.supports_prune:
            adapter.prune(order)

The class in TASKS chooses: it, or the nearest of its bases that is known. What the site
names in ``ARGUS_MAINT["BACKENDS"]`` wins over ours. A backend whose package is missing, or
that nobody knows, has an adapter as well, which says so and supports nothing.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string

from argus_maint.backends.adapters.base import Adapter, in_one_line
from argus_maint.backends.adapters.generic import Broken, Generic

_HERE = "argus_maint.backends.adapters"
# Each by the class as its own package defines it; a subclass is found by its bases.
KNOWN: dict[str, str] = {
    "django_tasks_db.backend.DatabaseBackend": f"{_HERE}.database.Database",
    "django_tasks_local_db.backend.LocalDBBackend": f"{_HERE}.local_db.LocalDatabase",
    "django_tasks_rq.backend.RQBackend": f"{_HERE}.rq.RQ",
    "django_tasks_redis.backends.RedisTaskBackend": f"{_HERE}.redis.Redis",
    "django_tasks_local.backend.FuturesBackend": f"{_HERE}.threadpool.ThreadPool",
    **{
        f"{world}.backends.{module}.{name}": f"{_HERE}.inline.{name.removesuffix('Backend')}"
        for world in ("django.tasks", "django_tasks")
        for module, name in (("immediate", "ImmediateBackend"), ("dummy", "DummyBackend"))
    },
}
PACKAGES = {  # what to install, by the first part of a path in TASKS
    "django_tasks": "django-tasks",
    "django_tasks_db": "django-tasks-db",
    "django_tasks_rq": "django-tasks-rq",
    "django_tasks_redis": "django-tasks-redis",
    "django_tasks_local": "django-tasks-local",
    "django_tasks_local_db": "django-tasks-local-db",
    "django_tasks_cloud": "django-tasks-cloud",
}


def adapters(using: str) -> list[Adapter]:
    """One for each alias, in the order of the setting. Raises nothing."""
    configured = getattr(settings, "TASKS", None)
    if not isinstance(configured, Mapping):
        return []
    return [_adapter(str(alias), each, using) for alias, each in configured.items()]


def elsewhere(using: str, alias: str = "", capability: str = "") -> list[Adapter]:
    """Those that keep their tasks elsewhere than in the task table: all, or of one alias.

    ``capability``, a name of ``base.CAPABILITIES``, leaves out who has it not.
    """
    return [
        each
        for each in adapters(using)
        if not each.in_task_table
        and alias in ("", each.alias)
        and (not capability or each.supports(capability))
    ]


def _adapter(alias: str, configured: Any, using: str) -> Adapter:
    path = configured.get("BACKEND") if isinstance(configured, Mapping) else None
    if not isinstance(path, str):
        return Broken(alias, str(path), f"TASKS[{alias!r}] names no BACKEND", using)
    try:
        backend = _instance(alias, import_string(path))
    except Exception as error:  # noqa: BLE001 - the site's code, or a package that is missing
        return Broken(alias, path, _why(path, error), using)
    try:
        return adapter_class(type(backend), path)(alias, path, backend, using)
    except Exception as error:  # noqa: BLE001 - the site's adapter, or a library of ours
        trouble = f"the adapter of {path} cannot be used: {in_one_line(error)}"
        return Broken(alias, path, trouble, using, backend)


def _instance(alias: str, declared: Any) -> Any:
    """The site's own instance, of the world that its class is built on.

    Both worlds read the same setting and would each make one, and only one is in use.
    """
    worlds = []
    for name in ("django.tasks", "django_tasks"):
        with contextlib.suppress(ImportError):
            base = import_string(f"{name}.backends.base.BaseTaskBackend")
            worlds.append((base, import_string(f"{name}.task_backends")))
    for base, handler in worlds:
        if isinstance(declared, type) and issubclass(declared, base):
            return handler[alias]
    return worlds[0][1][alias]


def adapter_class(backend: type, path: str = "") -> type[Adapter]:
    """The adapter for a backend's class. Raises ImportError where the site's is not there."""
    from argus_maint.conf import get_settings

    named = get_settings().backends
    for each in inspect.getmro(backend):
        own = f"{each.__module__}.{each.__qualname__}"
        for known in (own, path if each is backend else ""):
            if known in named:
                return _of_the_site(known, named[known])
        if own in KNOWN:
            return import_string(KNOWN[own])  # type: ignore[no-any-return]
        if each.__module__.startswith("django_tasks_cloud."):
            return import_string(f"{_HERE}.cloud.Cloud")  # type: ignore[no-any-return]
    return Generic


def _of_the_site(backend: str, path: str) -> type[Adapter]:
    where = f'ARGUS_MAINT["BACKENDS"][{backend!r}]'
    try:
        found = import_string(path)
    except ImportError as error:
        raise ImportError(f"{where}: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Adapter)):
        base = f"{Adapter.__module__}.{Adapter.__name__}"
        raise TypeError(f"{where}: {path} is no subclass of {base}")
    return found


def _why(path: str, error: Exception) -> str:
    package = PACKAGES.get(path.partition(".")[0])
    missing = error.name if isinstance(error, ModuleNotFoundError) else ""
    if package and (missing or "").split(".")[0] == path.partition(".")[0]:
        return f"{path} needs the package {package}: pip install {package}"
    return f"{path} cannot be used: {' '.join(f'{type(error).__name__}: {error}'.split())}"
