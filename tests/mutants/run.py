"""Take the code that keeps a promise out, and expect a test to fail.

    python tests/mutants/run.py              all of them
    python tests/mutants/run.py fence watch  those whose name holds one of the words

Every mutant of ``mutants.toml`` is applied by itself to a copy of the checkout, and its
test is run there; there are several copies, for a test that a mutant fails mostly waits.
First each test must pass on an unchanged copy. Exit status 1: a mutant lived, or a test
failed without one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import tomllib

ROOT = Path(__file__).resolve().parents[2]
LIST = Path(__file__).with_name("mutants.toml")
COPIES = 3


@dataclass(frozen=True)
class Mutant:
    """One piece of code to take out, and the test that must notice."""

    name: str
    promise: int
    file: str
    find: str
    replace: str
    test: str
    database: str = "sqlite"


def run(test: str, database: str, folder: Path) -> tuple[int, str]:
    """Run one test in the copy; returns pytest's exit status and output."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "", test],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(folder),
            "ARGUS_MAINT_TEST_DB": database,
            "ARGUS_MAINT_TEST_PATIENCE": "20",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


def copy_checkout(folder: Path) -> None:
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def green(test: str, database: str, folder: Path) -> bool:
    """Whether a test passes without a mutant."""
    status, output = run(test, database, folder)
    if status:
        print(f"fails without a mutant on {database}: {test}\n{output}", flush=True)
    return not status


def killed(mutant: Mutant, folder: Path) -> bool:
    """Apply a mutant, run its test, and put the file back."""
    file = folder / mutant.file
    before = file.read_text()
    if before.count(mutant.find) != 1:
        print(f"{mutant.name}: its text is in {mutant.file} {before.count(mutant.find)} times")
        return False
    file.write_text(before.replace(mutant.find, mutant.replace))
    started = time.monotonic()
    try:
        status, output = run(mutant.test, mutant.database, folder)
    finally:
        file.write_text(before)
    # 1 is "a test failed"; anything else is a mutant that breaks more than it should.
    verdict = {0: "LIVED", 1: "killed"}.get(status, f"pytest exited {status}\n{output}")
    seconds = time.monotonic() - started
    print(f"{verdict:8} promise {mutant.promise}  {mutant.name} ({seconds:.0f} s)", flush=True)
    return status == 1


def main() -> int:
    listed = tomllib.loads(LIST.read_text())["mutant"]
    words = sys.argv[1:]
    mutants = [
        Mutant(**entry)
        for entry in listed
        if not words or any(word in entry["name"] for word in words)
    ]
    tests = sorted({(mutant.test, mutant.database) for mutant in mutants})
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(COPIES) as pool:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(COPIES):
            copy_checkout(Path(name, str(number)))
            copies.put(Path(name, str(number)))

        def in_a_copy(work: Callable[..., bool], *arguments: Any) -> bool:
            folder = copies.get()
            try:
                return work(*arguments, folder)
            finally:
                copies.put(folder)

        good = list(pool.map(lambda test: in_a_copy(green, *test), tests))
        results = list(pool.map(lambda mutant: in_a_copy(killed, mutant), mutants))
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if all(good) and all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
