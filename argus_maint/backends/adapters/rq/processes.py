"""rq's processes on this host: workers, and work horses that outlived theirs.

A worker forks a *horse* for each job. Where the worker alone is killed, the horse goes on and
writes its result, though nobody keeps its entries alive any more. In the process table it is
told from a worker by this: it has a process group of its own, leads no session, and ignores
SIGINT, which a worker catches. What ties it to a worker, where anything does: the session,
which begins with the worker under systemd; or its title, where setproctitle is installed.

Only /proc is read. Where there is none, or it shows another PID namespace, nothing is known,
and nothing that is not known proves a death.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_INT = 1 << (signal.SIGINT - 1)


@dataclass(frozen=True, slots=True)
class Process:
    """One process of rq's. ``horse``: it runs one job, and is no worker."""

    pid: int
    parent: int
    session: int
    state: str
    horse: bool
    line: str

    @property
    def stopped(self) -> bool:
        """It stands still, and may go on at any time."""
        return self.state in "tT"

    @property
    def title(self) -> str:
        """The name of its worker, where its title has it."""
        head, _, rest = self.line.partition("rq:worker:")
        return rest.partition(":")[0].strip() if rest and not head.strip() else ""


@dataclass(frozen=True, slots=True)
class Owner:
    """The worker of a job, as far as it is known; ``others`` are the pids of other workers."""

    name: str
    pid: int | None = None
    session: int | None = None
    others: frozenset[int] = frozenset()

    def may_have(self, session: int) -> bool:
        """Whether a horse of this session may be its own."""
        if self.session is not None:
            return session == self.session
        return session == self.pid or session not in self.others


@dataclass(frozen=True, slots=True)
class Table:
    """All of them, at one look. ``readable`` is False where nothing can be said."""

    processes: tuple[Process, ...] = ()
    readable: bool = True

    def worker(self, pid: int) -> Process | None:
        """The living worker of this pid."""
        return next((each for each in self.processes if each.pid == pid and not each.horse), None)

    def orphans(self) -> list[Process]:
        """Horses whose worker is gone."""
        workers = {each.pid for each in self.processes if not each.horse}
        return [each for each in self.processes if each.horse and each.parent not in workers]

    def horse_of(self, job_id: str, owner: Owner) -> Process | None:
        """A horse that goes on with this job, or may do so for all that can be known."""
        for horse in self.orphans():
            if job_id in horse.line or (owner.name and horse.title == owner.name):
                return horse
            if not horse.title and owner.may_have(horse.session):
                return horse
        return None

    def is_surely_of(self, horse: Process, job_id: str, owner: Owner) -> bool:
        """Whether its title or session says so, and not only that nothing speaks against it."""
        if job_id in horse.line or (owner.name and horse.title == owner.name):
            return True
        known = owner.session if owner.session is not None else owner.pid
        return known is not None and horse.session == known


def table() -> Table:
    """Look now."""
    if not _ours():
        return Table(readable=False)
    pids = (int(each.name) for each in PROC.iterdir() if each.name.isdigit())
    return Table(tuple(each for each in map(_process, pids) if each is not None))


def exists(pid: int) -> bool:
    """Whether a process of this pid is there, a zombie not included."""
    state = _stat(pid)[:1]
    return bool(state) and state[0] not in "ZX"


def _ours() -> bool:
    """Whether /proc is that of our own PID namespace."""
    try:
        return (PROC / "self").readlink() == Path(str(os.getpid()))
    except OSError:
        return False


def _process(pid: int) -> Process | None:
    try:
        words = (PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")
        fields = _stat(pid) if is_rq(words) else []
        if not fields or fields[0] in "ZX":
            return None
        parent, group, session = map(int, fields[1:4])
        horse = group == pid != session and _ignores_int(pid)
    except (OSError, ValueError):  # it has ended meanwhile, or is not ours to look at
        return None
    return Process(pid, parent, session, fields[0], horse, " ".join(words))


def is_rq(words: Iterable[str]) -> bool:
    """Whether a command line is that of a worker of rq's, or of its horse."""
    words = list(words)
    if words and words[0].startswith("rq:worker:"):  # as setproctitle writes it
        return True
    if any(word in ("rqworker", "rqworker-pool") or "main_work_horse" in word for word in words):
        return True
    names = [Path(word).name for word in words[:4]]
    return any(
        pair in (("rq", "worker"), ("rq", "worker-pool"))
        for pair in zip(names, names[1:], strict=False)
    )


def _stat(pid: int) -> list[str]:
    """State, parent, group, session and so on: proc_pid_stat(5)."""
    try:
        stored = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return []
    return stored.rpartition(")")[2].split()


def _ignores_int(pid: int) -> bool:
    for line in (PROC / str(pid) / "status").read_text(errors="replace").splitlines():
        if line.startswith("SigIgn:"):
            return bool(int(line.split()[1], 16) & _INT)
    return False
