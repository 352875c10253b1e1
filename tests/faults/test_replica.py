"""A prune waits for a replica that falls behind."""

from __future__ import annotations

import json
from contextlib import closing

import pytest
from django.db import connection
from django_tasks_db.models import DBTaskResult

from argus_maint.backends import pressure
from tests.faults.conftest import only
from tests.faults.postgres import Cluster
from tests.jobs.test_prune import expired
from tests.lab import Lab, until


@only("postgres")
@pytest.mark.timeout(120)
def test_a_replica_that_is_behind_is_waited_for(private: Lab, cluster: Cluster) -> None:
    with closing(Cluster(cluster, recovery_min_apply_delay="2s")):
        expired(50)

        def behind() -> bool:
            with connection.cursor() as cursor:  # something to replay
                cursor.execute("CREATE TABLE IF NOT EXISTS tick (); DROP TABLE tick")
            return pressure.replica_lag("default") > 1

        until(behind, what="a replica that is behind")
        private.setting(PRUNE={"max_replica_lag": 0.5, "max_seconds": 3})
        stopped = json.loads(private.manage("maint", "prune", "--json").stdout)
        assert stopped["waited_for_replicas"] > 1
        private.setting(PRUNE={"max_replica_lag": "1h"})
        done = json.loads(private.manage("maint", "prune", "--json").stdout)
        assert done["stopped"] is None
        assert done["waited_for_replicas"] == 0
        assert DBTaskResult.objects.count() == 0
