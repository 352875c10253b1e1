"""Reading archives: which files there are, and the tasks in them.

Only what counts is read of a file that the database knows (``ArchiveFile.committed``): the
rest is of a prune that is at work or was killed. A file that it does not know, from
another database or an older time, is read to its end.

Raises ArchiveError for a file that cannot be read, or not be unpacked to its end.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from argus_maint.backends.frames import DAMAGED, decompressor
from argus_maint.exceptions import ArchiveError
from argus_maint.models import ArchiveFile

CHUNK = 1 << 17
_NAME = re.compile(r"(?P<alias>.+)-(?P<day>\d{4}-\d\d-\d\d)-[0-9a-f]{6}\.jsonl\.(gz|zst)")


@dataclass(frozen=True, slots=True)
class Archived:
    """One file of a folder."""

    path: Path
    backend: str
    day: str
    size: int
    record: ArchiveFile | None  # None: this database knows nothing of it

    @property
    def missing(self) -> int:
        """Bytes that count and are not there: something has cut the file off."""
        return 0 if self.record is None else max(0, self.record.committed - self.size)


def files(folder: Path, using: str) -> list[Archived]:
    """The archives of a folder, the oldest first."""
    try:
        paths = [(path, path.stat().st_size) for path in folder.iterdir() if path.is_file()]
    except OSError as error:
        raise ArchiveError(f"the folder {folder} cannot be read: {error.strerror}") from error
    known = {record.name: record for record in ArchiveFile.objects.using(using).all()}
    found = [
        Archived(path, match["alias"], match["day"], size, known.get(path.name))
        for path, size in paths
        if (match := _NAME.fullmatch(path.name))
    ]
    return sorted(found, key=lambda each: (each.day, each.backend, each.path.name))


def lines(file: Archived) -> Iterator[str]:
    """The tasks of a file as lines of JSON."""
    most = None if file.record is None else file.record.committed
    try:
        with file.path.open("rb") as raw:
            rest = b""
            for text in _unpacked(_chunks(raw, most), file.path.suffix == ".gz"):
                *whole, rest = (rest + text).split(b"\n")
                yield from (line.decode() for line in whole)
        if rest or file.missing:
            raise EOFError("its end is missing")
    except OSError as error:
        raise ArchiveError(f"{file.path} cannot be read: {error.strerror or error}") from error
    except (EOFError, zlib.error, UnicodeDecodeError, DAMAGED) as error:
        raise ArchiveError(f"{file.path} is cut off or damaged: {error}") from error


def _chunks(raw: BinaryIO, most: int | None) -> Iterator[bytes]:
    """The beginning of a file, up to a length."""
    while data := raw.read(CHUNK if most is None else min(CHUNK, most)):
        most = None if most is None else most - len(data)
        yield data


def _unpacked(chunks: Iterator[bytes], gzipped: bool) -> Iterator[bytes]:
    """Frame after frame, each when it is whole and its checksum is right.

    The readers of streams that the libraries have let a file pass that is cut off.
    """
    frame: Any = None
    parts: list[bytes] = []
    for data in chunks:
        while data:
            if frame is None:
                frame = zlib.decompressobj(wbits=31) if gzipped else decompressor()
            parts.append(frame.decompress(data))
            data = b""
            if frame.eof:
                yield b"".join(parts)
                data, frame, parts = frame.unused_data, None, []
    if frame is not None:
        raise EOFError("its end is missing")
