"""Does something start workers, and whatever fires the ticks, when this host boots?

What runs now is asked first: its ancestors and its cgroup say who started it. Then the files
of service managers and crontabs are read. What starts processes elsewhere, in a container or
on another host, cannot be seen from here, and is said to be so.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from django.db import Error

from argus_maint.database import discard
from argus_maint.doctor.line import Line, ok, warn
from argus_maint.models import Process
from argus_maint.observe import schedulers
from argus_maint.workers.identity import same_place, this_host
from argus_maint.workers.registry import LIVING

TOPIC = "start"
MANAGERS = ("supervisord", "runsv", "s6-supervise", "openrc", "supervise-daemon", "dockerd")
CONTAINER_INITS = ("tini", "dumb-init", "docker-init", "catatonit")
UNIT = re.compile(r"/((?!user@)[^/]+\.service)(?:/|$)", re.MULTILINE)
# Where service managers and cron keep what they start, below the root.
FOLDERS = (
    *("etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"),
    *("etc/supervisor/conf.d", "etc/supervisord.d", "etc/supervisor.d"),
    *("etc/service", "etc/sv", "service", "var/service", "etc/init.d", "etc/cron.d"),
)
FILES = ("etc/supervisord.conf", "etc/supervisor/supervisord.conf", "etc/crontab")
OF_USER = (".config/systemd/user",)
LARGEST = 200_000  # bytes of a file that is read
WORKER = re.compile(r"\bdb_worker\b")
TICKS = re.compile(r"\b(crontask|maint\s+tick|maint\s+run)\b")
UNITS = "manage.py maint units --format systemd (or supervisord, runit, openrc, kubernetes)"


def look(using: str, root: Path = Path("/"), inside: bool | None = None) -> Iterator[Line]:
    """What runs on this host, then what is to start it.

    ``root`` is where its files are read, and ``inside`` says whether it is a container (None:
    find out).
    """
    if inside is None:
        inside = in_container()
    running = _here(using)
    workers = [each for each in running if each.kind == Process.Kind.SUPERVISOR]
    lasting = [each for each in running if schedulers.is_lasting(each)]
    files = list(_files(root))
    yield from _judged("db_worker", workers, _naming(files, WORKER), inside)
    yield from _judged("crontask", lasting, _naming(files, TICKS), inside)


def _here(using: str) -> list[Process]:
    """Living processes of this boot and PID namespace; none where nobody answers."""
    host = this_host()
    try:
        rows = list(Process.objects.using(using).filter(state__in=LIVING))
    except Error:
        discard(using)
        return []
    return [
        each
        for each in rows
        if same_place(host, each.boot_id, each.pid_namespace) and Path(f"/proc/{each.pid}").exists()
    ]


def _judged(command: str, running: list[Process], files: list[str], inside: bool) -> Iterator[Line]:
    by_hand = []
    for each in running:
        manager = managed_by(each.pid, inside)
        if manager:
            yield ok(TOPIC, f"{command} {each.name} was started by {manager}")
        else:
            by_hand.append(each)
    named = ", ".join(files)
    if by_hand:
        names = ", ".join(f"{each.name} (pid {each.pid})" for each in by_hand)
        if files:
            found = f"{command} {names} was started by hand, beside {named}"
            fix = "Stop it, and start the one of the service manager."
        else:
            found = f"{command} {names} was started by hand"
            fix = f"{UNITS} makes the files."
        why = "When it dies, or this host boots, nobody starts it again."
        yield warn(TOPIC, found, why, fix)
    elif files and not running:
        yield ok(TOPIC, f"{command}: {named}")
    elif not running:
        yield _nothing(command, inside)


def _nothing(command: str, inside: bool) -> Line:
    if inside:
        return ok(
            TOPIC,
            f"what starts {command} is not seen from inside this container",
            "Where nothing starts it nobody does its work: let whatever starts containers do it.",
        )
    what = {
        "db_worker": "When this host boots nobody works tasks off, unless another host does.",
        "crontask": "Nothing fires the ticks of jobs from here: no prune, nobody looks.",
    }[command]
    also = " Or manage.py maint crontab --install." if command == "crontask" else ""
    found = f"nothing on this host starts {command}: no unit, no crontab line was found"
    return warn(TOPIC, found, what, f"{UNITS} makes the files.{also}")


def managed_by(pid: int, inside: bool) -> str:
    """Who will start a process again; empty where nobody is known to."""
    try:
        cgroup = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8", errors="replace")
    except OSError:
        cgroup = ""
    names = _ancestors(pid)
    for name in names:
        if name in MANAGERS:
            return name
    if (unit := UNIT.search(cgroup)) and not _is_login(unit[1]):
        return f"systemd ({unit[1]})"
    if inside and (not names or names[-1] in CONTAINER_INITS or names == [_name(1)]):
        return "the container"
    return ""


def _is_login(unit: str) -> bool:
    """Units in which a person's shell runs."""
    return unit.startswith(("ssh", "getty", "cron", "session", "docker", "containerd", "user"))


def _ancestors(pid: int) -> list[str]:
    """Names of its parent, the parent of that, and so on up to the first process."""
    names: list[str] = []
    while pid > 1 and len(names) < 64:
        try:
            text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
            pid = int(text.rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            break
        if pid:
            names.append(_name(pid))
    return names


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def in_container() -> bool:
    """Whether this is the inside of one, as far as it can be told."""
    return (
        bool(os.environ.get("KUBERNETES_SERVICE_HOST"))
        or bool(os.environ.get("container"))  # noqa: SIM112 - systemd and podman write it so
        or Path("/.dockerenv").exists()
        or Path("/run/.containerenv").exists()
    )


def _files(root: Path) -> Iterator[tuple[str, str]]:
    """Path and text of what may start something, the user's crontab included."""
    folders = [root / each for each in FOLDERS]
    if root == Path("/"):
        folders += [Path.home() / each for each in OF_USER]
        yield "your crontab", _crontab()
    candidates = [root / each for each in FILES]
    for folder in folders:
        candidates += _in(folder)
    seen = set()
    for path in candidates:
        try:
            real = path.resolve()
            if real in seen or not path.is_file() or path.stat().st_size > LARGEST:
                continue
            seen.add(real)
            yield str(path), path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue


def _in(folder: Path) -> list[Path]:
    """Files in a folder, and the ``run`` of each folder in it, as runit has them."""
    try:
        return [path / "run" if path.is_dir() else path for path in sorted(folder.iterdir())]
    except OSError:
        return []


def _crontab() -> str:
    try:
        done = subprocess.run(["crontab", "-l"], capture_output=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace")


def _naming(files: Iterable[tuple[str, str]], pattern: re.Pattern[str]) -> list[str]:
    """Those that start it, and not in a comment."""
    found = []
    for path, text in files:
        lines = (line for line in text.splitlines() if not line.lstrip().startswith(("#", ";")))
        if any(pattern.search(line) for line in lines):
            found.append(path)
    return found
