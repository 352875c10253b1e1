"""Runs the commands of a page, in its order, and compares what comes with what it says.

    python -m tools.docs.walk docs/start.md --in FOLDER

Every ``console`` block counts. A line that begins with ``$ `` is a command, one that begins
with ``> `` goes on with it, and what follows is what it prints: ``...`` in a line is anything,
a line of ``...`` any lines, and a last line such as ``[1]`` its exit status. ``retry=20s``
beside the language runs a command again until it is so, for 20 s at most.

All commands run in one shell, so that one may change the folder and start what the next one
needs. What is still running at the end is ended. Exit status: 0 all is as the page says;
1 something is not, and is named with the line of the page; 2 wrong arguments.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue

from tools.docs import fences

LIMIT = 300.0  # seconds for one command
PAUSE = 0.3  # seconds between two tries
MARK = "the-end-of-a-command"


@dataclass(frozen=True, slots=True)
class Step:
    """One command of a page, and what it should come to."""

    line: int
    command: str
    expected: list[str]
    status: int
    retry: float


class Mismatch(Exception):
    """What came is not what the page says."""


def steps(page: str) -> Iterator[Step]:
    """The commands of a page."""
    for block in fences.blocks(page):
        if block.language == "console":
            yield from _of_block(block)


def _of_block(block: fences.Block) -> Iterator[Step]:
    retry = float(block.attributes.get("retry", "0s").removesuffix("s"))
    lines = block.body.splitlines()
    starts = [n for n, line in enumerate(lines) if line.startswith("$ ")]
    if not starts or starts[0]:
        raise Mismatch(f"line {block.line}: a console block begins with a command")
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        command, rest = [lines[start][2:]], lines[start + 1 : end]
        while rest and (rest[0].startswith("> ") or rest[0] == ">"):
            command.append(rest.pop(0)[2:])
        found = re.fullmatch(r"\[(\d+)\]", rest[-1]) if rest else None
        if found:
            rest.pop()
        status = int(found[1]) if found else 0
        yield Step(block.line + start, "\n".join(command), rest, status, retry)


def agrees(expected: list[str], output: str) -> bool:
    """Whether the output is what the page says; how much space is between words is no matter."""
    pattern = "".join(
        r"(?:.*\n)*" if line.strip() == "..." else rf"{_line(line)}\n" for line in expected
    )
    printed = "".join(f"{' '.join(line.split())}\n" for line in output.splitlines())
    return re.fullmatch(pattern, printed) is not None


def _line(text: str) -> str:
    return ".*".join(re.escape(part) for part in " ".join(text.split()).split("..."))


class Shell:
    """One bash that runs commands in turn."""

    def __init__(self, folder: Path, path: str) -> None:
        self.process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env={"PATH": path, "HOME": str(folder), "LANG": "C.UTF-8", **_proxies()},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # what it leaves behind can be ended as one group
        )
        self.lines: Queue[str] = Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line)

    def run(self, command: str) -> tuple[str, int]:
        """What a command prints, and its exit status."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\nprintf '\\n%s %s\\n' {MARK} $?\n")
        self.process.stdin.flush()
        output: list[str] = []
        deadline = time.monotonic() + LIMIT
        while True:
            try:
                line = self.lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                raise Mismatch(f"no end within {LIMIT:g} s; so far: {''.join(output)}") from None
            if line.startswith(f"{MARK} "):
                return "".join(output).removesuffix("\n"), int(line.split()[1])
            output.append(line)

    def end(self) -> None:
        """End it, with all that it has started."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(10)


def _proxies() -> dict[str, str]:
    """How packages are reached from here."""
    names = ("pip_", "http_proxy", "https_proxy", "no_proxy", "ssl_", "requests_")
    return {key: value for key, value in os.environ.items() if key.lower().startswith(names)}


def walk(page: Path, folder: Path, path: str) -> None:
    """Run the page; the first step that does not agree raises ``Mismatch``."""
    shell = Shell(folder, path)
    try:
        for step in steps(page.read_text(encoding="utf-8")):
            print(f"{page}:{step.line}: $ {step.command.splitlines()[0]}", flush=True)
            _take(shell, step, f"{page}:{step.line}")
    finally:
        shell.end()


def _take(shell: Shell, step: Step, where: str) -> None:
    deadline = time.monotonic() + step.retry
    while True:
        output, status = shell.run(step.command)
        if status == step.status and agrees(step.expected, output):
            return
        if time.monotonic() > deadline:
            wanted = "\n".join(step.expected) or "(nothing)"
            raise Mismatch(
                f"{where}: $ {step.command}\n--- the page says, with exit status {step.status}:\n"
                f"{wanted}\n--- what came, with exit status {status}:\n{output or '(nothing)'}"
            )
        time.sleep(PAUSE)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("--in", dest="folder", type=Path, required=True, help="An empty folder.")
    parser.add_argument("--path", default=os.environ["PATH"], help="PATH of the commands.")
    options = parser.parse_args()
    try:
        walk(options.page, options.folder, options.path)
    except Mismatch as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{options.page}: every command does what the page says")
    return 0


if __name__ == "__main__":
    sys.exit(main())
