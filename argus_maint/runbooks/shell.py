"""Executing one command of a page, and comparing what came with what the page says.

Using it::

    outcome = perform(step, folder, Calling.here().environment(values), values)
    outcome.held, outcome.problem

bash gets the page's own text, and values in its environment: no shell text is ever made
from data. It runs in a session of its own, without a terminal and without input. What it
starts in the background lives on; past its limit the whole process group is ended. With
``retry`` the command is run again until the page is right, or the time is over.

Errors: none; what cannot be run is an outcome that did not hold. Events: none.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from argus_maint.runbooks.compare import difference
from argus_maint.runbooks.fence import Step
from argus_maint.runbooks.variables import uses

BASH = ("bash", "--noprofile", "--norc", "-c")
PAUSE = 0.5  # seconds between tries
GRACE = 2.0  # seconds from TERM to KILL
MOST_LINES = 5000  # of output that are kept; what is beyond is not compared
MOST_CHARACTERS = 1_000_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a command.

    Attributes:
        held: whether it was what the page says.
        status: the exit status; negative for a signal; None where it did not end, or begin.
        output: lines, standard error among them.
        seconds: from the first try to the end.
        tries: how often it was run.
        line: of the page, where it parts from what came.
        problem: in one line, empty where it held.
        expected, got: the two texts at that line; both empty where the text was right.
    """

    held: bool
    status: int | None
    output: tuple[str, ...]
    seconds: float
    tries: int
    line: int
    problem: str = ""
    expected: str = ""
    got: str = ""


def perform(
    step: Step,
    folder: str | Path,
    environment: Mapping[str, str],
    values: Mapping[str, str],
    tell: Callable[[str], None] | None = None,
) -> Outcome:
    """Run a step until it holds, or its time is over; ``tell`` gets each line of output."""
    missing = sorted({use.name for use in uses(step.command)} - values.keys())
    if missing:
        names = ", ".join(f"${name}" for name in missing)
        return Outcome(False, None, (), 0.0, 0, step.line, f"{names} has no value")
    begun = time.monotonic()
    tries = 0
    while True:
        tries += 1
        told = tell if tries == 1 else None  # a try that is repeated tells its output once
        status, output, problem = _run(step, folder, environment, told)
        seconds = time.monotonic() - begun
        outcome = _judge(step, status, output, problem, seconds, tries, values)
        if outcome.held or seconds >= step.retry:
            if tries > 1 and tell:
                for line in output:
                    tell(line)
            return outcome
        time.sleep(min(PAUSE, max(0.0, step.retry - seconds)))


def _judge(
    step: Step,
    status: int | None,
    output: list[str],
    problem: str,
    seconds: float,
    tries: int,
    values: Mapping[str, str],
) -> Outcome:
    line, expected, got = step.line, "", ""
    if not problem:
        parted = difference(step.expected, output, values)
        if parted:
            line = min(step.line + step.lines + parted.at, step.end)
            problem, expected, got = "the output is another", parted.expected, parted.got
        if status != step.status:
            # An error's text is of more use than the first line of what did not come.
            line = line if parted else step.line
            problem = f"the exit status is {_told(status)}, and the page says {step.status}"
    return Outcome(not problem, status, tuple(output), seconds, tries, line, problem, expected, got)


def _told(status: int | None) -> str:
    if status is not None and status < 0:
        with contextlib.suppress(ValueError):
            return f"{signal.Signals(-status).name}"
    return str(status)


def _run(
    step: Step,
    folder: str | Path,
    environment: Mapping[str, str],
    tell: Callable[[str], None] | None,
) -> tuple[int | None, list[str], str]:
    """One try: exit status, lines, and why it could not come to its end."""
    try:
        process = subprocess.Popen(
            [*BASH, step.command],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return None, [], f"bash cannot be started: {error}"
    lines = _Lines(tell)
    try:
        in_time = _read(process, lines, time.monotonic() + step.limit)
    except BaseException:
        _end(process)
        raise
    finally:
        assert process.stdout is not None
        process.stdout.close()
    lines.end()
    if not in_time:
        _end(process)
        return None, lines.kept, f"it was ended after {step.limit:g} s"
    return process.wait(), lines.kept, ""


def _read(process: subprocess.Popen[bytes], lines: _Lines, deadline: float) -> bool:
    """Take the output until the shell has ended; False at the deadline.

    A process in the background may hold the pipe for as long as it lives, so its end is
    not waited for.
    """
    assert process.stdout is not None
    pipe = process.stdout.fileno()
    os.set_blocking(pipe, False)
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        open_, wait = True, 0.05
        while True:
            ended = process.poll() is not None  # asked first: what it wrote is then all there
            if open_ and selector.select(0 if ended else wait):
                data = os.read(pipe, 65_536)
                if data:
                    lines.add(data)
                    if time.monotonic() < deadline:
                        continue
                else:
                    open_ = False
                    selector.unregister(pipe)
            elif ended:
                return True
            elif not open_:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(wait)
            if time.monotonic() >= deadline:
                return ended


def _end(process: subprocess.Popen[bytes]) -> None:
    """TERM and then KILL to the whole group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
            if number == signal.SIGTERM:
                continue  # others of the group may ignore it


class _Lines:
    """Bytes to lines, as they come."""

    def __init__(self, tell: Callable[[str], None] | None) -> None:
        self.kept: list[str] = []
        self._tell = tell
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest, self._characters = "", 0

    def add(self, data: bytes, final: bool = False) -> None:
        """More output."""
        if self._characters > MOST_CHARACTERS or len(self.kept) >= MOST_LINES:
            return
        text = self._decoder.decode(data, final)
        self._characters += len(text)
        *whole, self._rest = (self._rest + text).split("\n")
        for line in whole[: MOST_LINES - len(self.kept)]:
            self._line(line)

    def end(self) -> None:
        """No more will come; the last line may have no end."""
        self.add(b"", final=True)
        if self._rest:
            self._line(self._rest)

    def _line(self, line: str) -> None:
        line = line.removesuffix("\r")
        self.kept.append(line)
        if self._tell:
            self._tell(line)
