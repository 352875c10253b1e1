"""Whose fault is it that a write failed: the value's, or the database's?

An outcome is kept until it can be written, so a value that no database will ever take
must be told from a database that will take it later. In doubt it is the database's:
waiting costs time, and a good result that is replaced by an error is gone.
"""

from __future__ import annotations

from typing import Any

from django.db import connections

# A value this large may be why a server ended the connection (MariaDB does, above its
# max_allowed_packet); a small one is not.
LARGE = 500_000

# SQLSTATE classes: connection, transaction state (read-only), rollback, resources, locks,
# intervention (shutdown, timeout).
_OF_THE_SERVER = ("08", "25", "40", "53", "55", "57")
# MariaDB: disk full, out of memory, too many connections, lock wait, deadlock, read-only.
_CODES = {1021, 1037, 1038, 1040, 1203, 1205, 1213, 1290, 1792, 1836}
_WORDS = ("is locked", "readonly", "read-only", "disk", "is full", "unable to open")


def is_of_the_value(error: Exception, using: str, value: Any) -> bool:
    """Whether a database error on a write may be due to what was written.

    Call it before the connection is dropped: whether it has survived is evidence.
    """
    state = getattr(error.__cause__, "sqlstate", None)
    if state is not None and str(state).startswith(_OF_THE_SERVER):
        return False
    first = error.args[0] if error.args else ""
    if first in _CODES or any(word in str(first).lower() for word in _WORDS):
        return False
    return _survived(using) or len(repr(value)) > LARGE


def _survived(using: str) -> bool:
    connection = connections[using]
    return connection.connection is not None and connection.is_usable()
