"""UPDATE statements on the process table per supervisor and beat, by number of workers.

A statement-level trigger on PostgreSQL counts them, whoever sends them; beats are counted by
the supervisor's own row. A lease of 3 s makes a beat of 1 s. The workers are idle.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from django.db import connection

from benchmarks.common import Figure, laboratory, parser, report

if TYPE_CHECKING:
    from benchmarks.bench import Bench

TRIGGER = """
CREATE TABLE bench_updates (n serial);
CREATE FUNCTION bench_count() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO bench_updates DEFAULT VALUES; RETURN NULL; END $$;
CREATE TRIGGER bench_count AFTER UPDATE ON argus_maint_process
    FOR EACH STATEMENT EXECUTE FUNCTION bench_count();
"""


def main() -> int:
    arguments = parser(__doc__, databases=("postgres",)).parse_args()
    beats = 3 if arguments.quick else 20
    figures = []
    with laboratory(arguments.database) as bench:
        with connection.cursor() as cursor:
            cursor.execute(TRIGGER)
        for processes in (1, 8):
            ratio = _updates_a_beat(bench, processes, beats)
            figures.append(
                Figure(
                    f"UPDATEs a supervisor a beat, --processes={processes}, {beats} beats",
                    f"{ratio:.2f}",
                    "0: no heartbeat",
                    "1",
                    met=ratio == 1,
                    database=arguments.database,
                )
            )
    return report("beats", arguments, figures)


def _updates_a_beat(bench: Bench, processes: int, beats: int) -> float:
    from tests.lab import until

    worker = bench.worker(f"--processes={processes}", "--lease=3", name=f"n{processes}")
    worker.ready(processes)
    until(lambda: _state(worker.name)[0] > 1)  # registering the workers is over
    beats_before, updates_before = _state(worker.name)
    until(lambda: _state(worker.name)[0] >= beats_before + beats, 300)
    beats_after, updates_after = _state(worker.name)
    worker.stop()
    bench.forget(worker)
    return (updates_after - updates_before) / (beats_after - beats_before)


def _state(name: str) -> tuple[int, int]:
    """Beats of a supervisor, and UPDATEs by anyone so far, in one snapshot."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT beats FROM argus_maint_process WHERE name = %s"
            " AND kind = 'supervisor'), (SELECT count(*) FROM bench_updates)",
            [name],
        )
        beats, updates = cursor.fetchone()
    return int(beats or 0), int(updates)


if __name__ == "__main__":
    sys.exit(main())
