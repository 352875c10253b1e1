"""Settings, the order of the apps, versions."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from importlib import metadata

import django
from django.conf import settings
from django.core.checks import CheckMessage, run_checks

from argus_maint import __version__
from argus_maint.backend_checks import PER_ALIAS
from argus_maint.checks import TAG, TASKS_DISTRIBUTION
from argus_maint.doctor.line import Line, bad, ok, warn

TOPIC = "settings"
ORDER, VERSIONS = "apps", "versions"
# Why each check is made: its message says what is, and its hint what to do.
WHY = {
    "E001": "No command of argus_maint starts while ARGUS_MAINT is wrong: no worker, no job.",
    "E002": "A key that nobody knows is one that has no effect; no command starts meanwhile.",
    "E003": "A process that misses one beat would be taken for dead while it works.",
    "E004": "This job does not run; the others do.",
    "E010": "Tasks of a worker that is killed stay RUNNING for ever, and nobody notices.",
    "E011": "There is no table of tasks to look after.",
    "E012": "A rescue and its record could not be one transaction.",
    "W001": "A task whose worker dies is run again, and has its effects twice.",
    "W002": "db_worker builds on parts of it that may have changed.",
    "W003": "What you start is not the command that this documentation is about.",
    "W004": "What is enqueued never reaches a worker.",
}
OF_APPS = ("E010", "E011", "W003")
OLDEST, TOO_NEW = (5, 2), (6, 2)  # of Django


def look(using: str) -> Iterator[Line]:
    """Every message of our system checks, and what they do not look at."""
    found = run_checks(tags=[TAG])
    silenced = [each for each in found if each.is_silenced()]
    found = [each for each in found if not each.is_silenced()]
    for message in found:
        if message.id not in PER_ALIAS:  # told with the backends
            yield _line(message)
    if not found:
        yield ok(TOPIC, "ARGUS_MAINT, TASKS and the routers are right")
    if not any(_number(each) in OF_APPS for each in found):
        yield ok(ORDER, "argus_maint comes before django_tasks_db: db_worker is ours")
    if silenced:
        ids = ", ".join(sorted({str(each.id) for each in silenced}))
        yield ok(TOPIC, f"SILENCED_SYSTEM_CHECKS hides {ids}")
    yield from _debug()
    yield from _versions(any(_number(each) == "W002" for each in found))


def _number(message: CheckMessage) -> str:
    return str(message.id).rpartition(".")[2]


def _line(message: CheckMessage) -> Line:
    make = bad if message.is_serious() else warn
    number = _number(message)
    topic = {"W002": VERSIONS}.get(number, ORDER if number in OF_APPS else TOPIC)
    why = WHY.get(number, "The check says so.")
    return make(topic, f"{message.msg} ({message.id})", why, message.hint or message.msg)


def _debug() -> Iterator[Line]:
    if settings.DEBUG:
        yield warn(
            TOPIC,
            "DEBUG is on",
            "A db_worker without --processes is then one process for development, without a "
            "supervisor; Django keeps every query in memory.",
            "Set DEBUG = False in production; or start db_worker with --no-reload.",
        )


def _versions(is_told: bool) -> Iterator[Line]:
    """``is_told``: a check speaks of django-tasks-db already."""
    names = {"argus_maint": __version__, "Python": platform.python_version()}
    names["Django"] = django.get_version()
    try:
        names[TASKS_DISTRIBUTION] = metadata.version(TASKS_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        names[TASKS_DISTRIBUTION] = "of no version"
    text = ", ".join(f"{name} {version}" for name, version in names.items())
    major = tuple(int(each) for each in re.findall(r"\d+", names["Django"])[:2])
    if not OLDEST <= major < TOO_NEW:
        yield warn(
            VERSIONS,
            text,
            "argus_maint was tested with Django 5.2 to 6.1.",
            "Install one of these, or a newer argus_maint.",
        )
    elif not is_told:
        yield ok(VERSIONS, text)
