"""What was done along a runbook, and what came of it: one JSON document a line, in a file.

It needs no database, for that may be what is broken. ``schemas/timeline.json`` describes a
line. The file is only readable for who made it: output may hold what is secret.

A line that cannot be written (a full disk) does not end the walk; ``failed`` says why.

Errors: OSError from ``Timeline.at`` alone. Events: none.
"""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from argus_maint import traces
from argus_maint.database import short_transaction
from argus_maint.runbooks.fence import Step
from argus_maint.runbooks.shell import Outcome

KIND, VERSION = "argus_maint.timeline", 1
MOST_OUTPUT = 200  # lines of output of one command that are kept
LONGEST_LINE = 1000
WAIT = 1.0  # seconds for any lock of the database


class Timeline:
    """A file that lines are added to, each of them at once."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.failed = ""
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK, 0o600)
        if not stat.S_ISREG(os.fstat(self._file).st_mode):
            os.close(self._file)
            raise OSError(0, "it is no regular file", str(path))

    @classmethod
    def at(cls, given: str, code: str) -> Timeline:
        """In this file; without a name in a new one here, or where temporary files are."""
        if given:
            return cls(Path(given))
        name = f"runbook-{code}-{datetime.now(timezone.utc):%Y%m%dT%H%M%S}Z-{os.getpid()}.jsonl"
        try:
            return cls(Path.cwd() / name)
        except OSError:
            return cls(Path(tempfile.gettempdir()) / name)

    def write(self, event: str, **facts: Any) -> None:
        """Add one line."""
        line = {"kind": KIND, "version": VERSION, "at": now(), "event": event, **facts}
        data = memoryview((json.dumps(line) + "\n").encode())
        try:
            while data:
                data = data[os.write(self._file, data) :]
        except OSError as error:
            self.failed = self.failed or str(error.strerror)

    def step(self, step: Step, shown: str, outcome: Outcome | None) -> None:
        """A command that was run, or (without an outcome) was skipped."""
        self.write("step", **facts_of(step, outcome), command=shown, output=_output(outcome))

    def stop(self, code: str, step: Step, shown: str) -> None:
        """It goes no further: this command has to be judged first."""
        where = {"section": step.section, "line": step.line}
        self.write("stopped", code=code, **where, command=shown, ask=step.ask)

    def close(self) -> None:
        """No more lines."""
        os.close(self._file)


def now() -> str:
    """The time of this host, in UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def facts_of(step: Step, outcome: Outcome | None) -> dict[str, Any]:
    """A step in short."""
    return {
        "section": step.section,
        "line": step.line,
        "ran": outcome is not None,
        "held": outcome.held if outcome else None,
        "status": outcome.status if outcome else None,
        "seconds": round(outcome.seconds, 3) if outcome else None,
        "problem": outcome.problem if outcome else "",
    }


def _output(outcome: Outcome | None) -> list[str]:
    lines = outcome.output if outcome else ()
    return [line[:LONGEST_LINE] for line in lines[:MOST_OUTPUT]]


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a file; one that is cut, or is not ours, is left out."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for text in file:
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict) and line.get("kind") == KIND:
                yield line


def keep_act(using: str, subject: str, by: str, details: dict[str, Any]) -> None:
    """Note in the database that a runbook was walked through. Raises django.db.Error."""
    with short_transaction(using, WAIT):
        traces.leave("runbook", subject, by, "", using, **details)
