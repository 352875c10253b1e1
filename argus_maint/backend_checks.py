"""System checks of the setting TASKS, by what the adapter of each alias has to say.

Like those of ``argus_maint.checks``, where their ids are listed, they run at the start of
every command: none asks a server, or raises. All of them are warnings: an alias that cannot
be used must not keep the workers of the others from starting.
"""

from __future__ import annotations

import sys
from importlib import metadata
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.db import DEFAULT_DB_ALIAS

from argus_maint import conf
from argus_maint.backends.adapters import PACKAGES, adapters
from argus_maint.backends.adapters.base import Adapter, in_one_line
from argus_maint.backends.adapters.generic import Broken
from argus_maint.backends.adapters.inline import Dummy, Immediate
from argus_maint.checks import APP, TAG, TASKS_APP, AppConfigs
from argus_maint.conf_jobs import WRONG_JOB

NO_QUEUE, UNUSABLE, INLINE, ADVICE = (f"{APP}.W{number}" for number in ("004", "005", "006", "007"))
PER_ALIAS = (UNUSABLE, INLINE, ADVICE)  # each message is about one alias
FRAMEWORK = "django_tasks"  # the backport: a package, and no queue


def register_checks() -> None:
    """Register every check under the tag of the others. Calling it again changes nothing."""
    for check in (check_queue, check_aliases):
        checks.register(check, TAG)


def check_queue(app_configs: AppConfigs, **kwargs: Any) -> list[checks.CheckMessage]:
    """W004: a warning only, for a site may run its tests on another backend."""
    if not _can_ask() or any(map(_has_queue, _adapters())):
        return []
    return [
        checks.Warning(
            "No alias of TASKS has a queue: nothing that is enqueued reaches a worker, and "
            "db_worker has nothing to work on.",
            hint=f'Set TASKS = {{"default": {{"BACKEND": "{TASKS_APP}.DatabaseBackend"}}}}. Where '
            f'that is meant, as in tests, add "{NO_QUEUE}" to SILENCED_SYSTEM_CHECKS.',
            id=NO_QUEUE,
        )
    ]


def check_aliases(app_configs: AppConfigs, **kwargs: Any) -> list[checks.CheckMessage]:
    """W005 to W007: what is wrong with single aliases; the others are looked after."""
    if not _can_ask():
        return []
    return [message for adapter in _adapters() for message in messages(adapter)]


def messages(adapter: Adapter) -> list[checks.CheckMessage]:
    """What the checks have to say about one alias."""
    where = f'TASKS["{adapter.alias}"]'
    if isinstance(adapter, Broken):
        what = (
            "Nothing can be enqueued on it" if adapter.backend is None else "It is not looked after"
        )
        hint = (
            f"{what}; the other aliases are looked after. "
            f'"manage.py maint backends {adapter.alias}" tells when it can be used.'
        )
        return [checks.Warning(f"{where}: {adapter.trouble}.", hint=hint, id=UNUSABLE)]
    if not is_production():
        return []
    number, what = ADVICE, "Change it"
    if isinstance(adapter, (Immediate, Dummy)):
        number, what = INLINE, "Name a backend that has workers"
    hint = f'{what}; or where it is meant, add "{number}" to SILENCED_SYSTEM_CHECKS.'
    return [checks.Warning(f"{where}: {line}.", hint=hint, id=number) for line in advice(adapter)]


def advice(adapter: Adapter) -> list[str]:
    """What its adapter warns of, without the alias and the full stop that it may have."""
    own = (f"TASKS[{adapter.alias!r}]: ", f'TASKS["{adapter.alias}"]: ')
    lines = []
    try:
        told = adapter.warnings()
    except Exception as error:  # noqa: BLE001 - a site's own adapter must not end every command
        told = [f"its adapter failed: {in_one_line(error)}"]
    for line in told:
        for prefix in own:
            line = line.removeprefix(prefix)
        lines.append(line.rstrip("."))
    return lines


def is_production() -> bool:
    """Whether this looks like a production site: DEBUG is off, and that is the site's doing.

    A test run turns DEBUG off whatever the site has, and tests are what ImmediateBackend and
    DummyBackend are made for. Whichever the runner, while Django is set up for tests its
    mail module has an outbox; the command ``test`` makes its checks before that.
    """
    tested = hasattr(sys.modules.get("django.core.mail"), "outbox") or sys.argv[1:2] == ["test"]
    return not (settings.DEBUG or tested)


def missing_package(adapter: Adapter) -> str:
    """What has to be installed before an alias can be used; empty where it is not that."""
    package = PACKAGES.get(_top(adapter), "")
    if not package or not isinstance(adapter, Broken):
        return ""
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return package
    return ""


def _can_ask() -> bool:
    """Whether adapters can be made; where they cannot, an error of another check says why."""
    wrong = {each.id for each in conf.problems(conf.raw_setting())} - {WRONG_JOB}
    return apps.is_installed(APP) and apps.is_installed(TASKS_APP) and not wrong


def _adapters() -> list[Adapter]:
    return adapters(DEFAULT_DB_ALIAS)


def _has_queue(adapter: Adapter) -> bool:
    """Whether workers take from it; of one that cannot be used, whether they would."""
    if isinstance(adapter, Broken):
        return _top(adapter) in PACKAGES and _top(adapter) != FRAMEWORK
    return not isinstance(adapter, (Immediate, Dummy)) and hasattr(adapter.backend, "enqueue")


def _top(adapter: Adapter) -> str:
    return adapter.path.partition(".")[0]
