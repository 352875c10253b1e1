"""Many schedulers at once, of which one is killed and replaced now and then."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable

from django_tasks_db.models import DBTaskResult

from argus_maint.models import Run
from tests.lab import Supervised, until
from tests.scheduling.site import KINDS, Account, Site


def jobs(site: Site, number: int, every: int) -> list[str]:
    """That many, one after the other within a period; a lost run of every fourth is told only."""
    names = [f"job{n}" for n in range(number)]
    for n, name in enumerate(names):
        on_lost = "report" if n % 4 == 3 else "rerun"
        site.job(name, f"{every}s+{n % every}", options={"seconds": 0.2}, on_lost=on_lost)
    site.fresh(*names)
    return names


class Troop:
    """Schedulers of both kinds, one of which is killed and replaced now and then."""

    def __init__(self, site: Site, number: int = 5, every: int = 5) -> None:
        self.site, self.started, self.every = site, 0, every
        self.living = [self.start(n) for n in range(number)]
        site.ready(*self.living)

    def start(self, place: int) -> Supervised:
        self.started += 1
        kind = KINDS[place % len(KINDS)]
        cron = {"ARGUS_MAINT_TEST_CRON_EVERY": str(self.every), "ARGUS_MAINT_TEST_CRON_TASKS": "5"}
        return self.site.scheduler(f"s{place}-{self.started}", kind, **cron)

    def kill_one(self) -> None:
        """One that is in the middle of a run, if there is one."""
        busy = set(Run.objects.filter(running__gt="").values_list("process", flat=True))
        ready = [each for each in self.living if "Starting scheduler" in each.log]
        at_work = [each for each in ready if self.site.process_of(each).supervisor in busy]
        victim = random.choice(at_work or ready)
        os.kill(victim.pid, signal.SIGKILL)
        victim.process.wait(10)
        place = self.living.index(victim)
        self.living[place] = self.start(place)


def last_for(site: Site, seconds: float, every: float, act: Callable[[], None]) -> tuple[int, int]:
    """Let it go on, with an act now and then; the first and the last second of it."""
    first = int(time.time()) + 1
    while time.time() < first + seconds:
        time.sleep(every)
        act()
    return first, int(time.time())


def account(site: Site, names: list[str], every: int, span: tuple[int, int]) -> list[Account]:
    """What became of each job, once all that was due is claimed and over."""

    def is_over() -> bool:
        claimed = all(
            len(each.rows) == len(each.due) for each in _accounts(site, names, every, span)
        )
        return claimed and not Run.objects.filter(state="running").exists()

    until(is_over, 60, "all ticks are claimed and over")
    return _accounts(site, names, every, span)


def _accounts(site: Site, names: list[str], every: int, span: tuple[int, int]) -> list[Account]:
    accounts = []
    for n, name in enumerate(names):
        first = span[0] + (n - span[0]) % every
        accounts.append(Account(site, name, first, span[1], every))
    return accounts


def enqueued(every: int, span: tuple[int, int]) -> Counter[tuple[str, int]]:
    """How often each of the site's tasks was enqueued at each of its ticks."""
    first, last = -(-span[0] // every) * every, span[1] // every * every
    due = range(first, last, every)
    rows = DBTaskResult.objects.filter(task_path__contains=".tidy")
    counts = Counter({(f"tidy{n}", tick): 0 for n in range(5) for tick in due})
    for path, at in rows.values_list("task_path", "enqueued_at"):
        key = (path.rpartition(".")[2], int(at.timestamp()) // every * every)
        if key in counts:
            counts[key] += 1
    return counts
