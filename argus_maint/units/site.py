"""Where a site is and how its commands are run: all that a unit file needs to know of it.

Using it::

    site = Site(python="/srv/shop/venv/bin/python", manage="/srv/shop/manage.py",
                folder="/srv/shop", user="shop", environment="/etc/shop.env")
    site.words(site.worker)  # the words of a command line
    shell(site, site.tick)   # the same, for sh, in the folder and the environment

Options are the fields of ``Site``. No secret is among them: a secret belongs into the
environment file, which each format reads when the command starts.

Raises ``CannotHold`` for what a format has no way to write down, in one line.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, fields
from pathlib import PurePosixPath

from argus_maint.units.workers import DATABASE, SCHEDULER, Worker

NAME = re.compile(r"[a-z]([a-z0-9-]{0,18}[a-z0-9])?")
USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}")
MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*")
SECRET = re.compile(r"[a-z0-9]([a-z0-9.-]{0,250}[a-z0-9])?")
PATHS = ("python", "manage", "folder", "environment", "locks", "logs")
SLACK = 15  # seconds that a worker takes to sign off, after its grace
MARGIN = 300  # seconds beyond a job's own time limit


class CannotHold(ValueError):
    """A value that this format cannot hold; the message is one line and says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A Django project on a host, or in an image."""

    python: str
    folder: str
    manage: str = ""  # empty: python -m django
    name: str = "argus-maint"  # what the files and services begin with
    user: str = "www-data"
    environment: str = ""  # a file of NAME=value lines
    settings: str = ""  # DJANGO_SETTINGS_MODULE
    writable: tuple[str, ...] = ()  # folders that tasks may write to; none: the project's
    locks: str = ""  # a folder for flock's files; empty: no flock
    logs: str = "/var/log"  # where there is no journal
    host_zone: str = "UTC"  # whose times a crontab of this host is in
    queues: str = ""
    processes: int = 1
    grace: int = 30
    flags: tuple[str, ...] = ()  # more of db_worker
    database: bool = True  # whether db_worker runs
    backend: str = ""  # the alias of TASKS that it works; empty: default
    others: tuple[Worker, ...] = ()  # workers of other aliases
    one_line: bool = False  # one line, timer or CronJob for all jobs
    image: str = "registry.example.org/site:1.0"
    secret: str = ""  # a Kubernetes Secret with the environment
    replicas: int = 2
    scheduler: tuple[str, ...] = ("crontask",)
    tick: tuple[str, ...] = ("maint", "tick")
    job: tuple[str, ...] = ("maint", "run", "{job}", "--scheduled")

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            for text in value if isinstance(value, tuple) else (value,):
                if isinstance(text, str):
                    _check_text(each.name, text)
        for name in PATHS:
            _check_path(name, getattr(self, name))
        for worker in self.others:
            for text in worker.command:
                _check_text(f"a word of {worker.command[0]}", text)
        for path in self.writable:
            _check_path("writable", path)
        for name, form, example in (
            ("name", NAME, "argus-maint"),
            ("user", USER, "www-data"),
            ("settings", MODULE, "shop.settings"),
            ("image", IMAGE, "registry.example.org/shop:1.0"),
            ("secret", SECRET, "shop-env"),
        ):
            value = getattr(self, name)
            if value and not form.fullmatch(value) or not value and name == "name":
                raise CannotHold(f"{name} must be such as {example}, not {value!r}")
        if not self.manage and not self.settings:
            raise CannotHold("without a manage.py the settings module must be named")

    @property
    def workers(self) -> tuple[Worker, ...]:
        """Every worker that is to run, of whichever backend."""
        ours = (Worker("worker", self.worker, DATABASE),) if self.database else ()
        return (*ours, *self.others)

    @property
    def worker(self) -> tuple[str, ...]:
        """What follows manage.py in the command of db_worker."""
        queues = (f"--queue-name={self.queues}",) if self.queues else ()
        numbers = (f"--processes={self.processes}", f"--grace={self.grace}")
        backend = (f"--backend={self.backend}",) if self.backend else ()
        return ("db_worker", *numbers, *backend, *queues, *self.flags)

    def run(self, job: str) -> tuple[str, ...]:
        """What follows manage.py in the command of one job."""
        return tuple(word.replace("{job}", job) for word in self.job)

    def words(self, command: tuple[str, ...]) -> tuple[str, ...]:
        """A whole command line."""
        return (self.python, *((self.manage,) if self.manage else ("-m", "django")), *command)

    @property
    def stop_seconds(self) -> int:
        """How long a service manager waits for a worker to end before it kills."""
        return self.grace + SLACK

    def stopping(self, worker: Worker) -> str:
        """What becomes of its tasks when a worker is stopped."""
        return worker.kind.stop.format(grace=self.grace, seconds=self.stop_seconds)


def scheduler(site: Site) -> Worker:
    """The scheduler, as the service that it is; it has no tasks in hand."""
    return Worker("scheduler", site.scheduler, SCHEDULER)


def _check_text(name: str, text: str) -> None:
    if not text.isprintable():
        raise CannotHold(f"{name} must be printable text on one line, not {text!r}")
    if "\\" in text or text != text.strip():
        raise CannotHold(f"{name} must not hold a backslash, or a space at an end: {text!r}")


def _check_path(name: str, path: str) -> None:
    if path and not PurePosixPath(path).is_absolute():
        raise CannotHold(f"{name} must be an absolute path, not {path!r}")
    if not path and name in ("python", "folder"):
        raise CannotHold(f"{name} must be an absolute path")


def shell(site: Site, command: tuple[str, ...], before: tuple[str, ...] = ()) -> str:
    """One line of sh that becomes the command; ``before`` goes in front, as flock does."""
    steps = [f"cd {shlex.quote(site.folder)}", *environment(site)]
    return " && ".join([*steps, f"exec {shlex.join((*before, *site.words(command)))}"])


def environment(site: Site) -> list[str]:
    """Steps of sh that read the environment file, and export what it sets."""
    module = [f"export DJANGO_SETTINGS_MODULE={site.settings}"] if site.settings else []
    if not site.environment:
        return module
    return [*module, "set -a", f". {shlex.quote(site.environment)}", "set +a"]


def comment(text: str, mark: str = "#") -> str:
    """Lines of a comment."""
    return "".join(f"{mark} {line}".rstrip() + "\n" for line in text.strip().splitlines())
