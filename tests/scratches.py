"""Scratch projects for tests: on SQLite from a migrated file, on PostgreSQL from a database.

``Scratches`` makes the template once and a project from it in a tenth of a second.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings

from argus_maint.drills.scratch import Scratch, migrated

KIND = os.environ.get("ARGUS_MAINT_TEST_DB") or "sqlite"
VENDORS = {"sqlite": "sqlite", "postgres": "postgresql", "mariadb": "mariadb"}


class Scratches:
    """Makes scratch projects on the database of this test run, one after the other."""

    def __init__(self, folder: Path) -> None:
        self.stack, self.made = ExitStack(), 0
        self.name = f"argus_maint_scratch_{os.getpid()}"
        if KIND == "sqlite":
            self.template = migrated(folder / "template.sqlite3")
        elif KIND == "postgres":
            self.stack.enter_context(_database(self.name))
            Scratch(database=_settings(self.name)).close()
        else:
            raise NotImplementedError(f"no scratch projects on {KIND}")

    @contextmanager
    def one(self) -> Generator[Scratch, None, None]:
        """A project that is made, and not started."""
        self.made += 1
        if KIND == "sqlite":
            with closing(Scratch(self.template)) as scratch:
                yield scratch
            return
        name = f"{self.name}_{self.made}"
        with _database(name, self.name), closing(_prepared(name)) as scratch:
            yield scratch

    def close(self) -> None:
        """Remove the template."""
        self.stack.close()


def _prepared(name: str) -> Scratch:
    return Scratch(database=_settings(name), prepared=True)


def _settings(name: str) -> dict[str, Any]:
    default = settings.DATABASES["default"]
    keys = ("ENGINE", "HOST", "PORT", "USER", "PASSWORD")
    return {**{key: default[key] for key in keys}, "NAME": name}


@contextmanager
def _database(name: str, template: str = "template1") -> Generator[None, None, None]:
    import psycopg

    default = settings.DATABASES["default"]
    where = {key: default[key.upper()] for key in ("host", "port", "user", "password")}
    with psycopg.connect(dbname="postgres", autocommit=True, **where) as session:
        session.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        try:
            yield
        finally:
            session.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
