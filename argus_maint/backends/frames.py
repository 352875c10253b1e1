"""Compressed frames: what an archive is made of.

zstandard where it can be imported, else gzip. Frames in a row are one stream for any tool.
"""

from __future__ import annotations

import gzip
from typing import Any

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


def decompressor() -> Any:
    """What unpacks one frame of a ``.zst`` file, as ``zlib.decompressobj`` does one of gzip.

    Raises ArchiveError where nothing here can unpack it.
    """
    if _zstd is None:
        raise ArchiveError("this Python cannot read .zst: pip install 'argus-maint[zstd]'")
    made = _zstd.ZstdDecompressor()
    return made.decompressobj() if hasattr(made, "decompressobj") else made


def compress(data: bytes) -> bytes:
    """One frame, with a checksum: without it damage would be read as another text.

    At the fast end: the rows are on their way out, and the queue waits for nothing. zstd's 1
    took half the time of its 3 over rows as of benchmarks.prune, and made less of them.
    """
    if _zstd is None:
        return gzip.compress(data, 1)  # it always has one
    if hasattr(_zstd, "CompressionParameter"):  # Python's own
        names = _zstd.CompressionParameter
        options = {names.compression_level: 1, names.checksum_flag: 1}
        return bytes(_zstd.compress(data, options=options))
    return bytes(_zstd.ZstdCompressor(level=1, write_checksum=True).compress(data))
