"""A private PostgreSQL cluster that may be stopped and killed at will.

    with closing(Cluster()) as cluster:
        cluster.create("mine")
        cluster.restart()

Made from Debian's binaries, in a temporary folder, on a free port of 127.0.0.1, with
trust for everybody and without fsync. As root it runs as the user ``postgres``. It dies
with the process that made it.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path


def binaries() -> Path | None:
    """The newest server there is."""
    folders = sorted(
        (path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")),
        key=lambda path: float(path.parent.name),
    )
    return folders[-1] if folders else None


def missing() -> str:
    """Say why no cluster can be made; empty where one can."""
    if binaries() is None:
        return "no PostgreSQL server under /usr/lib/postgresql"
    if os.getuid() == 0:
        with contextlib.suppress(KeyError):
            pwd.getpwnam("postgres")
            return ""
        return "no user postgres to run a server as"
    return ""


def free_port() -> int:
    """A port of 127.0.0.1 nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Cluster:
    """One server, running once it is made; of ``origin``, if given, a streaming replica."""

    def __init__(self, origin: Cluster | None = None, **options: str) -> None:
        found = binaries()
        assert found is not None, missing()
        self.bin = found
        self.folder = Path(tempfile.mkdtemp(prefix="argus_maint_pg_"))
        self.data = self.folder / "data"
        self.port = free_port()
        self.server: subprocess.Popen[bytes] | None = None
        self.options = options
        try:
            if os.getuid() == 0:
                shutil.chown(self.folder, "postgres", "postgres")
            where = ["-D", str(self.data), "-U", "postgres"]
            if origin is None:
                self._run("initdb", *where, "-A", "trust", "-N", "-E", "UTF8", "--locale=C.UTF-8")
            else:
                self._run(
                    "pg_basebackup",
                    *where,
                    "-h",
                    "127.0.0.1",
                    "-p",
                    str(origin.port),
                    "-R",
                    "-cfast",
                )
            self.start()
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        options = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.folder),
            "fsync": "off",
            "max_connections": "200",
            "shared_buffers": "64MB",
            "log_min_messages": "fatal",
            **self.options,
        }
        flags = [f"--{name}={value}" for name, value in options.items()]
        with (self.folder / "log").open("ab") as log:
            self.server = subprocess.Popen(
                [
                    *self._as_its_user("--pdeathsig=QUIT"),
                    str(self.bin / "postgres"),
                    "-D",
                    str(self.data),
                    *flags,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self.folder,
            )
        deadline = time.monotonic() + 30
        while not self.answers():
            if self.server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(
                    f"PostgreSQL did not start:\n{(self.folder / 'log').read_text()}"
                )
            time.sleep(0.05)

    def answers(self) -> bool:
        """Whether it takes connections."""
        done = subprocess.run(
            [str(self.bin / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        )
        return done.returncode == 0

    def stop(self) -> None:
        """Stop it, and with it every session (a "fast" shutdown)."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Kill -9 the postmaster; its sessions see that and leave."""
        self._end(signal.SIGKILL)
        # A new server waits for the last session of the old one to be gone.
        deadline = time.monotonic() + 10
        while self._sessions() and time.monotonic() < deadline:
            time.sleep(0.02)

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    def create(self, name: str, template: str = "template1") -> None:
        """Create a database."""
        self._run("createdb", *self._where(), "-T", template, name)

    def drop(self, name: str) -> None:
        """Drop a database, and end the sessions in it."""
        self._run("dropdb", *self._where(), "--force", "--if-exists", name)

    def close(self) -> None:
        """End it and remove its folder."""
        if self.server is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._end(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- inside -----------------------------------------------------------------

    def _where(self) -> list[str]:
        return ["-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres"]

    def _as_its_user(self, *more: str) -> list[str]:
        if os.getuid() == 0:
            return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", *more, "--"]
        return ["setpriv", *more, "--"] if more else []

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [*self._as_its_user(), str(self.bin / program), *arguments],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            cwd=self.folder,
        )

    def _end(self, number: int) -> None:
        if self.server is None:
            return
        if self.server.poll() is None:
            self.server.send_signal(number)
        try:
            self.server.wait(30)
        except subprocess.TimeoutExpired:
            self.server.kill()
            self.server.wait(10)
            raise
        self.server = None

    def _sessions(self) -> bool:
        """Whether a process of the cluster still lives: they keep its folder as theirs."""
        for path in Path("/proc").glob("[0-9]*/cwd"):
            with contextlib.suppress(OSError):
                if path.readlink() == self.data:
                    return True
        return False
