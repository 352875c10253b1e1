"""A project with jobs: starts its schedulers, and tells what became of every tick."""

from __future__ import annotations

import importlib.util
import json
import threading
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any

from argus_maint.models import Process, Run
from argus_maint.scheduling import ledger
from tests.lab import Lab, Supervised, until

CRONTASK = importlib.util.find_spec("crontask") is not None
KINDS = ("crontask", "plain") if CRONTASK else ("plain",)
EACH_SECOND = "1s"


class Site:
    """What the tests' laboratory runs for these tests."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.jobs_set: dict[str, Any] = {}
        lab.env |= {
            "DJANGO_SETTINGS_MODULE": "tests.scheduling.settings",
            "PGSSLMODE": "disable",
            "PGGSSENCMODE": "disable",
        }
        self.lease(3)
        self.out = lab.path("out")
        self.line: CronLine | None = None

    # -- what there is to run ---------------------------------------------------------

    def lease(self, seconds: float | None) -> None:
        """The lease of every process, a beat being a third of it; None is the default."""
        processes = {"lease": seconds} if seconds else {}
        self.lab.setting(PROCESSES=processes, RESCUE={"*": {"backoff": [0, 0]}})

    def job(self, name: str, schedule: str = EACH_SECOND, chore: str = "note", **raw: Any) -> None:
        """Add a job that leaves lines in ``out``; more ``options`` go to the chore."""
        options = {"path": self.out, "job": name, **raw.pop("options", {})}
        target = f"tests.scheduling.chores.{chore}"
        self.jobs_set[name] = {"schedule": schedule, "target": target, "options": options, **raw}
        self.lab.env["ARGUS_MAINT_TEST_JOBS"] = json.dumps(self.jobs_set)

    def ours(self, name: str, schedule: str, **raw: Any) -> None:
        """Add a job of ours."""
        self.jobs_set[name] = {"schedule": schedule, "kind": "ours", **raw}
        self.lab.env["ARGUS_MAINT_TEST_JOBS"] = json.dumps(self.jobs_set)

    def command(self, name: str, schedule: str = EACH_SECOND, **raw: Any) -> None:
        """Add a job that is the command ``chore``."""
        made = {"kind": "command", "target": "chore", "options": {"argv": [self.out]}}
        self.jobs_set[name] = {"schedule": schedule, **made, **raw}
        self.lab.env["ARGUS_MAINT_TEST_JOBS"] = json.dumps(self.jobs_set)

    # -- who runs it ----------------------------------------------------------------------

    def scheduler(
        self,
        name: str = "s",
        kind: str = "plain",
        *arguments: str,
        prefix: tuple[str, ...] = (),
        **env: str,
    ) -> Supervised:
        """Start ``manage.py crontask``."""
        named = () if kind in ("theirs", "stock") else (f"--name={name}",)
        env["ARGUS_MAINT_TEST_SCHEDULER"] = kind
        options = ("--no-heartbeat", *named, *arguments)
        return self.lab.start(name, "crontask", *options, prefix=prefix, **env)

    def ready(self, *schedulers: Supervised) -> None:
        """Wait until these fire."""
        for each in schedulers:

            def fires(each: Supervised = each) -> bool:
                assert each.process.poll() is None, f"{each.name} has ended:\n{each.log}"
                return "Starting scheduler" in each.log

            until(fires, 60, f"{each.name} ready")

    def fresh(self, *names: str) -> None:
        """Let jobs have run before, so that they are not new."""
        now = ledger.utc_now("default")
        for name in names:
            tick = ledger.to_column(now.replace(microsecond=0) - timedelta(seconds=2))
            Run.objects.create(
                job=name, tick=tick, state="done", driver="hand", host="", started_at=now
            )

    def every_tick(self) -> CronLine:
        """A crontab's line ``maint tick``, again and again."""
        self.line = CronLine(self.lab)
        return self.line

    def close(self) -> None:
        """End the line; the laboratory ends the rest."""
        if self.line is not None:
            self.line.end()

    def patch(self, **values: Any) -> None:
        """Values of module constants, for processes started from now on."""
        named = {f"argus_maint.{key.replace('__', '.')}": each for key, each in values.items()}
        self.lab.env["ARGUS_MAINT_TEST_PATCH"] = json.dumps(named)

    # -- what came of it ------------------------------------------------------------------

    def begun(self, job: str = "") -> list[str]:
        """A line for every run that began, of one job or of all."""
        lines = [line for line in self.lab.lines("out") if line.startswith("begin")]
        return [line for line in lines if not job or line.split()[1] == job]

    def told_of(self, job: str, tick: int) -> str:
        """All that is known of a tick, for whoever wonders."""
        lines = [line for line in self.lab.lines("out") if line.split()[1:3] == [job, str(tick)]]
        rows = [run for run in self.runs(job) if run.tick and int(run.tick.timestamp()) == tick]
        words = [f" run={run.pk} " for run in rows] + ["process.dead", "process.replaced"]
        logs = [
            f"{each.name} {line}"
            for each in self.lab.started
            for line in each.log.splitlines()
            if any(word in f"{line} " for word in words)
        ]
        facts = [f"{run.pk} {run.state} attempt {run.attempt} {run.driver}" for run in rows]
        return "\n  ".join([f"{job} {tick}", *facts, *lines, *logs])

    def runs(self, job: str) -> list[Run]:
        """Its rows, by tick."""
        return list(Run.objects.filter(job=job).exclude(driver="hand").order_by("tick", "pk"))

    def process_of(self, scheduler: Supervised) -> Process:
        """Its living row."""
        found = until(
            lambda: Process.objects.filter(name=scheduler.name, state="alive").first(),
            what=f"a row of {scheduler.name}",
        )
        assert found is not None
        return found


class CronLine:
    """Starts ``manage.py maint tick`` as soon as the last one has ended."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.stop, self.started = lab, threading.Event(), 0
        self.bad: list[str] = []
        self.thread = threading.Thread(target=self._turn, daemon=True)
        self.thread.start()

    def _turn(self) -> None:
        while not self.stop.is_set():
            done = self.lab.manage("maint", "tick", check=False)
            self.started += 1
            if done.returncode:
                self.bad.append(done.stdout + done.stderr)

    def end(self) -> None:
        self.stop.set()
        self.thread.join(60)


@dataclass(frozen=True)
class Account:
    """What became of the ticks of a job between two moments, both due times included."""

    site: Site
    job: str
    first: int
    last: int
    every: int

    @cached_property
    def due(self) -> list[int]:
        return list(range(self.first, self.last + 1, self.every))

    @cached_property
    def rows(self) -> dict[int, Run]:
        rows = self.site.runs(self.job)
        ticks = {int(run.tick.timestamp()): run for run in rows if run.tick is not None}
        assert len(ticks) == len(rows), "a tick has two rows"
        return {tick: ticks[tick] for tick in self.due if tick in ticks}

    @cached_property
    def begun(self) -> Counter[int]:
        return Counter(int(line.split()[2]) for line in self.site.begun(self.job))

    @property
    def missed(self) -> list[int]:
        """Ticks that nobody claimed, or that were claimed and never begun."""
        return [tick for tick in self.due if not self.begun[tick]]

    @property
    def skipped(self) -> list[int]:
        return [tick for tick, run in self.rows.items() if run.state == Run.State.SKIPPED]

    @property
    def left(self) -> list[int]:
        """Ticks that were claimed, and have not come to an end."""
        return [tick for tick, run in self.rows.items() if run.state == Run.State.RUNNING]

    @property
    def lost(self) -> list[int]:
        """Ticks whose run was ended in the middle with its process."""
        return [
            tick
            for tick, run in self.rows.items()
            if run.attempt > 1 or run.state == Run.State.LOST
        ]

    @property
    def twice(self) -> list[int]:
        """Ticks that ran more than once, other than after a loss."""
        return [
            tick
            for tick in self.due
            if self.begun[tick] > (self.rows[tick].attempt if tick in self.rows else 0)
        ]
