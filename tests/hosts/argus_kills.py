"""Kills workers of a real Argus in the middle of a notification.

A mail server that has fallen silent holds the task; the worker is killed; the task
comes back by itself under another worker; the server answers; the mail arrives.
Run by ``argus.sh``, in the environment that it has made.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

import django

from .silent_smtp import Mail, SilentSmtp

T = TypeVar("T")

LOGS = Path(os.environ["ARGUS_LOGS"])
STARTED = float(os.environ["ARGUS_STARTED"])
SOURCE, PASSWORD = os.environ["ARGUS_SOURCE"], os.environ["ARGUS_PASSWORD"]
SEND = "argus.notificationprofile.tasks.task_send_notifications"


def say(text: str) -> None:
    """One line of progress, with the seconds since ``argus.sh`` began."""
    print(f"{time.time() - STARTED:6.1f} s  {text}", flush=True)


def until(condition: Callable[[], T], what: str, seconds: float = 30) -> T:
    """Wait until ``condition()`` is true and return its value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(0.02)
    return value


def expect(truth: object, what: str) -> None:
    """Say what is wrong where ``truth`` is not true (``assert`` would not, without pytest)."""
    if not truth:
        raise AssertionError(what)


def lives(pid: int) -> bool:
    """Whether a process runs: one that nobody has reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def children(parent: int) -> list[int]:
    """Pids of the children of a process."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
    return found


class Command:
    """A running ``django-admin`` command, with its output in a file."""

    def __init__(self, name: str, *arguments: str, **env: str) -> None:
        self.name = name
        self.log = LOGS / f"{name}.log"
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [str(Path(sys.executable).with_name("django-admin")), *arguments],
                env={**os.environ, **env},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def output(self) -> str:
        """What it has written; raises where it has ended without being asked to."""
        expect(self.process.poll() is None, f"{self.name} ended with {self.process.returncode}")
        return self.log.read_text(errors="replace")

    def kill(self) -> list[int]:
        """SIGKILL; returns the pids of the children that it had."""
        had = children(self.pid)
        self.process.kill()
        self.process.wait(10)
        return had

    def end(self) -> None:
        """End it and all that it has started."""
        if self.process.poll() is None:
            for pid in self.kill():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


class Site:
    """The running site, as one of its sources sees it: over its API."""

    def __init__(self, server: Command) -> None:
        self.headers = {"Content-Type": "application/json"}
        started = re.compile(r"server at (http://127\.0\.0\.1:\d+)/")
        self.url = until(lambda: started.findall(server.output()), "the site serves")[0]
        answer = self._post("token-auth/", {"username": SOURCE, "password": PASSWORD})
        self.headers["Authorization"] = f"Token {answer['token']}"

    def _post(self, path: str, data: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            f"{self.url}/api/v2/{path}",
            json.dumps(data).encode(),
            self.headers,
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def open_incident(self, description: str) -> int:
        """Open an incident and return its number."""
        now = datetime.now(timezone.utc).isoformat()
        incident = {
            "start_time": now,
            "end_time": "infinity",
            "source_incident_id": str(uuid.uuid4()),
            "description": description,
            "level": 1,
            "tags": [{"tag": "problem_type=dead_worker"}],
        }
        return int(self._post("incidents/", incident)["pk"])


def mail_on_every_incident() -> str:
    """Give the administrator a profile that mails on every incident; returns the address."""
    from argus.auth.models import User
    from argus.notificationprofile.models import Filter, NotificationProfile

    user = User.objects.get(username="admin")
    profile = NotificationProfile.objects.create(
        user=user, name="all of them", timeslot=user.timeslots.get()
    )
    profile.filters.add(Filter.objects.create(user=user, name="open", filter={"open": True}))
    profile.destinations.set(user.destinations.filter(media_id="email"))
    return str(profile.destinations.get().settings["email_address"])


class Kill:
    """One run: two supervisors, one notification, one kill."""

    def __init__(self, what: str, site: Site, smtp: SilentSmtp, address: str) -> None:
        self.what, self.site, self.smtp, self.address = what, site, smtp, address
        self.description = f"killed: {what} {uuid.uuid4()}"
        self.supervisors: dict[str, Command] = {}

    def __enter__(self) -> Kill:
        for number in (1, 2):
            name = f"{self.what}-{number}"
            self.supervisors[name] = Command(name, "db_worker", "--worker-id", name)
        return self

    def __exit__(self, *exception: object) -> None:
        for supervisor in self.supervisors.values():
            supervisor.end()

    # -- what the database says ---------------------------------------------------

    def processes(self, name: str) -> list[Any]:
        from argus_maint.models import Process

        return list(Process.objects.filter(name=name).exclude(state=Process.State.ENDED))

    def row(self) -> Any:
        """The one task that sends this incident's mail."""
        from argus.incident.models import Event
        from django_tasks_db.models import DBTaskResult

        events = set(
            Event.objects.filter(incident__description=self.description).values_list(
                "pk", flat=True
            )
        )
        rows = [
            row
            for row in DBTaskResult.objects.filter(task_path=SEND)
            if row.args_kwargs["args"][0] in events
        ]
        expect(len(rows) < 2, f"{len(rows)} tasks send the same mail")
        return rows[0] if rows else None

    def running(self, attempt: int) -> Any:
        """The row while it is in its n-th attempt and the mail server holds it there."""
        row = self.row()
        here = row and row.status == "RUNNING" and len(row.worker_ids) == attempt
        return row if here and self.smtp.waiting == 1 else None

    def mails(self) -> list[Mail]:
        return [mail for mail in list(self.smtp.mails) if self.description in mail.text]

    # -- the run ------------------------------------------------------------------

    def run(self) -> None:
        self.smtp.fall_silent()
        until(lambda: all(map(self._is_up, self.supervisors)), "two supervisors are up", 40)
        incident = self.site.open_incident(self.description)
        row = until(lambda: self.running(1), "a worker waits for the mail server")
        owner = row.worker_ids[0]
        victim = owner.split(".")[0]
        say(f"{self.what}: incident #{incident}; {owner} holds its mail, the mail server is silent")

        killed = time.monotonic()
        self._kill(victim, owner)
        row = until(lambda: self.running(2), "the task runs again, under another worker", 60)
        second = row.worker_ids[1]
        say(f"{self.what}: {second} runs it again {time.monotonic() - killed:.1f} s after the kill")
        expect(second != owner, f"both attempts are {owner}'s")
        if victim not in self.supervisors:
            expect(second.split(".")[0] in self.supervisors, f"{second} is nobody's")
        expect(not self.mails(), "a mail came from a server that was silent")

        self.smtp.answer()
        until(self.mails, "the mail arrives")
        until(lambda: self.row().status == "SUCCESSFUL", "the task is SUCCESSFUL")
        row = self.row()
        expect(row.worker_ids == [owner, second], f"worker_ids are {row.worker_ids}")
        self._check_ledger(row, victim)
        if victim not in self.supervisors:
            until(lambda: not self.processes(victim), f"no process of {victim} counts as alive")
        self._stop()
        # Not before they have stopped: a mail too many would be missed.
        mails = self.mails()
        for mail in mails:
            expect(mail.recipients == (self.address,), f"a mail went to {mail.recipients}")
        expect(len(mails) == len(self.smtp.mails), "there are mails of another incident")
        self.smtp.mails.clear()
        self._check_nothing_is_left()
        say(f"{self.what}: received {len(mails)} time(s); SUCCESSFUL in attempt 2, in the ledger")

    def _is_up(self, name: str) -> bool:
        self.supervisors[name].output()
        return {"supervisor", "worker"} <= {process.kind for process in self.processes(name)}

    def _kill(self, victim: str, owner: str) -> None:
        if self.what == "supervisor":
            orphans = self.supervisors.pop(victim).kill()
            say(f"{self.what}: SIGKILL to {victim}")
            expect(len(orphans) >= 2, f"{victim} had the children {orphans}")
            until(lambda: not any(map(lives, orphans)), "its children die with it", 5)
        else:
            (pid,) = [p.pid for p in self.processes(victim) if p.worker_id == owner]
            os.kill(pid, signal.SIGKILL)
            say(f"{self.what}: SIGKILL to {owner}")
            until(lambda: not lives(pid), "it dies", 5)

    def _check_ledger(self, row: Any, victim: str) -> None:
        from argus_maint.models import LedgerEntry

        (entry,) = LedgerEntry.objects.filter(task_id=row.id)
        wanted = {
            "action": "requeued",
            "verdict": "exited",
            "attempt": 1,
            "worker_id": row.worker_ids[0],
            "counted": True,
            "losses": 1,
        }
        got = {name: getattr(entry, name) for name in wanted}
        expect(got == wanted, f"the ledger says {got}, not {wanted}")
        # Only its own supervisor is told the signal; another may be the quicker one.
        if entry.noticed_by.split("@")[0] == victim:
            expect(entry.exit_signal == "SIGKILL", f"ended by {entry.exit_signal!r}?")
        expect(entry.noticed_by and entry.evidence, "the ledger does not say who saw what")
        last = entry.last_proof_of_life
        expect(last and last <= entry.acted_at, f"last seen {last}, acted at {entry.acted_at}")

    def _stop(self) -> None:
        for name, supervisor in self.supervisors.items():
            supervisor.process.terminate()
            status = supervisor.process.wait(45)
            expect(status == 0, f"{name} exited with {status} after SIGTERM")

    def _check_nothing_is_left(self) -> None:
        from django_tasks_db.models import DBTaskResult

        left = DBTaskResult.objects.exclude(status="SUCCESSFUL")
        rows = list(left.values_list("task_path", "status"))
        expect(not rows, f"not SUCCESSFUL: {rows}")


@contextlib.contextmanager
def serving(smtp: SilentSmtp) -> Iterator[Site]:
    """The site's web server."""
    server = Command("site", "runserver", "--noreload", "127.0.0.1:0")
    try:
        yield Site(server)
    finally:
        server.end()


def main() -> int:
    # A signal must run the clean-up, and Python's own answer to TERM does not.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with SilentSmtp() as smtp:
        os.environ |= {"EMAIL_HOST": "127.0.0.1", "EMAIL_PORT": str(smtp.port)}
        django.setup()
        import argus_maint

        where = Path(argus_maint.__file__)
        expect(where.is_relative_to(sys.prefix), f"argus_maint is from {where}, not installed")
        address = mail_on_every_incident()
        try:
            with serving(smtp) as site:
                for what in ("supervisor", "worker"):
                    with Kill(what, site, smtp, address) as kill:
                        kill.run()
        except Exception as error:  # noqa: BLE001 - whatever it is, the logs say more
            for log in sorted(LOGS.glob("*.log")):
                print(f"--- the end of {log.name}", *log.read_text().splitlines()[-25:], sep="\n")
            say(f"FAILED: {type(error).__name__}: {error}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
