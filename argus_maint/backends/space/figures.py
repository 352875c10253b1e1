"""What ``space.look`` returns: bytes, and where each figure comes from.

A figure that a database cannot tell, or not cheaply, is None. One that is an estimate
says so in the ``..._source`` beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class IndexSpace:
    """One index of the task table."""

    name: str
    bytes: int
    valid: bool = True
    waste: float | None = None  # the share that a rebuild would give back
    waste_source: str = ""

    @property
    def wasted_bytes(self) -> int:
        """What a rebuild would give back."""
        return int(self.bytes * (self.waste or 0.0))

    @property
    def leftover(self) -> bool:
        """Whether an interrupted REINDEX CONCURRENTLY left it: invalid, and so named."""
        stem, _, kind = self.name.rstrip("0123456789").rpartition("_")
        return not self.valid and bool(stem) and kind in ("ccnew", "ccold")


@dataclass(frozen=True, slots=True)
class SqliteFile:
    """The file that holds the table, and all the others."""

    page_size: int
    page_count: int
    free_pages: int
    auto_vacuum: str  # "none", "full" or "incremental"
    journal_mode: str
    wal_bytes: int

    @property
    def free_bytes(self) -> int:
        """Pages that hold nothing."""
        return self.free_pages * self.page_size

    @property
    def file_bytes(self) -> int:
        """All pages."""
        return self.page_count * self.page_size


@dataclass(frozen=True, slots=True)
class DeadRows:
    """What PostgreSQL knows of rows that nobody can see any more."""

    dead: int
    live: int
    last_vacuum: datetime | None
    last_autovacuum: datetime | None
    last_analyze: datetime | None  # by hand or by itself

    @property
    def vacuumed(self) -> datetime | None:
        """When it last was, by hand or by itself."""
        return max(filter(None, (self.last_vacuum, self.last_autovacuum)), default=None)


@dataclass(frozen=True, slots=True)
class LongTransaction:
    """A transaction that keeps dead rows from being cleaned."""

    pid: int | None  # None: a prepared one, which has no session any more
    age: float
    what: str  # its state, user and application


@dataclass(slots=True)
class Space:
    """The task table's space at one moment, by the database's clock."""

    vendor: str
    table: str
    taken_at: datetime
    measured: str  # how; figures that were measured in other ways do not compare
    table_bytes: int
    index_bytes: int
    free_bytes: int | None = None  # in the file or the table, to be used by new rows
    free_source: str = ""
    rows: int | None = None
    rows_source: str = ""
    indexes: list[IndexSpace] = field(default_factory=list)
    sqlite: SqliteFile | None = None
    dead_rows: DeadRows | None = None
    analyzed_ago: float | None = None  # MariaDB: age of the statistics
    long_transactions: list[LongTransaction] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)  # what could not be read, and why

    @property
    def total_bytes(self) -> int:
        """Table and indexes."""
        return self.table_bytes + self.index_bytes

    @property
    def used_bytes(self) -> int:
        """Of these, what the rows take: without what is known to be free or waste in them."""
        if self.vendor != "postgresql":  # elsewhere what is free is not in the table's figures
            return self.total_bytes
        wasted = sum(each.wasted_bytes for each in self.indexes)
        return max(0, self.total_bytes - (self.free_bytes or 0) - wasted)
