"""System checks: ``manage.py check --tag argus_maint``.

They run at the start of every command, so none opens a database connection,
imports a site's task modules or its URLconf, or raises. W004 to W007 are made in
``argus_maint.backend_checks``.

=====  ===========================================================================
E001   a value in ARGUS_MAINT is wrong
E002   a key in ARGUS_MAINT is unknown
E003   the lease and the beat do not fit each other
E004   a job is set wrong, or its command does not exist; the other jobs run
E010   argus_maint is listed after django_tasks_db, whose db_worker then wins
E011   django_tasks_db is not installed
E012   routers send our tables and the task table to different databases
W001   RESCUE is not set: lost tasks are run again by default
W002   this version of django-tasks-db is not one that was tested
W003   another app, listed before argus_maint, has a command of ours, which then wins
W004   no alias of TASKS has a queue: what is enqueued reaches no worker
W005   an alias of TASKS cannot be used: its package is missing, or its class
W006   ImmediateBackend or DummyBackend on a site that looks like production
W007   what a production site should know about another backend of its own
=====  ===========================================================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings
from django.core import checks
from django.core.management import find_commands, get_commands
from django.db import router
from django.utils.module_loading import import_string

from argus_maint import conf
from argus_maint.options import did_you_mean

TAG = "argus_maint"

APP = "argus_maint"
TASKS_APP = "django_tasks_db"
TASKS_DISTRIBUTION = "django-tasks-db"
OLDEST_TESTED = (0, 12)
NEWEST_TESTED = (0, 13)

# Built on the database backend, but each of its processes runs tasks itself, and again those
# of others: who treats its rows as a worker's would run them twice.
LOCAL_DB = "django_tasks_local_db"

# Commands of others, by ours.
OVERRIDDEN = ("db_worker", "concurrent_worker", "crontask", "prune_db_task_results")

NO_TASKS_APP = f"{TASKS_APP} is not in INSTALLED_APPS, and {APP} looks after its table."
ADD_TASKS_APP = f'Add "{TASKS_APP}" to INSTALLED_APPS, after "{APP}".'

AppConfigs = Sequence[AppConfig] | None


def register_checks() -> None:
    """Register every check under ``TAG``. Calling it again changes nothing."""
    for check in (
        check_setting,
        check_job_commands,
        check_installed_apps,
        check_routers,
        check_rescue_is_set,
        check_tasks_version,
    ):
        checks.register(check, TAG)


def check_setting(app_configs: AppConfigs, **kwargs: Any) -> list[checks.CheckMessage]:
    """E001 to E004: everything that is wrong with ARGUS_MAINT."""
    return [
        checks.Error(problem.message, hint=problem.hint, id=problem.id)
        for problem in conf.problems(conf.raw_setting())
    ]


def check_job_commands(app_configs: AppConfigs, **kwargs: Any) -> list[checks.CheckMessage]:
    """E004: a job that is a command which does not exist."""
    jobs = conf.jobs_of(conf.raw_setting()).values()
    commands = [job for job in jobs if job.kind == "command"]
    known = get_commands() if commands else {}
    return [
        checks.Error(
            f'{conf.NAME}["JOBS"]["{job.name}"]: there is no command "{job.target}".'
            f"{did_you_mean(job.target, known)}",
            hint="manage.py help lists them all.",
            id=f"{APP}.E004",
        )
        for job in commands
        if job.target not in known
    ]


def check_installed_apps(app_configs: AppConfigs, **kwargs: Any) -> list[checks.CheckMessage]:
    """E010, E011 and W003: which apps are there, and whose commands win."""
    names = [config.name for config in apps.get_app_configs()]
    if TASKS_APP not in names:
        return [checks.Error(NO_TASKS_APP, hint=ADD_TASKS_APP, id=f"{APP}.E011")]
    before = names[: names.index(APP)] if APP in names else names
    if TASKS_APP in before:
        return [
            checks.Error(
                f"{APP} is listed after {TASKS_APP} in INSTALLED_APPS, so `manage.py db_worker` "
                f"is the stock one: no heartbeat, no fence, no rescue.",
                hint=f'List "{APP}" before "{TASKS_APP}". In Argus, name it in '
                "ARGUS_OVERRIDING_APPS instead of ARGUS_EXTRA_APPS.",
                id=f"{APP}.E010",
            )
        ]
    return [
        checks.Warning(
            f"{name} is listed before {APP} and has a {command} command of its own, which wins.",
            hint=f'List "{APP}" before "{name}". If that command builds on the one of {APP}, '
            f'add "{APP}.W003" to SILENCED_SYSTEM_CHECKS.',
            id=f"{APP}.W003",
        )
        for name in before
        for command in find_commands(str(Path(_app_config(name).path) / "management"))
        if command in OVERRIDDEN
    ]


def check_routers(app_configs: AppConfigs, **kwargs: Any) -> list[checks.CheckMessage]:
    """E012: a rescue and its ledger entry are one transaction, so one database holds both."""
    if not (apps.is_installed(APP) and apps.is_installed(TASKS_APP)):
        return []
    task_model = _app_config(TASKS_APP).get_model("DBTaskResult")
    hint = (
        f"A rescue and its ledger entry are one transaction: let DATABASE_ROUTERS send the app "
        f'label "{APP}" where it sends "{task_model._meta.app_label}", for reads, writes and '
        f"migrations."
    )
    try:
        theirs = router.db_for_write(task_model)
        ours = {
            model.__name__: router.db_for_write(model) for model in _app_config(APP).get_models()
        }
    except Exception as error:  # noqa: BLE001 - a router is the site's code
        message = f"A database router failed on the tables of {APP} or {TASKS_APP}: {error!r}."
        return [checks.Error(message, hint=hint, id=f"{APP}.E012")]
    strays = sorted(name for name, alias in ours.items() if alias != theirs)
    if not strays:
        return []
    aliases = ", ".join(sorted({f'"{ours[name]}"' for name in strays}))
    return [
        checks.Error(
            f'The task table is in database "{theirs}", but database routers send '
            f"{', '.join(strays)} to {aliases}.",
            hint=hint,
            id=f"{APP}.E012",
        )
    ]


def check_rescue_is_set(app_configs: AppConfigs, **kwargs: Any) -> list[checks.CheckMessage]:
    """W001: a site should know that its tasks may run more than once."""
    raw = conf.raw_setting()
    if isinstance(raw, Mapping) and "RESCUE" in raw:
        return []
    if not database_backends():
        return []
    return [
        checks.Warning(
            'ARGUS_MAINT["RESCUE"] is not set: by default a task whose worker dies is run again, '
            "even if its effects were already committed (at least once).",
            hint="Make tasks idempotent, with task_result.id as the key, and give "
            '{"on_lost": "fail"} to those that must not repeat. To accept the defaults, set '
            'ARGUS_MAINT = {"RESCUE": {"*": {}}}.',
            id=f"{APP}.W001",
        )
    ]


def database_backends() -> list[str]:
    """Aliases of TASKS whose tasks are in the database, for workers to take."""
    return [alias for alias, path in _paths_by_alias().items() if is_database_backend(path)]


def local_database_backends() -> list[str]:
    """Aliases of TASKS whose tasks are in the database too, and are run by web processes."""
    return [alias for alias, path in _paths_by_alias().items() if _runs_by_itself(path)]


def _paths_by_alias() -> dict[str, str]:
    configured = getattr(settings, "TASKS", None)
    if not isinstance(configured, Mapping):
        return {}
    paths = {
        alias: each.get("BACKEND")
        for alias, each in configured.items()
        if isinstance(each, Mapping)
    }
    return {alias: path for alias, path in paths.items() if isinstance(path, str)}


def is_database_backend(path: str) -> bool:
    """Whether a class keeps its tasks in the database, and runs none of them itself."""
    if path.startswith(f"{TASKS_APP}."):
        return True
    bases = _bases(path)
    return f"{TASKS_APP}.backend.DatabaseBackend" in bases and not _is_local(bases)


def _runs_by_itself(path: str) -> bool:
    return not path.startswith(f"{TASKS_APP}.") and _is_local(_bases(path))


def _is_local(bases: set[str]) -> bool:
    return f"{LOCAL_DB}.backend.LocalDBBackend" in bases


def _bases(path: str) -> set[str]:
    """A class and all that it is built on, by their names; its package may be missing."""
    try:
        return {f"{each.__module__}.{each.__qualname__}" for each in import_string(path).__mro__}
    except Exception:  # noqa: BLE001 - a backend that cannot be imported is not ours to report
        return set()


def check_tasks_version(app_configs: AppConfigs, **kwargs: Any) -> list[checks.CheckMessage]:
    """W002: the worker builds on parts of django-tasks-db that may change."""
    try:
        version = metadata.version(TASKS_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return []
    match = re.match(r"(\d+)\.(\d+)", version)
    if match and OLDEST_TESTED <= (int(match[1]), int(match[2])) <= NEWEST_TESTED:
        return []
    tested = " to ".join(".".join(map(str, each)) for each in (OLDEST_TESTED, NEWEST_TESTED))
    return [
        checks.Warning(
            f"{TASKS_DISTRIBUTION} {version} is installed; {APP} was tested with {tested}.",
            hint=f"Install a tested version of {TASKS_DISTRIBUTION}, or a newer {APP}.",
            id=f"{APP}.W002",
        )
    ]


def _app_config(name: str) -> AppConfig:
    return next(config for config in apps.get_app_configs() if config.name == name)
