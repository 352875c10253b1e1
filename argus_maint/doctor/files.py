"""Where a path is: its file system, its free space, whether a file can be made there."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path


def nearest(path: Path) -> Path:
    """The path, or the lowest folder above it that is there."""
    for each in (path, *path.parents):
        if each.exists():
            return each
    return Path("/")


def mount_of(path: Path) -> str:
    """The kind of its file system; empty where the system does not say."""
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    here, best, kind = nearest(path.absolute()).resolve(), -1, ""
    for line in lines:
        fields = line.split()
        if len(fields) < 3:
            continue
        point = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[1]))
        if here.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), fields[2]
    return kind


def free(path: Path) -> tuple[int, int]:
    """Bytes that are free for us, and of all, on its file system."""
    figures = os.statvfs(nearest(path))
    return figures.f_bavail * figures.f_frsize, figures.f_blocks * figures.f_frsize


def why_not_writable(folder: Path) -> str:
    """Why no file can be made in a folder; empty where one can. It is gone at once."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"1")
            file.flush()
    except OSError as error:
        return error.strerror or str(error)
    return ""
