"""What the benchmarks share: arguments, a scratch database, statistics, and the report.

A script's ``main`` reads::

    arguments = parser(__doc__).parse_args()
    with laboratory(arguments.database) as bench:
        figures = measure(bench, ...)
    return report("kill", arguments, figures)

``laboratory`` makes a database of its own and removes it again, and every process
that was started with it, also after Ctrl-C, SIGTERM or an error.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from argus_maint import __version__

if TYPE_CHECKING:
    from benchmarks.bench import Bench

ROOT = Path(__file__).resolve().parent.parent
DATABASES = ("sqlite", "postgres", "mariadb")


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of a report. ``peer`` is what the stock worker, or the like, came to."""

    name: str
    ours: str
    peer: str = ""
    target: str = ""
    met: bool | None = None  # None: there is no target
    database: str = ""


def parser(doc: str | None, databases: Sequence[str] = DATABASES) -> argparse.ArgumentParser:
    """Arguments that all scripts have; the first paragraphs of ``doc`` describe it."""
    made = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "--database", choices=databases, default=databases[0], help="default: %(default)s"
    )
    made.add_argument(
        "--quick", action="store_true", help="small sizes: shows that it runs, measures little"
    )
    made.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    made.add_argument(
        "--strict", action="store_true", help="exit 1 when a figure misses its target"
    )
    return made


@contextlib.contextmanager
def laboratory(
    database: str, conn_max_age: int = 0, rescue: dict[str, Any] | None = None
) -> Iterator[Bench]:
    """A project on a database of its own. ``rescue`` is the policy of all its tasks."""
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
        "ARGUS_MAINT_TEST_DB": database,
        "ARGUS_MAINT_BENCH_CONN_MAX_AGE": str(conn_max_age),
        "ARGUS_MAINT_TEST_SETTING": json.dumps({"RESCUE": {"*": rescue or {"backoff": [0, 0]}}}),
    }
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    import django

    django.setup()
    from django.db import connection

    from benchmarks.bench import Bench

    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    name = str(connection.settings_dict["NAME"])
    folder = tempfile.TemporaryDirectory(prefix="argus-maint-bench-")
    env = {
        **os.environ,
        "ARGUS_MAINT_TEST_DB_NAME": name,
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
    }
    bench = Bench(env, Path(folder.name))
    try:
        yield bench
    finally:
        bench.close()
        _drop(connection, name)
        folder.cleanup()


def _end(number: int, frame: Any) -> None:
    sys.exit(128 + number)  # through every finally


def _drop(connection: Any, name: str) -> None:
    """Remove the database; a server may still be closing sessions of the killed."""
    for _ in range(50):
        try:
            connection.creation.destroy_test_db(name, verbosity=0)
        except Exception:  # noqa: BLE001 - each server says it in its own way
            time.sleep(0.2)
        else:
            break
    else:
        say(f"could not remove the database {name}")
    if connection.vendor == "sqlite":
        for path in Path(name).parent.glob(f"{Path(name).name}*"):
            path.unlink(missing_ok=True)


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest rank: a value that was measured, never one in between."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def timed(call: Callable[[], Any]) -> float:
    """Seconds that a call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def say(text: str) -> None:
    """Progress, apart from the report."""
    print(text, file=sys.stderr, flush=True)


def report(title: str, arguments: argparse.Namespace, figures: list[Figure]) -> int:
    """Print the figures, write them where asked to, and return the exit status."""
    print(markdown(figures), flush=True)
    if arguments.json:
        arguments.json.write_text(
            json.dumps(
                {
                    "benchmark": title,
                    "command": f"python -m benchmarks.{title} {' '.join(sys.argv[1:])}".strip(),
                    "versions": versions(),
                    "figures": [asdict(figure) for figure in figures],
                },
                indent=2,
            )
            + "\n"
        )
    missed = any(figure.met is False for figure in figures)
    return int(arguments.strict and missed)


def versions() -> dict[str, str]:
    """What was measured with."""
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in ("django", "django-tasks-db")},
        "argus-maint": __version__,
        "cores": str(os.cpu_count()),
    }


def markdown(figures: Sequence[Figure]) -> str:
    """The figures as a table, aligned for whoever reads the source."""
    marks = {None: "", True: "yes", False: "NO"}
    rows = [("figure", "database", "ours", "stock or peer", "target", "met")]
    rows += [(f.name, f.database, f.ours, f.peer, f.target, marks[f.met]) for f in figures]
    widths = [max(len(row[n]) for row in rows) for n in range(6)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
