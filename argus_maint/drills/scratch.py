"""The scratch project: a shop with real workers, made to be broken and thrown away.

    with closing(Scratch()) as scratch:
        scratch.start()
        FAULTS["no-workers"].inject(scratch)
        scratch.shell("python manage.py maint findings --look")

``start`` makes it healthy: the supervisor ``w1`` with two workers, which take from the
queues ``default`` and ``emails`` (the third, ``reports``, has none), the scheduler ``s1``,
and a few tasks that have ended well. Its settings (``drills/project/shop``) have short
leases and thresholds, and no patience: what is a fault is a finding at the next pass.

It lives in a folder and a database of its own, and knows nothing of the site that runs it:
the variables of that site's environment are not handed on. ``database`` is another one than
a SQLite file in the folder, empty or, with ``prepared``, migrated; whoever gives it removes
it. ``template`` is a migrated SQLite file to begin with, which saves a second. ``folder`` is
an empty one to be used, and removed in the end, instead of a temporary one.

All that is started carries ``ARGUS_MAINT_SCRATCH=<folder>`` in its environment, also what a
pasted command left in the background; ``close`` ends all of that and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from argus_maint.drills import processes
from argus_maint.drills.inside import BYE, MARK
from argus_maint.drills.processes import Started, until

T = TypeVar("T")
Env = Mapping[str, str] | None  # variables beside those of the project
PROJECT = Path(__file__).parent / "project"
PACKAGE = Path(__file__).parent.parent.parent  # the folder that holds argus_maint
FILE = "db.sqlite3"
PREFIX = "argus-maint-drill-"
PATIENCE = 30.0  # seconds for anything that has to come
COMMAND = 120.0  # seconds a command may take
QUEUES = "default,emails"
FOREIGN = ("ARGUS_MAINT", "DJANGO", "GIT_", "PG", "FAKETIME", "LD_PRELOAD", "COV", "PYTEST")
GIT = ("-c", "user.name=shop", "-c", "user.email=shop@localhost", "-c", "commit.gpgsign=false")


class Broken(Exception):
    """The scratch project does not do what was asked of it; says what."""


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a command: its exit status, and all it printed."""

    status: int
    output: str


class Scratch:
    """The folder, the environment of what runs in it, and what was started."""

    def __init__(
        self,
        template: Path | None = None,
        database: Mapping[str, Any] | None = None,
        prepared: bool = False,
        folder: Path | None = None,
    ) -> None:
        self.folder = (folder or Path(tempfile.mkdtemp(prefix=PREFIX))).resolve()
        self.vendor = "sqlite"
        self.env = self._environment()
        self.started: dict[str, Started] = {}
        self._hand: subprocess.Popen[str] | None = None
        try:
            self._make(template, database or self._sqlite())
            if template is None and not prepared:
                self.manage("migrate", "-v0")
            self._commit("The shop as it works", "init", "-q")
        except BaseException:
            self.close()
            raise

    # -- the folder -------------------------------------------------------------------

    def _environment(self) -> dict[str, str]:
        """This process's own, without what tells of another site."""
        env = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
        # Its own "shop" comes first, whatever the site has of that name: Python does not look
        # where the program is with PYTHONSAFEPATH, and the site's settings have its database.
        # What is installed is found anyway, and must not come before the standard library.
        checkout = [] if PACKAGE.name.endswith("-packages") else [str(PACKAGE)]
        paths = [str(self.folder), *checkout, *filter(None, [env.get("PYTHONPATH")])]
        return env | {
            MARK: str(self.folder),
            "PATH": os.pathsep.join([str(self.folder / "bin"), env.get("PATH", os.defpath)]),
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONUNBUFFERED": "1",
        }

    def _sqlite(self) -> dict[str, Any]:
        init = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(self.folder / FILE),
            "OPTIONS": {"init_command": init, "transaction_mode": "IMMEDIATE"},
        }

    def _make(self, template: Path | None, database: Mapping[str, Any]) -> None:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PROJECT, self.folder, ignore=ignored, dirs_exist_ok=True)
        (self.folder / "__init__.py").unlink()
        (self.folder / "var").mkdir()
        self.vendor = str(database["ENGINE"]).rpartition(".")[2]
        self.vendor = {"sqlite3": "sqlite"}.get(self.vendor, self.vendor)
        (self.folder / "database.json").write_text(json.dumps(dict(database)))
        self._make_python()
        if template is not None:
            shutil.copyfile(template, self.folder / FILE)

    def _make_python(self) -> None:
        """The ``python`` of pasted commands: it has Django, and marks what it runs.

        The shell of a person carries no mark itself, and so outlives the project.
        """
        (self.folder / "bin").mkdir()
        self._make_program("python", sys.executable, MARK, "PYTHONPATH", "PYTHONUNBUFFERED")

    def wrap(self, name: str) -> None:
        """Have a program of the machine's carry the mark too, whoever starts it."""
        found = shutil.which(name)
        if found is None:
            raise Broken(f"there is no program {name} here")
        self._make_program(name, found, MARK)

    def _make_program(self, name: str, program: str, *kept: str) -> None:
        path = self.folder / "bin" / name
        set_ = " ".join(f"{each}={shlex.quote(self.env[each])}" for each in kept)
        exec_ = f'{set_} exec {shlex.quote(program)} "$@"'
        path.write_text(f"#!/bin/sh\nunset DJANGO_SETTINGS_MODULE\n{exec_}\n")
        path.chmod(0o755)

    def _commit(self, message: str, *first: str) -> None:
        """Keep it under git, as a site does, so that a bad deploy can be taken back."""
        if shutil.which("git") is None:
            return
        ignored = "db.sqlite3*\nvar/\nbin/\ndatabase.json\n*.log\n__pycache__/\n"
        (self.folder / ".gitignore").write_text(ignored)
        steps = [list(first)] if first else []
        steps += [["add", "-A"], ["commit", "-q", "-m", message]]
        if first:
            steps += [["config", "user.name", "shop"], ["config", "user.email", "shop@localhost"]]
        for step in steps:
            self._run(["git", *GIT, *step])

    def deploy(self, file: str, old: str, new: str, message: str) -> None:
        """Change a file of the project and commit it; what runs is not restarted."""
        path = self.folder / file
        text = path.read_text()
        if text.count(old) != 1:
            raise Broken(f"{file} does not have {old!r} once")
        path.write_text(text.replace(old, new))
        self._commit(message)

    # -- what runs in it --------------------------------------------------------------

    def start(self) -> None:
        """Make it healthy."""
        self._hand = self._start_hand()
        self.worker("w1", ready=False)
        self.scheduler("s1", ready=False)
        self.workers_ready("w1", 2)
        ids = self.call("enqueue", task="send_receipt", arguments=[1], times=5)
        self.has_status(ids, "SUCCESSFUL")
        self.scheduler_ready("s1")

    def worker(self, name: str, processes: int = 2, ready: bool = True, env: Env = None) -> Started:
        """Start ``db_worker``."""
        flags = [f"--worker-id={name}", f"--processes={processes}", f"--queue-name={QUEUES}"]
        flags += ["--interval=0.1", "--grace=5"]
        started = self.spawn(name, "manage.py", "db_worker", *flags, env=env)
        if ready:
            self.workers_ready(name, processes)
        return started

    def workers_ready(self, name: str, number: int) -> None:
        """Wait until they are registered."""
        self.until(
            lambda: self.call("living", name=name, kind="worker") == number,
            f"{number} workers of {name}",
        )

    def scheduler(self, name: str, ready: bool = True) -> Started:
        """Start ``crontask``."""
        started = self.spawn(name, "manage.py", "crontask", f"--name={name}", "--no-heartbeat")
        if ready:
            self.scheduler_ready(name)
        return started

    def scheduler_ready(self, name: str) -> None:
        """Wait until it is registered."""
        self.until(lambda: self.call("living", name=name, kind="scheduler"), f"scheduler {name}")

    def restart(self) -> None:
        """Stop worker and scheduler, and start them again, as at the end of a deploy."""
        for name in ("w1", "s1"):
            self.started[name].stop()
        self.worker("w1", ready=False)
        self.scheduler("s1")
        self.workers_ready("w1", 2)

    def spawn(self, name: str, *arguments: str, env: Env = None) -> Started:
        """Start Python with these arguments in the project; it goes on until it is ended."""
        command = [sys.executable, *arguments]
        logs = self.folder / "var"
        made = processes.start(name, command, {**self.env, **(env or {})}, logs, self.folder)
        self.started[name] = made
        return made

    # -- what is done with it -----------------------------------------------------------

    def manage(self, *arguments: str, check: bool = True, env: Env = None) -> Done:
        """Run a management command to its end. Raises Broken where it fails, with ``check``."""
        done = self._run([sys.executable, "manage.py", *arguments], env=env)
        if check and done.status:
            raise Broken(f"manage.py {' '.join(arguments)} exited {done.status}:\n{done.output}")
        return done

    def shell(self, command: str, seconds: float = COMMAND, env: Env = None) -> Done:
        """Run what a person would paste, in the project's folder. Raises Broken, too late."""
        return self._run(["bash", "-c", command], seconds, env)

    def _run(self, command: list[str], seconds: float = COMMAND, env: Env = None) -> Done:
        # Output goes to a file: what a command leaves in the background keeps a pipe open.
        with tempfile.TemporaryFile(dir=self.folder / "var") as out:
            process = subprocess.Popen(
                command,
                env={**self.env, **(env or {})},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                status = process.wait(seconds)
            except subprocess.TimeoutExpired:
                raise Broken(f"not over within {seconds:g} s: {' '.join(command)}") from None
            finally:
                if process.poll() is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            out.seek(0)
            return Done(status, out.read().decode(errors="replace"))

    def call(self, name: str, /, **arguments: Any) -> Any:
        """Have a function of ``drills.inside`` run in the project. Raises Broken."""
        hand = self._hand
        if hand is None:
            hand = self._hand = self._start_hand()
        assert hand.stdin is not None
        assert hand.stdout is not None
        print(json.dumps([name, arguments]), file=hand.stdin, flush=True)
        line = hand.stdout.readline()
        if not line:
            raise Broken(f"{name}: the helper in the project ended with status {hand.wait()}")
        told = json.loads(line)
        if "error" in told:
            raise Broken(f"{name}: {told['error']}")
        return told["answer"]

    def _start_hand(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "argus_maint.drills.inside"],
            env={**self.env, "DJANGO_SETTINGS_MODULE": "shop.settings"},
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def sessions(self) -> set[int]:
        """The sessions of what it has started itself: no other process is in one of them."""
        hand = [self._hand.pid] if self._hand is not None else []
        return {*hand, *(each.pid for each in self.started.values())}

    def code_changed_at(self) -> float:
        """When a file of the project's code was last written, in seconds since the epoch."""
        return max(path.stat().st_mtime for path in (self.folder / "shop").glob("*.py"))

    def until(self, condition: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
        """Wait for a condition. Raises Broken with the ends of the logs."""
        try:
            return until(condition, seconds, what)
        except processes.NotWithin as error:
            raise Broken(f"{error}\n{self.logs()}") from error

    def has_status(self, ids: list[str], status: str) -> None:
        """Wait until all these tasks have it."""
        self.until(
            lambda: set(self.call("statuses", ids=ids)) == {status}, f"{len(ids)} tasks {status}"
        )

    def logs(self, lines: int = 12) -> str:
        """The last lines of what runs."""
        ends = [
            "\n".join([f"--- {path.stem}", *path.read_text(errors="replace").splitlines()[-lines:]])
            for path in sorted((self.folder / "var").glob("*.log"))
        ]
        return "\n".join(ends)

    def close(self) -> None:
        """End all that runs, and remove the folder.

        Interrupted, it is done by the helper, as soon as this process has ended.
        """
        for started in self.started.values():
            started.end()
        processes.end_marked(MARK, str(self.folder))
        if self._hand is not None:
            with contextlib.suppress(OSError):  # it was ended with the others, where /proc tells
                self._hand.communicate(json.dumps([BYE, {}]) + "\n")
        processes.remove(self.folder)


def migrated(path: Path) -> Path:
    """Make a migrated SQLite file, a template for many scratch projects; returns its path."""
    with contextlib.closing(Scratch()) as scratch:
        shutil.copyfile(scratch.folder / FILE, path)
    return path
