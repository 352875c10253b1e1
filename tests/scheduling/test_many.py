"""Many schedulers at once, some of them killed: each tick is run once, and none is missed."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable

import pytest

from argus_maint.models import Run
from tests.lab import Supervised, until
from tests.scheduling.site import CRONTASK, KINDS, Account, Site

with_crontask = pytest.mark.skipif(not CRONTASK, reason="needs django-crontask")


def jobs(site: Site, number: int, every: int) -> list[str]:
    """That many, one after the other within a period; the last ones may be told only."""
    names = [f"job{n}" for n in range(number)]
    for n, name in enumerate(names):
        on_lost = "rerun" if n % 5 else "report"
        site.job(name, f"{every}s+{n % every}", options={"seconds": 0.2}, on_lost=on_lost)
    site.fresh(*names)
    return names


class Troop:
    """Schedulers of both kinds, one of which is killed and replaced now and then."""

    def __init__(self, site: Site, number: int = 5) -> None:
        self.site, self.started = site, 0
        self.living = [self.start(n) for n in range(number)]
        site.ready(*self.living)

    def start(self, place: int) -> Supervised:
        self.started += 1
        kind = KINDS[place % len(KINDS)]
        return self.site.scheduler(f"s{place}-{self.started}", kind)

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
    accounts = []
    for n, name in enumerate(names):
        first = span[0] + (n - span[0]) % every
        accounts.append(Account(site, name, first, span[1], every))
    return accounts


@pytest.mark.slow
def test_five_schedulers_and_a_cron_line_run_each_tick_once_while_some_are_killed(
    site: Site,
) -> None:
    names = jobs(site, 10, 5)
    troop = Troop(site)
    line = site.every_tick()

    span = last_for(site, 25, 5, troop.kill_one)

    accounts = account(site, names, 5, span)
    until(lambda: all(len(each.rows) == len(each.due) for each in accounts), 20, "all claimed")
    until(lambda: not Run.objects.filter(state="running").exists(), 20, "all at their end")
    line.end()
    assert [each.twice for each in accounts] == [[]] * 10
    assert [each.skipped for each in accounts] == [[]] * 10
    told = [tick for each in accounts for tick in each.missed if tick not in each.lost]
    assert told == []
    assert line.started > 2
    assert line.bad == []
