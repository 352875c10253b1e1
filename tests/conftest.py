"""What every test shares: the services that may not be there, and child processes."""

from __future__ import annotations

import functools
import importlib.util
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.commands.sites import Site
    from tests.lab import Lab
    from tests.scratches import Scratches

# Name, which is also the marker -> the usual port, and the driver that tests need.
SERVICES = {
    "postgres": (5432, "psycopg"),
    "mariadb": (3306, "MySQLdb"),
    "redis": (6379, None),
}
ROOT = Path(__file__).resolve().parent.parent


def required() -> set[str]:
    """Services whose absence is a failure: CI names all it has started."""
    names = {n.strip() for n in os.environ.get("ARGUS_MAINT_REQUIRE_SERVICES", "").split(",")}
    names.discard("")
    if unknown := names - SERVICES.keys():
        raise pytest.UsageError(f"ARGUS_MAINT_REQUIRE_SERVICES: no such service: {unknown}")
    return names


@functools.cache
def missing(service: str) -> str | None:
    """Say why this service cannot be used, or None where it can."""
    port, driver = SERVICES[service]
    prefix = f"ARGUS_MAINT_TEST_{service.upper()}"
    host = os.environ.get(f"{prefix}_HOST") or "127.0.0.1"
    port = int(os.environ.get(f"{prefix}_PORT") or port)
    try:
        socket.create_connection((host, port), timeout=2).close()
    except OSError as error:
        return f"{service}: nothing answers at {host}:{port} ({error})"
    if driver and importlib.util.find_spec(driver) is None:
        return f"{service}: the driver {driver} is not installed"
    return None


def pytest_configure(config: pytest.Config) -> None:
    required()
    # A background job of a script ignores INT and QUIT, and `nohup` HUP; so would every
    # process that we start, and our supervisor honours that on purpose.
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            default = signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL
            signal.signal(number, default)
    # Every test would fail to connect, each in its own words: say it once.
    database = os.environ.get("ARGUS_MAINT_TEST_DB")
    if database in SERVICES and (why := missing(database)):
        raise pytest.UsageError(f"ARGUS_MAINT_TEST_DB={database}: {why}")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for service in SERVICES:
        if item.get_closest_marker(service) and (why := missing(service)):
            if service in required():
                pytest.fail(why, pytrace=False)
            pytest.skip(why)


@pytest.fixture
def child_env(transactional_db: None) -> dict[str, str]:
    """The environment in which a real child process works in this test's database."""
    from django.db import connection

    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "ARGUS_MAINT_TEST_DB_NAME": str(connection.settings_dict["NAME"]),
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
    }


@pytest.fixture(scope="session", autouse=True)
def _no_sqlite_leftovers() -> Iterator[None]:
    """Remove what a child that was killed leaves beside the test database."""
    from django.conf import settings

    yield
    name = Path(settings.DATABASES["default"]["TEST"]["NAME"])
    if name.is_absolute():
        for path in name.parent.glob(f"{name.name}*"):
            path.unlink(missing_ok=True)


@pytest.fixture
def lab(child_env: dict[str, str], tmp_path: Path) -> Iterator[Lab]:
    """Real workers on this test's database (see ``tests.lab``)."""
    from tests.lab import Lab

    laboratory = Lab(child_env, tmp_path)
    try:
        yield laboratory
    finally:
        laboratory.close()


@pytest.fixture(scope="session")
def scratches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scratches]:
    """Scratch projects on the database of this run (see ``tests.scratches``)."""
    from tests.scratches import Scratches

    made = Scratches(tmp_path_factory.mktemp("scratch"))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A project of its own, on SQLite, not migrated (see ``tests.commands.sites``)."""
    from tests.commands.sites import Site

    return Site(tmp_path)
