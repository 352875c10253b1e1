"""``maint doctor`` on servers: a pooler between, rights, options, clocks."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test import override_settings

from argus_maint.doctor import examine
from argus_maint.doctor.line import Line
from tests.lab import Lab, until

pytestmark = pytest.mark.django_db(transaction=True)
POSTGRES = pytest.mark.skipif(
    "postgres" not in os.environ.get("ARGUS_MAINT_TEST_DB", ""), reason="PostgreSQL only"
)
MARIADB = pytest.mark.skipif(
    os.environ.get("ARGUS_MAINT_TEST_DB") != "mariadb", reason="MariaDB only"
)
TABLE = "django_tasks_database_dbtaskresult"


def _run(*sql: str) -> None:
    with connection.cursor() as cursor:
        for each in sql:
            cursor.execute(each)


def _found(words: str) -> Line:
    lines = examine("default")
    matching = [each for each in lines if words in each.found]
    assert len(matching) == 1, [each.found for each in lines]
    return matching[0]


@contextmanager
def _connects(**values: Any) -> Iterator[None]:
    """Connections are made with these settings, and anew."""
    before = dict(connection.settings_dict)
    connection.close()
    connection.settings_dict.update(values)
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict.clear()
        connection.settings_dict.update(before)


def test_every_line_says_why_and_what_to_do_where_it_is_not_fine() -> None:
    lines = examine("default")
    assert {each.topic for each in lines} >= {"settings", "database", "tables", "clock", "start"}
    for each in lines:
        assert each.found and (each.level == "ok" or (each.why and each.fix)), each


@POSTGRES
def test_options_of_postgresql() -> None:
    with _connects(
        OPTIONS={"options": "-c statement_timeout=3s -c default_transaction_isolation=serializable"}
    ):
        lines = {each.found: each.level for each in examine("default")}
    assert lines["statement_timeout is 3s for every statement of this role"] == "warn"
    assert lines["transactions are serializable"] == "warn"
    with _connects(OPTIONS={"options": "-c default_transaction_read_only=on"}):
        assert _found("default_transaction_read_only is on").level == "bad"
    _run(f"ALTER TABLE {TABLE} SET (autovacuum_enabled = false)")
    try:
        assert (
            "ALTER TABLE" in _found("autovacuum of the").fix
            or "autovacuum = on" in _found("autovacuum of the").fix
        )
    finally:
        _run(f"ALTER TABLE {TABLE} RESET (autovacuum_enabled)")


@POSTGRES
def test_a_role_without_rights() -> None:
    _run(
        "DROP ROLE IF EXISTS argus_maint_poor",
        "CREATE ROLE argus_maint_poor LOGIN PASSWORD 'x'",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO argus_maint_poor",
    )
    try:
        with _connects(OPTIONS={"options": "-c role=argus_maint_poor"}):
            line = _found("has no right to INSERT, UPDATE, DELETE on the task table")
        assert line.fix.startswith("As the owner: GRANT INSERT, UPDATE, DELETE ON ")
    finally:
        _run("DROP OWNED BY argus_maint_poor", "DROP ROLE argus_maint_poor")


@POSTGRES
def test_an_index_that_is_invalid() -> None:
    mark = (
        "UPDATE pg_index SET indisvalid = %s WHERE indexrelid = 'argus_maint_running_idx'::regclass"
    )
    _run(mark % "false")
    try:
        assert _found("index argus_maint_running_idx is invalid").level == "bad"
    finally:
        _run(mark % "true")


@POSTGRES
@pytest.mark.skipif(shutil.which("pgbouncer") is None, reason="needs pgbouncer")
def test_a_real_pgbouncer_is_seen(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    values = connection.settings_dict
    password = f" password={values['PASSWORD']}" if values["PASSWORD"] else ""
    (tmp_path / "pgbouncer.ini").write_text(
        f"[databases]\n{values['NAME']} = host={values['HOST']} port={values['PORT']}"
        f" user={values['USER']}{password}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
        f"listen_port = {port}\nauth_type = any\npool_mode = transaction\nunix_socket_dir =\n"
        "ignore_startup_parameters = extra_float_digits\n"
    )
    tmp_path.chmod(0o755)
    for each in (*tmp_path.parents, tmp_path):
        if str(each).startswith("/tmp/pytest"):
            each.chmod(0o755)
    # It refuses to run as root.
    command = ["pgbouncer", "-q", str(tmp_path / "pgbouncer.ini")]
    user = {"user": "nobody"} if os.geteuid() == 0 else {}
    pooler = subprocess.Popen(command, stderr=subprocess.DEVNULL, **user)  # type: ignore[call-overload]
    try:
        until(lambda: _listens(port), 15, "pgbouncer listens")
        with _connects(PORT=port, HOST="127.0.0.1"):
            line = _found("a pooler (PgBouncer, or the like) stands between")
            assert (line.level, line.topic) == ("bad", "connections")
            assert "DISABLE_SERVER_SIDE_CURSORS" in line.fix
        with _connects(PORT=port, HOST="127.0.0.1", DISABLE_SERVER_SIDE_CURSORS=True):
            assert _found("a pooler (PgBouncer, or the like) stands between").level == "ok"
        with _connects(
            PORT=port,
            HOST="127.0.0.1",
            DISABLE_SERVER_SIDE_CURSORS=True,
            OPTIONS={"prepare_threshold": 5},
        ):
            assert _found("prepare_threshold is 5").level == "bad"
    finally:
        pooler.terminate()
        pooler.wait(10)
    assert _found("no pooler stands between").level == "ok"


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@MARIADB
def test_options_of_mariadb() -> None:
    with _connects(
        OPTIONS={
            "charset": "utf8mb4",
            "isolation_level": "repeatable read",
            "init_command": "SET sql_mode='', wait_timeout=100",
        },
        CONN_MAX_AGE=600,
    ):
        lines = {each.found: each.level for each in examine("default")}
    assert lines["transactions are repeatable read"] == "warn"
    assert lines["sql_mode is not strict"] == "warn"
    kept = "they are kept for 600 s, and the server ends them after 100 s without work"
    assert lines[kept] == "warn"
    assert any("the task table is in InnoDB, utf8mb4" in each for each in lines)


@pytest.mark.skipif(shutil.which("faketime") is None, reason="needs faketime")
@pytest.mark.skipif(connection.vendor == "sqlite", reason="a server has a clock of its own")
@pytest.mark.parametrize(
    ("by", "level", "words"), [("+1h", "bad", "ahead of"), ("-5s", "warn", "behind")]
)
def test_a_host_whose_clock_is_wrong(lab: Lab, by: str, level: str, words: str) -> None:
    done = subprocess.run(
        ["faketime", "-f", by, sys.executable, "-m", "django", "maint", "doctor", "--json"],
        env=lab.env,
        capture_output=True,
        text=True,
    )

    lines = [each for each in json.loads(done.stdout)["lines"] if words in each["found"]]
    assert [
        (each["level"], each["topic"]) for each in lines if "the database" in each["found"]
    ] == [(level, "clock")]


@override_settings(DEBUG=False)
def test_connections_that_are_kept_and_not_looked_at() -> None:
    if connection.vendor == "sqlite":
        assert not [each for each in examine("default") if "CONN_MAX_AGE" in each.found]
        return
    with _connects(CONN_MAX_AGE=None, CONN_HEALTH_CHECKS=False):
        assert _found("CONN_MAX_AGE keeps them for ever").level == "warn"
    with _connects(CONN_MAX_AGE=60, CONN_HEALTH_CHECKS=True):
        assert _found("they are kept, and looked at").level == "ok"
    assert not settings.DEBUG
