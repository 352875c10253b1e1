"""Archives: finished tasks as compressed JSON Lines, written before their rows are deleted.

A folder holds one file a day (UTC, the day of the prune) and backend alias,
``<alias>-<day>-<token>.jsonl.zst`` (zstandard, where it can be imported) or ``.jsonl.gz``.
Every batch is appended as one compressed frame and fsynced; any tool that reads ``.zst`` or
``.gz`` reads the whole. A line is a task with all its columns.

No row is lost and none is written twice, whenever the process is killed: how much of a file
counts is kept in the database (``ArchiveFile.committed``) and moves in the very transaction
that deletes the rows. What a file holds beyond that belongs to rows that are still there,
and is cut off before the file is written to again. The random token makes the file of a
database its own: one that is missing or too short is never continued, another is begun.

Files are made with mode 0600, since the arguments of tasks may hold secrets. What is written
comes from ``archive_rows``.

Raises ``ArchiveError`` for whatever keeps a file from being written, a full disk too.

Events: ``archive.cut`` (what a prune that was killed, or failed, had written and not
deleted), ``archive.short`` (a file of today has lost its end: another is begun).
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import Error, models
from django.db.models import QuerySet, Value
from django.db.models.functions import Coalesce, Greatest, Least

from argus_maint.backends.archive_rows import Part, Redact
from argus_maint.backends.frames import suffix
from argus_maint.database import durably, short_transaction
from argus_maint.dbtime import DbNow
from argus_maint.exceptions import ArchiveError
from argus_maint.log import get_logger
from argus_maint.models import ArchiveFile
from argus_maint.workers.identity import this_host

logger = get_logger(__name__)
PATIENCE = 1.0  # seconds for the record of a file


@dataclass(slots=True)
class _Open:
    """A file that is written to."""

    record: ArchiveFile
    descriptor: int

    @property
    def path(self) -> Path:
        return Path(self.record.folder, self.record.name)


class Archive:
    """Where a prune writes what it is about to delete."""

    def __init__(self, folder: str | os.PathLike[str], redact: Redact | None = None) -> None:
        self.folder, self.redact = Path(folder).resolve(), redact
        self._open: dict[str, _Open] = {}

    def check(self, *, make: bool = True) -> None:
        """Raise ArchiveError where nothing could be written, before anything is read."""
        with _told(self.folder):
            here = self.folder
            if not here.exists() and make:
                here.mkdir(mode=0o700, exist_ok=True)
                _sync_folder(here.parent)
            elif not here.exists():
                here = here.parent  # where it would be made
            probe = here / f".argus-maint-{secrets.token_hex(4)}"
            os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            probe.unlink()

    @contextmanager
    def appended(self, parts: Sequence[Part], using: str) -> Generator[Appended, None, None]:
        """Write parts, and take them back unless ``Appended.commit`` is called and committed."""
        appended = Appended(using)
        try:
            for part in parts:
                appended.parts.append(self._append(part, using))
            yield appended
        except BaseException:
            self._take_back()
            raise
        for file, end, _ in appended.parts:
            file.record.committed = end

    def _append(self, part: Part, using: str) -> tuple[_Open, int, Part]:
        file = self._file(part.alias, using)
        with _told(file.path):
            view, at = memoryview(part.data), file.record.committed
            _same(file, at)
            while view:
                written = os.pwrite(file.descriptor, view, at)
                view, at = view[written:], at + written
            os.fsync(file.descriptor)
            _same(file, at)
        return file, at, part

    def _file(self, alias: str, using: str) -> _Open:
        day = datetime.now(timezone.utc).date()
        file = self._open.get(alias)
        if file is not None and file.record.day == day:
            return file
        if file is not None:
            os.close(self._open.pop(alias).descriptor)
        # Each host has files of its own: a lock on a file may not reach another host.
        mine = {"host": _this_host(), "folder": str(self.folder), "backend_name": alias}
        records = ArchiveFile.objects.using(using).filter(**mine)
        self._cut_earlier(records.exclude(day=day))
        for record in records.filter(day=day, name__endswith=suffix()).order_by("-pk"):
            if (descriptor := self._resume(record)) is not None:
                break
        else:
            safe = re.sub(r"[^\w.-]", "_", alias).lstrip(".") or "_"
            name = f"{safe}-{day}-{secrets.token_hex(3)}{suffix()}"
            record = ArchiveFile(**mine, name=name, day=day, changed_at=DbNow())
            with durably(using):
                record.save(using=using, force_insert=True)
            with _told(self.folder / name):
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                descriptor = os.open(self.folder / name, flags, 0o600)
        with _told(self.folder):
            _sync_folder(self.folder)
        self._open[alias] = _Open(record, descriptor)
        self._lock(self._open[alias])
        return self._open[alias]

    def _cut_earlier(self, records: QuerySet[ArchiveFile]) -> None:
        """A prune that was killed before midnight has left its file too long."""
        for record in records:
            with suppress(OSError):
                if (self.folder / record.name).stat().st_size <= record.committed:
                    continue
            descriptor = self._resume(record)
            if descriptor is None:
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _cut(_Open(record, descriptor))
            except BlockingIOError:  # another prune is still at it
                pass
            finally:
                os.close(descriptor)

    def _resume(self, record: ArchiveFile) -> int | None:
        """Open a file of today to go on with it; None where it is not what it was."""
        path = self.folder / record.name
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _refused(path, error) from error
        size = os.fstat(descriptor).st_size
        if size < record.committed:
            os.close(descriptor)
            logger.warning("archive.short", file=str(path), missing=record.committed - size)
            return None
        return descriptor

    def _lock(self, file: _Open) -> None:
        """For one writer; then cut off what an earlier one had not deleted."""
        try:
            fcntl.flock(file.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.close()
            raise ArchiveError(f"another prune is writing to {file.path}: let it end") from None
        with _told(file.path):
            _cut(file)

    def _take_back(self) -> None:
        """Of a batch that failed; where the database does not answer, the next prune does it."""
        for file in self._open.values():
            with suppress(OSError, Error):
                _cut(file)
        self.close()

    def close(self) -> None:
        """Let go of the files."""
        for file in self._open.values():
            os.close(file.descriptor)
        self._open.clear()


class Appended:
    """A batch that is on disk, and does not count yet."""

    def __init__(self, using: str) -> None:
        self.using = using
        self.parts: list[tuple[_Open, int, Part]] = []

    def commit(self) -> None:
        """Let it count, in the transaction that deletes its rows."""
        for file, end, part in self.parts:
            times = [time for each in (part.first, part.last) if (time := _aware(each)) is not None]
            record = ArchiveFile.objects.using(self.using).filter(
                pk=file.record.pk, committed=file.record.committed
            )
            counted = record.update(
                committed=end,
                rows=models.F("rows") + len(part.keys),
                changed_at=DbNow(),
                **_span(times),
            )
            if not counted:
                raise ArchiveError(f"{file.path} is written by another prune: let it end")


@contextmanager
def _told(path: Path) -> Generator[None, None, None]:
    """Around work on a file: what the system says becomes one line."""
    try:
        yield
    except OSError as error:
        raise _refused(path, error) from error


def _cut(file: _Open) -> None:
    """Cut a file to what counts, and that only the database knows for sure.

    Under the lock that a DELETE has on the record: a COMMIT whose reply was lost may be
    still under way, and what it makes count must not be cut.
    """
    record = file.record
    using = record._state.db or ""
    with short_transaction(using, PATIENCE):
        counts = ArchiveFile.objects.using(using).select_for_update().filter(pk=record.pk)
        (record.committed,) = counts.values_list("committed").get()
    beyond = os.fstat(file.descriptor).st_size - file.record.committed
    if beyond > 0:
        logger.warning("archive.cut", file=str(file.path), bytes=beyond)
        os.ftruncate(file.descriptor, file.record.committed)


def _same(file: _Open, size: int) -> None:
    """Raise OSError where a file is not as we left it, or its name leads elsewhere."""
    here = os.fstat(file.descriptor)
    if here.st_size != size or not os.path.samestat(here, file.path.stat()):
        raise OSError("somebody has cut or replaced it meanwhile")


def _this_host() -> str:
    host = this_host()
    return f"{host.hostname} {host.machine_id}"[:255]


def _aware(value: Any) -> datetime | None:
    """A time as the driver gave it, as a field takes it; None where it is no time."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    assert isinstance(value, datetime)
    if settings.USE_TZ and value.tzinfo is None:
        return value.replace(tzinfo=timezone.utc)
    return value


def _span(times: list[datetime]) -> dict[str, Any]:
    """First and last of a file, with these: each status begins anew with its oldest."""
    if not times:
        return {}
    first, last = Value(min(times)), Value(max(times))
    return {
        "first_finished_at": Least(Coalesce("first_finished_at", first), first),
        "last_finished_at": Greatest(Coalesce("last_finished_at", last), last),
    }


def _refused(path: Path, error: OSError) -> ArchiveError:
    return ArchiveError(f"the archive {path} cannot be written: {error.strerror or error}")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
