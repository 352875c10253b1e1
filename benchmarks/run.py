"""All benchmarks one after the other, and one table of all figures.

Everything at full size takes an hour and a half on a quiet machine with two cores, most of it
waiting for leases to run out; --quick takes a few minutes and measures little. A server
that does not answer is left out, and so is a benchmark that --only does not name. The
table goes to standard output as Markdown, progress to standard error.

Exit status: 0; 1 when a benchmark failed, or a figure missed its target.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT, Figure, markdown, say

PORTS = {"postgres": 5432, "mariadb": 3306}


@dataclass(frozen=True, slots=True)
class Job:
    """One benchmark on one database."""

    module: str
    database: str


PLAN = {
    "kill": ("sqlite", "postgres"),
    "chaos": ("sqlite", "postgres"),
    "throughput": ("postgres", "sqlite", "mariadb"),
    "claim": ("sqlite", "postgres", "mariadb"),
    "scale": ("sqlite", "postgres"),
    "status": ("sqlite", "postgres"),
    "beats": ("postgres",),
    "memory": ("sqlite", "postgres"),
    "prune": ("sqlite", "postgres", "mariadb"),
    "schedule": ("sqlite", "postgres", "mariadb"),
    "calendars": ("sqlite",),
}


def main() -> int:
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("--quick", action="store_true", help="small sizes")
    options.add_argument("--only", nargs="+", choices=PLAN, metavar="NAME", help=", ".join(PLAN))
    options.add_argument("--databases", nargs="+", choices=("sqlite", *PORTS), metavar="NAME")
    options.add_argument("--json", type=Path, metavar="FILE", help="write all of it there as well")
    arguments = options.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    reports, failed = [], []
    for job in _jobs(arguments):
        done = _run(job, arguments.quick)
        if done is None:
            failed.append(f"{job.module} on {job.database}")
        else:
            reports.append(done)
    figures = [Figure(**each) for done in reports for each in done["figures"]]
    if arguments.json:
        arguments.json.write_text(json.dumps(reports, indent=2) + "\n")
    print(markdown(figures))
    for each in failed:
        say(f"FAILED: {each}")
    return int(bool(failed) or any(figure.met is False for figure in figures))


def _jobs(arguments: argparse.Namespace) -> Iterator[Job]:
    for module, databases in PLAN.items():
        if arguments.only and module not in arguments.only:
            continue
        for database in databases:
            if arguments.databases and database not in arguments.databases:
                continue
            if _answers(database):
                yield Job(module, database)
            else:
                say(f"{module} on {database}: left out, no server answers")


def _answers(database: str) -> bool:
    if database not in PORTS:
        return True
    prefix = f"ARGUS_MAINT_TEST_{database.upper()}"
    host = os.environ.get(f"{prefix}_HOST") or "127.0.0.1"
    port = int(os.environ.get(f"{prefix}_PORT") or PORTS[database])
    try:
        socket.create_connection((host, port), timeout=2).close()
    except OSError:
        return False
    return True


def _run(job: Job, quick: bool) -> dict[str, Any] | None:
    """Run one benchmark; its report, or None when it failed."""
    say(f"== {job.module} on {job.database}")
    with tempfile.TemporaryDirectory(prefix="argus-maint-bench-") as folder:
        file = Path(folder, "report.json")
        command = [sys.executable, "-m", f"benchmarks.{job.module}", f"--database={job.database}"]
        command += [f"--json={file}", *(["--quick"] if quick else [])]
        process = subprocess.Popen(command, cwd=ROOT, stdout=sys.stderr)
        try:
            status = process.wait()
        except BaseException:
            process.terminate()  # it removes what it has started
            process.wait(60)
            raise
        if status or not file.exists():
            return None
        report: dict[str, Any] = json.loads(file.read_text())
        return report


if __name__ == "__main__":
    sys.exit(main())
