"""What every detector looks at: one look at the site, shared, and the thresholds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from argus_maint.conf import get_settings
from argus_maint.conf_jobs import Job
from argus_maint.findings import book
from argus_maint.observe.picture import Status
from argus_maint.observe.status import gather


class Look:
    """One pass's view. What it reads it reads once; what cannot be read raises each time.

    Attributes:
        using: the database of the task table.
        jobs: the jobs by name, as they are to run.
        blind: aliases of TASKS of which something could not be seen.
        patience: SQLite: seconds to try for the write lock; None: ``DatabaseLocked.held``.
    """

    def __init__(
        self, using: str, jobs: Mapping[str, Job] | None = None, patience: float | None = None
    ) -> None:
        self.using, self.patience = using, patience
        self.jobs = get_settings().jobs if jobs is None else jobs
        self.blind: set[str] = set()
        self._status: Status | Exception | None = None

    @property
    def status(self) -> Status:
        """Processes, queues and RUNNING tasks."""
        if self._status is None:
            try:
                self._status = gather(self.using)
                self.blind |= {each.alias for each in self._status.others if each.trouble}
            except Exception as error:  # noqa: BLE001 - kept, and raised to each that asks
                self._status = error
        if isinstance(self._status, Exception):
            raise self._status
        return self._status

    @property
    def now(self) -> datetime:
        """The database's time."""
        return self.status.census.taken_at

    @property
    def host_now(self) -> datetime:
        """This host's time, for the neighbour's columns."""
        return self.status.census.host_now

    def option(self, code: str, name: str) -> Any:
        """A threshold."""
        return get_settings().findings[code].options[name]

    def since(self, code: str) -> datetime:
        """From when on what has happened counts, by the option ``within``."""
        within: float = self.option(code, "within")
        return self.now - timedelta(seconds=within)

    def resolved(self, code: str) -> dict[str, datetime]:
        """By object: what happened before a person resolved it counts no more."""
        return book.resolved_at(code, self.since(code), self.using)


def supervisor_of(worker_id: str) -> str:
    """The supervisor's name in a worker id; a stranger's id as it is."""
    name, _, incarnation = worker_id.rpartition(".")[0].rpartition(".")
    return name if name and len(incarnation) == 12 else worker_id
