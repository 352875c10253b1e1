"""Fixtures of the fault tests: what breaks, and a laboratory on a database of its own.

Which database a fault needs is said by ``only``: a test of PostgreSQL's ways runs with
``ARGUS_MAINT_TEST_DB=postgres``. One that stops the server brings its own (``private``).
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connections
from django.db.utils import ConnectionHandler

from tests.conftest import ROOT, required
from tests.faults import namespace, postgres
from tests.faults.evidence import SIGNALS
from tests.faults.postgres import Cluster
from tests.faults.proxy import Proxy
from tests.lab import Lab

KIND = os.environ.get("ARGUS_MAINT_TEST_DB") or "sqlite"


def only(*kinds: str) -> Any:
    """Run a test with these databases alone."""
    reason = f"needs ARGUS_MAINT_TEST_DB={' or '.join(kinds)}"
    return pytest.mark.skipif(KIND not in kinds, reason=reason)


servers = only("postgres", "mariadb")


def hold(seconds: float) -> None:
    """Keep a fault up for its length."""
    time.sleep(seconds)


def cannot(why: str) -> None:
    """Skip, or fail where CI has promised that nothing is missing."""
    if required():
        pytest.fail(why, pytrace=False)
    pytest.skip(why)


@pytest.fixture
def alone() -> tuple[str, ...]:
    """The prefix of a command that is to run in a PID namespace of its own."""
    if why := namespace.missing():
        cannot(f"no PID namespace: {why}")
    return namespace.ALONE


def prepared(laboratory: Lab) -> Lab:
    """Count signals, and let a proxy read what passes."""
    laboratory.env |= {
        "DJANGO_SETTINGS_MODULE": "tests.faults.settings",
        "ARGUS_MAINT_TEST_SIGNALS": laboratory.path(SIGNALS),
        "PGSSLMODE": "disable",
        "PGGSSENCMODE": "disable",
    }
    return laboratory


@pytest.fixture
def lab(lab: Lab) -> Lab:
    return prepared(lab)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """A proxy before the server of this test run."""
    default = settings.DATABASES["default"]
    with closing(Proxy((default["HOST"], default["PORT"]))) as between:
        yield between


def through(proxy: Proxy) -> dict[str, Any]:
    """The environment of a worker that connects through a proxy."""
    prefix = f"ARGUS_MAINT_TEST_{KIND.upper()}"
    return {f"{prefix}_HOST": "127.0.0.1", f"{prefix}_PORT": str(proxy.port)}


# -- a server of one's own ---------------------------------------------------------


def _environment(cluster: Cluster, name: str) -> dict[str, str]:
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "ARGUS_MAINT_TEST_DB": "postgres",
        "ARGUS_MAINT_TEST_POSTGRES_HOST": "127.0.0.1",
        "ARGUS_MAINT_TEST_POSTGRES_PORT": str(cluster.port),
        "ARGUS_MAINT_TEST_POSTGRES_USER": "postgres",
        "ARGUS_MAINT_TEST_DB_NAME": name,
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
    }


@pytest.fixture(scope="session")
def _server() -> Iterator[Cluster]:
    if why := postgres.missing():
        cannot(why)
    with closing(Cluster()) as server:
        server.create("migrated")
        subprocess.run(
            [sys.executable, "-m", "django", "migrate", "-v0"],
            env=_environment(server, "migrated"),
            check=True,
        )
        yield server


@pytest.fixture
def cluster(_server: Cluster) -> Iterator[Cluster]:
    """A PostgreSQL that this test may stop and kill; it runs again for the next one."""
    yield _server
    if _server.server is None:
        _server.start()


@pytest.fixture
def private(cluster: Cluster, tmp_path: Path, django_db_blocker: Any) -> Iterator[Lab]:
    """A laboratory on the private cluster: ``tests.lab`` and the ORM of this process use it."""
    name = f"lab_{os.getpid()}"
    cluster.create(name, "migrated")
    laboratory = prepared(Lab(_environment(cluster, name), tmp_path))
    mine = {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": "127.0.0.1",
        "PORT": cluster.port,
        "USER": "postgres",
        "NAME": name,
    }
    usual = connections["default"]
    connections["default"] = ConnectionHandler({"default": mine})["default"]
    try:
        with django_db_blocker.unblock():
            yield laboratory
            connections["default"].close()
    finally:
        connections["default"] = usual
        laboratory.close()
        if cluster.server is None:
            cluster.start()
        cluster.drop(name)
