"""Many schedulers at once, some of them killed: each tick is run once, and none is missed."""

from __future__ import annotations

import pytest

from argus_maint.models import Run
from tests.scheduling.site import KINDS, Site
from tests.scheduling.troop import Troop, account, enqueued, jobs, last_for


@pytest.mark.slow
def test_five_schedulers_and_a_cron_line_run_each_tick_once_while_some_are_killed(
    site: Site,
) -> None:
    names = jobs(site, 10, 5)
    troop = Troop(site)
    line = site.every_tick()

    span = last_for(site, 25, 5, troop.kill_one)

    accounts = account(site, names, 5, span)
    line.end()
    assert [each.twice for each in accounts] == [[]] * 10
    assert [each.skipped for each in accounts] == [[]] * 10
    told = [tick for each in accounts for tick in each.missed if tick not in each.lost]
    assert told == []
    if len(KINDS) > 1:
        counts = enqueued(5, span)
        # A scheduler that is killed between the claim and the INSERT of the task loses that
        # tick, and says so: nothing can tell whether it was enqueued.
        told = Run.objects.filter(job__startswith="@cron", state="lost").count()
        assert max(counts.values()) == 1
        assert sum(not each for each in counts.values()) <= told
    assert line.started > 2
    assert line.bad == []
