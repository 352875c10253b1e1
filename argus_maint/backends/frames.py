"""Compressed frames: what an archive is made of.

zstandard where it can be imported, else gzip. Frames in a row are one stream for any tool.
"""

from __future__ import annotations

import gzip
from typing import BinaryIO, cast

from argus_maint.exceptions import ArchiveError

try:  # Python 3.14 brings it; before that it is the extra "zstd"
    from compression import zstd as _zstd  # type: ignore[import-not-found,unused-ignore]
except ImportError:
    try:
        import zstandard as _zstd  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        _zstd = None

DAMAGED: type[Exception] = getattr(_zstd, "ZstdError", EOFError)


def suffix() -> str:
    """Of the files that are written here."""
    return ".jsonl.gz" if _zstd is None else ".jsonl.zst"


def decompressor(stream: BinaryIO) -> BinaryIO:
    """A ``.zst`` stream, unpacked, frame after frame.

    Raises ArchiveError where nothing here can unpack it.
    """
    if _zstd is None:
        raise ArchiveError("this Python cannot read .zst: pip install 'argus-maint[zstd]'")
    if hasattr(_zstd, "ZstdFile"):
        return cast(BinaryIO, _zstd.ZstdFile(stream))
    reader = _zstd.ZstdDecompressor().stream_reader(stream, read_across_frames=True)
    return cast(BinaryIO, reader)


def compress(data: bytes) -> bytes:
    """One frame."""
    # Fast ones: the rows are on their way out, and the queue waits for nothing. zstd's 1 took
    # half the time of its 3 over rows as of benchmarks.prune, and made less of them.
    return gzip.compress(data, 1) if _zstd is None else bytes(_zstd.compress(data, 1))
