"""Structured logs: an event name and key=value pairs, through Python's ``logging``.

``get_logger(__name__).warning("task.requeued", task_id=...)``. The site's LOGGING
setting decides where lines go; the logger names start with ``argus_maint``. A site
that has configured structlog itself gets its own processors.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from typing import Any

ROOT = "argus_maint"


def _without_empty(logger: Any, method: str, event: Any) -> Any:
    """What is not known is left out, and not written as ``key=``."""
    return {key: value for key, value in event.items() if value is not None and value != ""}


class _Logger:
    """A logger that is made when it first has something to say.

    structlog imports much, and a crontab's line, once a minute, mostly logs nothing.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, method: str) -> Any:
        value = self.__dict__[method] = getattr(_made(self._name), method)
        return value


def get_logger(name: str) -> Any:
    """A structlog logger over the standard logger ``name``."""
    return _Logger(name)


def _made(name: str) -> Any:
    import structlog

    if structlog.is_configured():
        return structlog.get_logger(name)
    return structlog.wrap_logger(
        logging.getLogger(name),
        wrapper_class=structlog.stdlib.BoundLogger,
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.processors.format_exc_info,
            _without_empty,
            structlog.processors.LogfmtRenderer(key_order=["event"], bool_as_flag=False),
        ],
        cache_logger_on_first_use=False,
    )


def say(name: str, line: str) -> None:
    """A line on standard error too, where a warning of that logger does not come there."""
    error = _file_of(sys.stderr)
    if error is not None and error not in _files(logging.getLogger(name)):
        with contextlib.suppress(OSError, ValueError):
            print(line, file=sys.stderr, flush=True)


def _files(logger: logging.Logger | None) -> set[object]:
    """What the lines of a logger are written to, as far as it is a stream."""
    found: set[object] = set()
    handled = False
    while logger is not None:
        handled = handled or bool(logger.handlers)
        found |= {_file_of(getattr(each, "stream", None)) for each in logger.handlers}
        logger = logger.parent if logger.propagate else None
    return found if handled else {_file_of(sys.stderr)}  # Python's last resort


def _file_of(stream: Any) -> object:
    """The file behind a stream, which two streams may have in common; None for none."""
    try:
        file = os.fstat(stream.fileno())
    except (AttributeError, OSError, ValueError):
        return None
    return file.st_dev, file.st_ino
