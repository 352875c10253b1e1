"""What helps, by the words in which each database says that something is missing."""

from __future__ import annotations

import pytest
from django.db import OperationalError

from argus_maint.database import MIGRATE, ROOM, WHERE, what_helps


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("no such table: argus_maint_process", MIGRATE),
        ('relation "argus_maint_process" does not exist\nLINE 1: SELECT', MIGRATE),
        ("(1146, \"Table 'site.argus_maint_process' doesn't exist\")", MIGRATE),
        ("unable to open database file", WHERE),
        ('connection failed: FATAL:  database "site" does not exist', WHERE),
        ('connection failed: FATAL:  role "site" does not exist', WHERE),
        ("(1049, \"Unknown database 'site'\")", WHERE),
        ("database or disk is full", ROOM),
        ('could not extend file "base/5/1": No space left on device', ROOM),
        ("(1114, \"The table 'django_tasks_database_dbtaskresult' is full\")", ROOM),
        ("connection refused", ""),
        ("database is locked", ""),
    ],
)
def test_what_no_waiting_will_end_has_a_hint(text: str, hint: str) -> None:
    assert what_helps(OperationalError(text)) == hint
