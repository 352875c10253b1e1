"""The space of the task table for people and for JSON, and what only a person can do."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from argus_maint import indexes
from argus_maint.backends.space import Space
from argus_maint.conf_storage import Storage
from argus_maint.observe.history import iso
from argus_maint.observe.screen import span

MUCH_FREE = 0.2  # of a SQLite file
MANY_DEAD = 0.2  # of PostgreSQL's rows: where autovacuum starts by default
UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")


def humane(size: float | None) -> str:
    """``512 bytes``, ``1.5 GiB``; with a sign where it is negative."""
    if size is None:
        return ""
    power, value = 0, float(size)
    while abs(value) >= 999.95 and power < len(UNITS) - 1:
        value, power = value / 1024, power + 1
    return f"{value:,.{1 if power else 0}f} {UNITS[power]}"


def advice(space: Space, storage: Storage, using: str) -> list[str]:
    """What to do that no job does by itself, one line each."""
    lines = [
        f"{'pid ' + str(each.pid) if each.pid else 'no session'}: a transaction open for "
        f"{span(each.age)} keeps dead rows from being cleaned ({each.what}): end it"
        for each in space.long_transactions
    ]
    return lines + _missing(space) + _sqlite(space, storage, using) + _postgres(space)


def _missing(space: Space) -> list[str]:
    """Our indexes that are gone; a SQLite without dbstat names none."""
    here = {each.name for each in space.indexes}
    return [
        f"index {each.name} is missing, and passes read the whole table: run manage.py migrate"
        for each in indexes.made_on(space.vendor)
        if here and each.name not in here
    ]


def _sqlite(space: Space, storage: Storage, using: str) -> list[str]:
    file = space.sqlite
    if file is None or file.auto_vacuum != "none" or file.free_bytes < storage.min_size:
        return []
    if file.free_bytes < MUCH_FREE * file.file_bytes:
        return []
    database = "" if using == "default" else f" --database {using}"
    needed = humane(file.file_bytes - file.free_bytes)
    return [
        f"{humane(file.free_bytes)} of the file's {humane(file.file_bytes)} are free. New rows "
        f"use them, but with auto_vacuum NONE the file never shrinks. To shrink it: stop the queue "
        f"and all else that uses this database, have twice {needed} free on the disk, and run "
        f"manage.py dbshell{database} -- 'PRAGMA auto_vacuum=2; VACUUM;' (later passes then "
        f"shrink it while the queue runs)"
    ]


def _postgres(space: Space) -> list[str]:
    lines = [
        f"index {each.name} is invalid, left by a build that did not end: "
        + (
            "manage.py maint storage --run drops it"
            if each.leftover
            else "run manage.py migrate"
            if each.name.startswith("argus_maint_")
            else f'REINDEX INDEX CONCURRENTLY "{each.name}" makes it whole'
        )
        for each in space.indexes
        if not each.valid
    ]
    dead = space.dead_rows
    if dead is None or dead.dead < max(1000, MANY_DEAD * (dead.live + dead.dead)):
        return lines
    last = dead.vacuumed
    if last is None or space.taken_at - last > timedelta(hours=1):
        lines.append(
            f"{dead.dead:,} dead rows wait for autovacuum, which was {_here(space, last)}: "
            f'if they stay, look at its settings, or run VACUUM (ANALYZE) "{space.table}"'
        )
    return lines


def _here(space: Space, moment: datetime | None) -> str:
    return f"last here {ago(space, moment)}" if moment else "never here"


def ago(space: Space, moment: datetime | None) -> str:
    """How long before the look that was."""
    return f"{span((space.taken_at - moment).total_seconds())} ago" if moment else "never"


def as_dict(space: Space) -> dict[str, Any]:
    """The figures as ``schemas/storage.json`` has them."""
    dead = space.dead_rows and {
        name: value if isinstance(value, int) else iso(value)
        for name, value in asdict(space.dead_rows).items()
    }
    figures = asdict(space) | {"taken_at": iso(space.taken_at), "dead_rows": dead}
    return {**figures, "total_bytes": space.total_bytes}
