"""A database server that is restarted under a scheduler: every later tick is run."""

from __future__ import annotations

import time

import pytest
from django_tasks_db.models import DBTaskResult

from tests.faults.conftest import hold, only
from tests.faults.postgres import Cluster
from tests.faults.test_outage import stopped
from tests.lab import until
from tests.scheduling.site import EACH_SECOND, KINDS, Site


@only("postgres")
@pytest.mark.slow
def test_after_a_restart_of_postgresql_every_later_tick_is_run(
    own_site: Site, cluster: Cluster
) -> None:
    """Ours, and those of the site where there is django-crontask."""
    site, cron = own_site, "@cron tests.scheduling.tasks.tidy0 cron[second='*/1']"
    site.job("a", EACH_SECOND)
    scheduler = site.scheduler("s", KINDS[0], ARGUS_MAINT_TEST_CRON_EVERY="1")
    until(lambda: len(site.begun("a")) >= 3, 60, scheduler.log)
    names = ["a", *([cron] if len(KINDS) > 1 else [])]

    with stopped(cluster, cluster.stop):
        hold(6)
    back = time.time()

    until(lambda: "scheduler.back" in scheduler.log, 30, scheduler.log)
    healed = int(time.time()) + 1
    hold(15)
    last = int(time.time()) - 2
    assert scheduler.stop() == 0
    assert healed - back < 10
    for name in names:
        ran = [run for run in site.runs(name) if run.tick.timestamp() > healed]
        seconds = {int(run.tick.timestamp()) for run in ran}
        assert {run.state for run in ran} == {"done"}
        assert seconds >= set(range(healed + 1, last))
    if len(names) > 1:
        assert DBTaskResult.objects.filter(enqueued_at__gt=ran[0].tick).count() >= 12
