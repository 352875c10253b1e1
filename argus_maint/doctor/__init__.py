"""Whether a site is set up so that its queue can be healthy: what ``maint doctor`` looks at.

Using it::

    for line in examine("default"):
        print(line.level, line.topic, line.found)

Each examiner is a module with ``look(using) -> Iterator[Line]`` that looks at one theme. It
changes nothing. One that raises is a line itself, and stops no other: where the database is
away, settings, disk and units can still be looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from django.db import Error

from argus_maint.database import MIGRATE, discard, in_plain_words, what_helps
from argus_maint.doctor import backends, boot, clocks, databases, disks, schedules, site, tables
from argus_maint.doctor.line import BAD, OK, WARN, Line, bad

__all__ = ["BAD", "OK", "WARN", "Line", "examine"]

Examiner = Callable[[str], Iterator[Line]]
EXAMINERS: dict[str, Examiner] = {
    "settings": site.look,
    "backends": backends.look,
    "database": databases.look,
    "tables": tables.look,
    "clock": clocks.look,
    "schedules": schedules.look,
    "start": boot.look,
    "files": disks.look,
}
NEEDS_DATABASE = ("tables", "clock", "schedules")


def examine(using: str) -> list[Line]:
    """Every line, theme by theme."""
    lines: list[Line] = []
    answers = True
    for topic, examiner in EXAMINERS.items():
        if not answers and topic in NEEDS_DATABASE:
            continue
        found, failed = _examined(topic, examiner, using)
        lines += found
        answers = answers and not (failed and topic == "database")
    return lines


def _examined(topic: str, examiner: Examiner, using: str) -> tuple[list[Line], bool]:
    lines: list[Line] = []
    try:
        lines.extend(examiner(using))
    except Error as error:
        discard(using)
        if what_helps(error) == MIGRATE:  # told with the tables
            return lines, True
        why = "Without it nothing of ours works, and nothing more could be looked at here."
        fix = "Repair the database, or the setting DATABASES; then run maint doctor again."
        lines.append(bad(topic, in_plain_words(error), why, fix))
    except Exception as error:  # noqa: BLE001 - settings may be wrong in any way
        found = f"this could not be looked at: {type(error).__name__}: {error}"
        why = "What is wrong here stays unseen."
        lines.append(bad(topic, found, why, "Correct what it names; if it is right, report it."))
    else:
        return lines, False
    return lines, True
