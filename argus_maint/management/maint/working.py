"""Which workers the aliases of TASKS need: for ``maint units``."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.management.base import CommandError

from argus_maint.backends.adapters import adapters
from argus_maint.backends.adapters.base import Adapter
from argus_maint.backends.adapters.generic import Broken
from argus_maint.management.maint.arguments import Arguments, name
from argus_maint.management.maint.context import Context, known_backend
from argus_maint.units import Site
from argus_maint.units.workers import (
    DATABASE,
    Worker,
    concurrent_worker,
    redis_worker,
    role,
    rq_worker,
)

TABLE, RQ, REDIS, NONE = "worker", "rq", "redis", ""
# By the first part of the module of a backend's class, or of the nearest of its bases. One of
# django-tasks-local-db runs its tasks by itself, though it is built on the task table's.
PROGRAMS = {
    "django_tasks_local_db": NONE,
    "django_tasks_db": TABLE,
    "django_tasks_rq": RQ,
    "django_tasks_redis": REDIS,
}
CONCURRENT = "django_tasks_concurrent"
# Of RQ_QUEUES: what says where a queue is. The queues of one rqworker are in one place.
PLACE = (
    *("URL", "HOST", "PORT", "DB", "PASSWORD", "SSL", "SSL_CERT_REQS", "UNIX_SOCKET_PATH"),
    *("SENTINELS", "MASTER_NAME", "SOCKET_TIMEOUT", "CONNECTION_KWARGS", "USE_REDIS_CACHE"),
)


def add_workers(parser: Arguments) -> None:
    """Which workers are meant."""
    parser.add_argument(
        "--backend",
        type=name,
        action="append",
        default=[],
        metavar="ALIAS",
        help="Only the workers of this alias of the setting TASKS; may be repeated (default: "
        "of each alias that has workers).",
    )
    parser.add_argument(
        "--concurrent",
        type=name,
        action="append",
        default=[],
        metavar="ALIAS",
        help="The concurrent_worker of django-tasks-concurrent takes the tasks of this alias "
        "from the task table, and not db_worker; may be repeated.",
    )


def with_workers(context: Context, site: Site, options: dict[str, Any]) -> Site:
    """The site with the workers of its aliases; exit 2 where the options name a wrong one."""
    chosen = {known_backend(alias) for alias in options["backend"]}
    programs: dict[str, str] = {}
    for adapter in adapters(context.using):
        if chosen and adapter.alias not in chosen:
            continue
        programs[adapter.alias] = program(adapter)
        if adapter.alias in chosen and not programs[adapter.alias]:
            raise CommandError(_no_worker(adapter), returncode=2)
        if isinstance(adapter, Broken):
            context.note(f'TASKS["{adapter.alias}"]: {adapter.trouble}')
    _check_concurrent(context, programs, options["concurrent"])
    if not any(programs.values()):
        context.note("no alias of TASKS has workers: only the scheduler is written")
    return _filled(site, programs, options["concurrent"])


def program(adapter: Adapter) -> str:
    """Which program works an alias; empty where none does, or nobody knows."""
    classes = () if adapter.backend is None else inspect.getmro(type(adapter.backend))
    for path in (*(each.__module__ for each in classes), adapter.path):
        found = PROGRAMS.get(path.partition(".")[0])
        if found is not None:
            return found
    return NONE


def _no_worker(adapter: Adapter) -> str:
    if isinstance(adapter, Broken):
        return f'TASKS["{adapter.alias}"]: {adapter.trouble}.'
    why = adapter.why_not.get("liveness", "no worker of it is known here")
    return f'TASKS["{adapter.alias}"] has no workers to write: {why}.'


def _check_concurrent(context: Context, programs: Mapping[str, str], aliases: list[str]) -> None:
    for alias in aliases:
        if programs.get(known_backend(alias)) != TABLE:
            raise CommandError(
                f'--concurrent {alias}: TASKS["{alias}"] is no alias of the task table that is '
                "written here.",
                returncode=2,
            )
    if aliases and not apps.is_installed(CONCURRENT):
        context.note(f"{CONCURRENT} is not in INSTALLED_APPS, and brings concurrent_worker")


def _filled(site: Site, programs: Mapping[str, str], concurrent: list[str]) -> Site:
    table = [a for a, found in programs.items() if found == TABLE and a not in concurrent]
    first = "default" if "default" in table else next(iter(table), "")
    site = replace(site, database=bool(table), backend="" if first == "default" else first)
    taken = ["worker", "scheduler"]
    others: list[Worker] = []
    for alias, found in programs.items():
        if alias == first:
            continue
        for worker in _workers(site, alias, "concurrent" if alias in concurrent else found, taken):
            taken.append(worker.role)
            others.append(worker)
    return replace(site, others=tuple(others))


def _workers(site: Site, alias: str, found: str, taken: list[str]) -> Iterator[Worker]:
    """The workers of one alias. ``taken`` grows while they are made."""
    if found == TABLE:
        command = replace(site, backend=alias).worker
        yield Worker(role("worker", alias, taken), command, DATABASE)
    elif found == REDIS:
        yield redis_worker(role("redis", alias, taken), alias, site.grace)
    elif found == RQ:
        for names in _places(alias):
            yield rq_worker(role("rq", alias, taken), names)
    elif found == "concurrent":
        for queue in _queues(alias) or [getattr(settings, "TASK_QUEUE_NAME", "default")]:
            yield concurrent_worker(role("concurrent", queue, taken), alias, queue)


def _queues(alias: str) -> list[str]:
    """As TASKS has them; none: any queue."""
    named = settings.TASKS[alias].get("QUEUES", ["default"]) or ()
    return [str(each) for each in (named if isinstance(named, (list, tuple)) else sorted(named))]


def _places(alias: str) -> list[list[str]]:
    """The queues of an alias on RQ, by where they are."""
    known: Mapping[str, Any] = getattr(settings, "RQ_QUEUES", {})
    places: list[tuple[dict[str, Any], list[str]]] = []
    for queue in _queues(alias) or known:
        if queue not in known:
            raise CommandError(
                f'TASKS["{alias}"] has the queue "{queue}", and RQ_QUEUES has not.', returncode=2
            )
        place = {key: known[queue][key] for key in PLACE if key in known[queue]}
        names = next((names for where, names in places if where == place), None)
        if names is None:
            places.append((place, [queue]))
        else:
            names.append(queue)
    return [names for _, names in places]
