"""django-tasks-db with our db_worker: what the others are measured by."""

from __future__ import annotations

import socket
from datetime import timedelta
from typing import Any

from django.db.models import F
from django_tasks_db.models import DBTaskResult

from argus_maint.jobs import rescue
from argus_maint.jobs.expiry import Selection
from argus_maint.jobs.prune import order_of, prune
from argus_maint.models import LedgerEntry
from argus_maint.retention import Retention
from argus_maint.workers.identity import this_host
from tests.backends.adapters.world import World
from tests.lab import Supervised


class DatabaseWorld(World):
    """Its rescue is a job of its own, which this test process runs."""

    alias = "default"

    def worker(self, name: str = "") -> Supervised:
        return self.lab.worker(name=name).ready()

    def status(self, task_id: str) -> str:
        return str(DBTaskResult.objects.get(pk=task_id).status)

    def errors(self, task_id: str) -> list[str]:
        return [DBTaskResult.objects.get(pk=task_id).exception_class_path]

    def age(self, seconds: float) -> None:
        earlier = F("finished_at") - timedelta(seconds=seconds)
        DBTaskResult.objects.exclude(finished_at=None).update(finished_at=earlier)

    def rescue(self) -> list[LedgerEntry]:
        view = rescue.View("default", socket.gethostname(), this_host())
        return rescue.run(view).acts

    def prune(self, retention: Retention, **narrowed: Any) -> int:
        selection = Selection(retention, **narrowed)
        order = order_of("default", selection=selection, duty=1.0, own_tables=False)
        return prune(order).deleted.total()
