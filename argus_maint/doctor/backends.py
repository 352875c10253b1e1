"""Each alias of TASKS: whether it can be used, and what maintenance can do on it."""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings

from argus_maint import backend_checks
from argus_maint.backends.adapters import adapters
from argus_maint.backends.adapters.base import CAPABILITIES, Adapter
from argus_maint.backends.adapters.generic import Broken
from argus_maint.conf import get_settings
from argus_maint.doctor.line import Line, bad, ok, warn

TOPIC = "backends"
MORE = "manage.py maint backends {alias} says more."


def look(using: str) -> Iterator[Line]:
    """A line for each alias, and one for each warning about it. Asks no server."""
    get_settings()  # where ARGUS_MAINT is wrong, that is what is wrong
    for adapter in adapters(using):
        if isinstance(adapter, Broken):
            yield _unusable(adapter)
            continue
        warnings = list(_warnings(adapter))
        yield from warnings or [ok(TOPIC, f"{adapter.alias}: {adapter.path}, {_able(adapter)}")]


def _unusable(adapter: Broken) -> Line:
    package = backend_checks.missing_package(adapter)
    why = "Nothing can be enqueued on it, and"
    fix = f'Install what is missing, or correct TASKS["{adapter.alias}"].'
    if adapter.backend is not None:
        why, fix = "Tasks can be enqueued on it, but", 'Correct ARGUS_MAINT["BACKENDS"].'
    return bad(
        TOPIC,
        f"{adapter.alias}: {adapter.trouble} ({backend_checks.UNUSABLE})",
        f"{why} nothing of it is looked after.",
        f"pip install {package}" if package else fix,
    )


def _warnings(adapter: Adapter) -> Iterator[Line]:
    for message in backend_checks.messages(adapter):
        if message.id not in settings.SILENCED_SYSTEM_CHECKS:
            found = message.msg.partition(": ")[2].rstrip(".")
            why = f"On it maintenance {_able(adapter)}."
            fix = message.hint or MORE.format(alias=adapter.alias)
            yield warn(TOPIC, f"{adapter.alias}: {found} ({message.id})", why, fix)


def _able(adapter: Adapter) -> str:
    missing = [each for each in CAPABILITIES if not adapter.supports(each)]
    if not missing:
        return "can do everything"
    if len(missing) == len(CAPABILITIES):
        return "can do nothing but schedules and pings"
    return f"cannot do {', '.join(missing)}"
