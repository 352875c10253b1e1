"""Calls of ``manage.py maint``, in this process and as real command lines."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from argus_maint.management.commands.maint import Command
from tests.schemas import validate


def maint(*arguments: str) -> str:
    """What it prints."""
    out = io.StringIO()
    call_command(Command(), *arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def as_json(schema: str, *arguments: str) -> Any:
    value = json.loads(maint(*arguments, "--json"))
    validate(schema, value)
    return value


def wrong(*arguments: str) -> str:
    """Its complaint, which is one line."""
    with pytest.raises(CommandError) as error:
        maint(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def shell(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """A real command line, on no database worth having."""
    return subprocess.run(
        [sys.executable, "-m", "django", "maint", *arguments],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
