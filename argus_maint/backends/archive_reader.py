"""Reading archives: which files there are, and the tasks in them.

Only what counts is read of a file that the database knows (``ArchiveFile.committed``): the
rest is of a prune that is at work or was killed. A file that it does not know, from
another database or an older time, is read to its end.

Raises ArchiveError for a file that cannot be read, or not be unpacked.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from argus_maint.backends.archive import DAMAGED, decompressor
from argus_maint.exceptions import ArchiveError
from argus_maint.models import ArchiveFile

_NAME = re.compile(r"(?P<alias>.+)-(?P<day>\d{4}-\d\d-\d\d)-[0-9a-f]{6}\.jsonl\.(gz|zst)")


@dataclass(frozen=True, slots=True)
class Archived:
    """One file of a folder."""

    path: Path
    backend: str
    day: str
    size: int  # bytes that count
    record: ArchiveFile | None  # None: this database knows nothing of it


def files(folder: Path, using: str) -> list[Archived]:
    """The archives of a folder, the oldest first."""
    try:
        paths = [(path, path.stat().st_size) for path in folder.iterdir() if path.is_file()]
    except OSError as error:
        raise ArchiveError(f"the folder {folder} cannot be read: {error.strerror}") from error
    known = {record.name: record for record in ArchiveFile.objects.using(using).all()}
    found = []
    for path, size in paths:
        if match := _NAME.fullmatch(path.name):
            record = known.get(path.name)
            counts = record.committed if record else size
            found.append(Archived(path, match["alias"], match["day"], counts, record))
    return sorted(found, key=lambda each: (each.day, each.backend, each.path.name))


def lines(file: Archived) -> Iterator[str]:
    """The tasks of a file as lines of JSON."""
    try:
        with file.path.open("rb") as raw:
            limited = io.BufferedReader(_Limited(raw, file.size))
            unpacked = (
                gzip.GzipFile(fileobj=limited)
                if file.path.suffix == ".gz"
                else decompressor(limited)
            )
            with io.TextIOWrapper(unpacked, encoding="utf-8") as text:
                yield from text
    except OSError as error:
        raise ArchiveError(f"{file.path} cannot be read: {error.strerror or error}") from error
    except (EOFError, zlib.error, UnicodeDecodeError, DAMAGED) as error:
        raise ArchiveError(f"{file.path} is cut off or damaged: {error}") from error


class _Limited(io.RawIOBase):
    """The beginning of a file, up to a length."""

    def __init__(self, raw: io.BufferedReader, most: int) -> None:
        self.raw, self.left = raw, most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self.raw.read(min(len(buffer), self.left))
        buffer[: len(data)] = data
        self.left -= len(data)
        return len(data)
