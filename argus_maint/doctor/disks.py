"""Room on disks, folders that must take files, and who runs all of it."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import Error, connections
from django.utils.module_loading import import_string

from argus_maint.backends.space.sqlite import path_of
from argus_maint.conf import get_settings
from argus_maint.database import discard
from argus_maint.doctor.files import free, nearest, why_not_writable
from argus_maint.doctor.line import Line, bad, ok, warn
from argus_maint.observe.space import humane

TOPIC = "files"
GIB = 2**30
LITTLE, TIGHT = GIB // 10, GIB  # bytes
SHARE = 0.05  # of the disk


def look(using: str) -> Iterator[Line]:
    """The file of SQLite and the archive; elsewhere the server's disk is not seen from here."""
    database = _file(using)
    if database is not None:
        yield _room(f"the database {database}", database)
        yield from _owner(database)
    try:
        prune = get_settings().prune
    except ImproperlyConfigured:  # told by the checks
        return
    if prune.archive:
        yield from _archive(Path(prune.archive))
    if prune.redact:
        yield _redact(prune.redact)


def _file(using: str) -> Path | None:
    connection: Any = connections[using]
    if connection.vendor != "sqlite":
        return None
    try:
        return path_of(connection)
    except Error:  # it cannot be opened; that is told elsewhere
        discard(using)
        return Path(connection.settings_dict["NAME"])


def _room(what: str, path: Path) -> Line:
    left, whole = free(path)
    text = f"{humane(left)} are free where {what} is"
    why = "On a full disk nothing can be enqueued or finished; even a prune needs room first."
    fix = "Make room; then manage.py maint storage says what the task table takes of it."
    if left < LITTLE:
        return bad(TOPIC, text, why, fix)
    if left < TIGHT or left < SHARE * whole:
        return warn(TOPIC, text, why, fix)
    return ok(TOPIC, text)


def _owner(path: Path) -> Iterator[Line]:
    """Root can write to all, and what it makes is root's."""
    if os.geteuid() or not path.exists() or not path.stat().st_uid:
        return
    name = _name(path.stat().st_uid)
    yield warn(
        TOPIC,
        f"this runs as root, and {path} belongs to {name}",
        "Root may do what the site may not, so what is said here of files is not what "
        "workers meet; and a file that root makes beside it, workers cannot write to.",
        f"sudo -u {name} python manage.py maint doctor, and the same for all commands.",
    )


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def _archive(folder: Path) -> Iterator[Line]:
    there = nearest(folder)
    # A prune makes the folder itself, and no folder above it.
    wrong = why_not_writable(there) if there in (folder, folder.parent) else "its parent is missing"
    if wrong:
        yield bad(
            TOPIC,
            f"the archive {folder} takes no files: {wrong}",
            "A prune ends with an error before it deletes anything, so the table grows.",
            f"mkdir -p {folder}, and let {_name(os.geteuid())} write there; or another folder in "
            'ARGUS_MAINT["PRUNE"]["archive"].',
        )
        return
    yield ok(TOPIC, f"the archive {folder} takes files")
    yield _room("the archive", folder)


def _redact(path: str) -> Line:
    try:
        import_string(path)
    except Exception as error:  # noqa: BLE001 - importing runs the site's code
        return bad(
            TOPIC,
            f'PRUNE["redact"]: {path} cannot be imported: {error}',
            "Every prune ends with an error, and deletes nothing.",
            'Correct the path in ARGUS_MAINT["PRUNE"]["redact"].',
        )
    return ok(TOPIC, f"what is archived goes through {path}")
