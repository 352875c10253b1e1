"""Who a process is, and whether a process of that identity still exists on this host.

A pid alone says little: it is reused, it means nothing in another PID namespace,
and a restarted container gets the same one. An identity is therefore machine id,
boot id, PID namespace, pid and start time. What cannot be read is left empty, and
empty never proves a death.

Sources: proc_pid_stat(5) for state and start time, machine-id(5), and
``/proc/sys/kernel/random/boot_id`` in random(4).
"""

from __future__ import annotations

import errno
import getpass
import os
import secrets
import socket
from dataclasses import dataclass
from enum import Enum
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Host:
    """Where a process runs: what must be equal for its pid to mean anything here."""

    machine_id: str
    hostname: str
    boot_id: str
    pid_namespace: str


class Presence(Enum):
    """What this host can say about a process of a given identity."""

    HERE = "here"
    GONE = "gone"
    UNKNOWN = "unknown"


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _proc_is_ours() -> bool:
    """Whether /proc shows this process's own PID namespace (a bind mount may not)."""
    try:
        return Path("/proc/self").readlink() == Path(str(os.getpid()))
    except OSError:
        return False


def this_host() -> Host:
    """Describe the host and PID namespace of the calling process."""
    namespace = ""
    if _proc_is_ours():
        try:
            namespace = str(Path("/proc/self/ns/pid").readlink())
        except OSError:
            namespace = ""
    return Host(
        machine_id=_read("/etc/machine-id")[:64],
        hostname=socket.gethostname()[:255],
        boot_id=_read("/proc/sys/kernel/random/boot_id"),
        pid_namespace=namespace,
    )


def operator() -> str:
    """``user@host`` of the person at the keyboard, also behind sudo."""
    try:
        user = os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user has no name
        user = f"uid{os.getuid()}"
    return f"{user}@{socket.gethostname()}"[:160]


def stat_of(pid: int) -> tuple[str, str]:
    """State letter and start time of a pid from /proc; empty strings where unreadable."""
    if not _proc_is_ours():
        return "", ""
    text = _read(f"/proc/{pid}/stat")
    # The command name is in parentheses and may itself hold spaces and parentheses.
    fields = text.rpartition(")")[2].split()
    if len(fields) < 20:
        return "", ""
    return fields[0], fields[19]


def start_time(pid: int) -> str:
    """Start time of a pid in clock ticks after boot; empty where unreadable."""
    return stat_of(pid)[1]


def presence(pid: int, started: str) -> Presence:
    """Say whether the process ``pid``, started at ``started``, still exists here.

    Call it only for a process of this boot and PID namespace (``same_place``).
    """
    if not 0 < pid < 1 << 31:  # no pid at all: the row is broken
        return Presence.UNKNOWN
    try:
        os.kill(pid, 0)
    except OSError as error:
        if error.errno == errno.ESRCH:
            return Presence.GONE
    state, now_started = stat_of(pid)
    if state in ("Z", "X"):
        return Presence.GONE
    if started and now_started and started != now_started:
        return Presence.GONE
    # With another user's process under hidepid, kill() says EPERM and /proc nothing.
    return Presence.HERE if now_started and started else Presence.UNKNOWN


def same_place(host: Host, boot_id: str, pid_namespace: str) -> bool:
    """Whether a pid recorded under these ids can be looked up from ``host``."""
    return bool(
        boot_id
        and pid_namespace
        and host.boot_id == boot_id
        and host.pid_namespace == pid_namespace
    )


def new_incarnation() -> str:
    """A random name for one life of a supervisor."""
    return secrets.token_hex(6)


def member_id(name: str, incarnation: str, number: int, epoch: int) -> str:
    """The id of one member of a supervisor: number 0 is the supervisor, 1.. its children.

    ``epoch`` grows when the member's lease was taken by others and it registers anew.
    """
    suffix = f"-{epoch}" if epoch else ""
    return f"{name}.{incarnation}.{number}{suffix}"
