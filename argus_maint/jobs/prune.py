"""The pruner: deletes finished tasks past their retention, and the queue never notices.

Using it::

    report = prune(order_of("default", duty=0.5))  # what is not named is as in the settings

It walks through finished rows in the order of our index, oldest first, and deletes a small
batch at a time in a short transaction of its own. Batches are as large as their time
allows (``target``), and it rests between them (``duty``); see ``jobs.pace``. Where a lock is
held by others it waits, takes less, and in the end leaves what is locked for the next time.
The status is in the DELETE itself, so a row that somebody puts back to READY meanwhile
stays. It stops when all is done, at ``max_seconds`` or at ``max_rows``; the next pass goes on
where this one stopped, because what it deleted is gone.

With an archive each batch is written and fsynced before its rows are deleted (see
``backends.archive``); at full duty the next ones are read meanwhile (``jobs.ahead``).

Rows of our own that are past their retention go in the same way: the ledger of rescues,
and processes that ended.

Options (``Order``): ``using``; ``selection``; ``target`` seconds of held lock; ``duty``;
``max_seconds`` and ``max_rows`` (None: no end); ``max_replica_lag`` seconds; ``archive``;
``tell``, called after every batch.

A row that cannot go (a site's foreign key, a trigger, a value that cannot be archived) is left,
and told of; the others go.

Raises ``ArchiveError`` when the archive cannot be written; nothing is deleted then that was
not archived. Errors of the database that waiting may mend are waited for up to
``GIVE_UP`` times in a row, then raised; others, such as a missing table, at once.

Events: ``prune.batch``, ``prune.locked``, ``prune.lagging`` (a replica is behind),
``prune.left`` (a row that cannot go), ``prune.done``.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import IntegrityError
from django.utils.module_loading import import_string

from argus_maint.backends import archive_rows, pressure
from argus_maint.backends.archive import Archive
from argus_maint.backends.archive_rows import Part, RowError
from argus_maint.backends.wal import Wal
from argus_maint.backends.walk import Condition, Place, Walk
from argus_maint.clock import now
from argus_maint.conf import get_settings
from argus_maint.database import TRANSIENT, discard, is_locked, short_transaction, what_helps
from argus_maint.exceptions import ArchiveError
from argus_maint.jobs import ahead
from argus_maint.jobs.ahead import Ahead, Batch
from argus_maint.jobs.expiry import Selection, Step, own_steps, steps
from argus_maint.jobs.pace import PATIENCE, Pace
from argus_maint.log import get_logger

logger = get_logger(__name__)

GIVE_UP = 20  # errors of the database in a row
SKIP_AFTER = 3  # refused locks in a row, before what is locked is left out
MOST_READ = 20_000  # rows of a batch that passes through this process
MOST_BYTES = 16 * 2**20  # of a batch that is archived, about
MOST_JOINED = 4 * 2**20  # where the database joins it: more took 15 % longer
MOST_LEFT = 100  # rows that cannot go, before it is no fault of the rows
COLUMNS = ("id", "queue_name", "task_path", "exception_class_path")


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be pruned, and how gently."""

    using: str
    selection: Selection
    target: float
    duty: float
    max_seconds: float | None
    max_replica_lag: float
    max_rows: int | None = None
    archive: Archive | None = None
    tasks: bool = True
    own_tables: bool = True
    tell: Callable[[Report], None] = lambda report: None


def order_of(using: str, **values: Any) -> Order:
    """An order by the settings; ``values`` win over them.

    Raises ArchiveError when there is no such redaction.
    """
    config = get_settings()
    values.setdefault("selection", Selection(config.retention))
    for name in ("target", "duty", "max_seconds", "max_replica_lag"):
        values.setdefault(name, getattr(config.prune, name))
    if "archive" not in values and config.prune.archive is not None:
        values["archive"] = archive_in(config.prune.archive)
    return Order(using, **values)


def archive_in(folder: str) -> Archive:
    """An archive with the site's redaction."""
    name = get_settings().prune.redact
    if name is None:
        return Archive(folder)
    try:
        redact = import_string(name)
    except ImportError as error:
        raise ArchiveError(f'PRUNE["redact"] cannot be imported: {error}') from error
    if not callable(redact):
        raise ArchiveError(f'PRUNE["redact"] is no function: {name}')
    return Archive(folder, redact)


@dataclass(slots=True)
class Report:
    """What a pass came to."""

    deleted: Counter[str] = field(default_factory=Counter)  # by status, and by table of ours
    archived: int = 0
    batches: int = 0
    left: int = 0  # rows that could not go, each in the log
    refused: int = 0  # locks waited for in vain
    waited_for_replicas: float = 0.0  # seconds
    worst: float = 0.0  # longest time that a batch held its locks, seconds
    seconds: float = 0.0
    stopped: str = ""  # empty: all done; else max_seconds, max_rows
    note: str = ""

    @property
    def rows(self) -> int:
        """All that was deleted."""
        return sum(self.deleted.values())


def prune(order: Order) -> Report:
    """One pass."""
    return _Pass(order).run()


class _Enough(Exception):
    """The pass has reached a bound; its text says which."""


class _Changed(Exception):
    """A row was changed between the archive and the DELETE; nothing of the batch counts."""


class _Pass:
    def __init__(self, order: Order) -> None:
        self.order, self.using, self.report = order, order.using, Report()
        self.pace = Pace(order.target, order.duty)
        self.began = now()
        self.next_look = 0.0  # at the replicas
        self.errors = 0  # in a row
        self.narrow = 0  # rows of a batch while a row that cannot go is looked for
        self.most_read = 50  # rows of a batch that is archived: how large they are is not known
        self.wal = Wal(self.using, order.duty)
        self.ahead: Ahead | None = None

    def run(self) -> Report:
        if self.order.archive is not None:
            self.order.archive.check()
            if self.order.duty >= 1 and self.order.max_rows is None:
                self.ahead = ahead.begin(self.using)
        try:
            for step in steps(self.order.selection, self.using) if self.order.tasks else ():
                self._through(step)
            for step in own_steps(self.using) if self.order.own_tables else ():
                self._through(step)
        except _Enough as enough:
            self.report.stopped = str(enough)
        finally:
            self.wal.put_back()
            if self.ahead is not None:
                self.ahead.close()
            if self.order.archive is not None:
                self.order.archive.close()
        with suppress(*TRANSIENT):
            self.report.note = pressure.long_transaction(self.using)
        self.report.seconds = now() - self.began
        self._log_end()
        return self.report

    def _log_end(self) -> None:
        report = self.report
        logger.info(
            "prune.done",
            rows=report.rows,
            batches=report.batches,
            seconds=round(report.seconds, 1),
            worst=round(report.worst, 3),
            stopped=report.stopped or "no",
        )

    def _through(self, step: Step) -> None:
        """Batch after batch, to the end of a walk."""
        archived = self.order.archive is not None and bool(step.status)
        walk, more = step.walk(self.using), True
        while more:
            self._stop_when_enough()
            size, started = self._size(archived, step), now()
            try:
                self._let_replicas_catch_up()
                self.wal.prepare()
                batch = self._next(walk, size, step)
                size, edge = batch.size, batch.edge
                deleted, held = self._delete(walk, batch, step)
            except TRANSIENT as error:
                self._refused(error)
                continue
            except (IntegrityError, RowError, _Changed) as error:
                if size > 1:
                    self.narrow = max(1, size // 8)  # towards the row that it is about
                    continue
                self._leave(error, edge, step)
                more, walk.after = edge is not None, edge
                continue
            more, walk.after, self.errors = edge is not None, edge, 0
            if archived:
                self.report.archived += deleted
            self._count(step.name, deleted, size, held)
            self.wal.deleted(deleted)
            if more:
                time.sleep(self.pace.pause(now() - started))

    def _size(self, archived: bool, step: Step) -> int:
        """Rows of the next batch."""
        bounds = [self.pace.size]
        if archived:
            bounds.append(self.most_read)
        elif step.chooses is not None:
            bounds.append(MOST_READ)
        if self.order.max_rows is not None:
            bounds.append(self.order.max_rows - self.report.rows)
        if self.narrow:
            bounds.append(self.narrow)
            self.narrow = self.narrow * 2 if self.narrow < 64 else 0
        return min(bounds)

    def _leave(self, error: Exception, place: Place | None, step: Step) -> None:
        """One row cannot go, and must not keep the others: it stays, and is told of."""
        self.report.left += 1
        text = " ".join(str(error).split())
        task = place[1] if place is not None and step.status else None
        logger.warning("prune.left", task_id=task and str(UUID(str(task))), error=text)
        if self.report.left >= MOST_LEFT:
            raise ArchiveError(f"{MOST_LEFT} tasks could not be pruned, the last one: {text}")

    def _stop_when_enough(self) -> None:
        seconds, rows = self.order.max_seconds, self.order.max_rows
        if seconds is not None and now() - self.began >= seconds:
            raise _Enough("max_seconds")
        if rows is not None and self.report.rows >= rows:
            raise _Enough("max_rows")

    # -- one batch ----------------------------------------------------------------

    def _next(self, walk: Walk, size: int, step: Step) -> Batch:
        """What comes next: of this size, unless it has been read ahead."""
        if self.ahead is not None and self._joins(walk, step) and not self.narrow:
            return self.ahead.take(walk, size)
        edge = walk.edge(size)
        return Batch(edge, size, walk.batch(edge))

    def _delete(self, walk: Walk, batch: Batch, step: Step) -> tuple[int, float]:
        """Delete one batch; returns how many rows, and the seconds that locks were held."""
        if self.order.archive is not None and step.status:
            return self._archive(self.order.archive, walk, batch, step)
        pieces = batch.pieces
        if step.chooses is not None or self._skips_locked(walk):
            columns = COLUMNS if step.status else COLUMNS[:1]
            rows = self._read(walk, columns, pieces)
            keys = [key for key, *about in rows if not about or step.takes(*about)]
            if not keys:
                return 0, 0.0
            pieces = self._by_key(walk, keys)
        with short_transaction(self.using, PATIENCE):
            began = now()
            deleted = walk.delete(pieces)
        return deleted, now() - began

    def _archive(self, archive: Archive, walk: Walk, batch: Batch, step: Step) -> tuple[int, float]:
        """Write one batch to the archive, then delete exactly what was written."""
        parts = self._parts(archive, walk, batch, step)
        if not parts:
            return 0, 0.0
        keys = [key for part in parts for key in part.keys]
        by_range = step.chooses is None and walk.can_tell and not self._skips_locked(walk)
        written = archive.appended(parts, self.using)
        with written as appended, short_transaction(self.using, PATIENCE):
            began = now()
            if by_range:  # the quicker way; a row that has come into it meanwhile is noticed
                gone = walk.delete_telling(batch.pieces)
                exact = len(gone) == len(keys) and set(gone) == set(map(str, keys))
            else:
                exact = walk.delete(self._by_key(walk, keys)) == len(keys)
            if not exact:
                raise _Changed("rows of the batch were changed meanwhile")
            appended.commit()
        return len(keys), now() - began

    def _parts(self, archive: Archive, walk: Walk, batch: Batch, step: Step) -> list[Part]:
        """What of a batch is to go, as it is written."""
        if self._joins(walk, step):
            parts = batch.parts
            if parts is None:
                parts = archive_rows.at_once(walk.connection, batch.pieces)
            number, size = sum(len(part.keys) for part in parts), sum(part.size for part in parts)
            self._bound_memory(number, size, MOST_JOINED)
            return parts
        columns = archive_rows.columns(self.using)
        read = self._read(walk, (*COLUMNS, *columns), batch.pieces)
        self._bound_memory(len(read), sum(len(row[-1] or "") for row in read), MOST_BYTES)
        rows = [
            (row[0], *row[len(COLUMNS) :]) for row in read if step.takes(*row[1 : len(COLUMNS)])
        ]
        return archive_rows.parts(rows, archive.redact)

    def _bound_memory(self, rows: int, size: int, most: int) -> None:
        """As many rows in the next batch as their size allows, twice as many at most."""
        if rows:
            self.most_read = max(1, min(MOST_READ, 2 * rows, most // max(1, size // rows)))

    def _joins(self, walk: Walk, step: Step) -> bool:
        """Whether the database can make the whole text of a batch that is archived."""
        as_it_is = self.order.archive is not None and self.order.archive.redact is None
        all_go = step.chooses is None and step.status and not self._skips_locked(walk)
        return bool(as_it_is and all_go) and walk.connection.vendor == "postgresql"

    def _read(self, walk: Walk, columns: Sequence[str], pieces: list[Condition]) -> list[Any]:
        if not self._skips_locked(walk):
            return walk.read(columns, pieces)
        with short_transaction(self.using, PATIENCE):
            return walk.read(columns, pieces, skip_locked=True)

    def _by_key(self, walk: Walk, keys: list[Any]) -> list[Condition]:
        """These rows; one by one past locked ones, for MariaDB locks all that it looks at."""
        if self._skips_locked(walk):
            return [walk.keys([key]) for key in keys]
        return [walk.keys(keys)]

    def _skips_locked(self, walk: Walk) -> bool:
        """Whether what others hold is to be left out: they have held it for a while."""
        can: bool = walk.connection.features.has_select_for_update_skip_locked
        return self.pace.refused >= SKIP_AFTER and can

    # -- between batches ------------------------------------------------------------

    def _refused(self, error: Exception) -> None:
        """Wait for whoever holds a lock, or for a database that is away."""
        self.errors += 1
        self.report.refused += 1
        if self.errors > GIVE_UP or what_helps(error):
            raise error
        if not is_locked(error):
            discard(self.using)
        wait = self.pace.locked()
        logger.warning("prune.locked", error=str(error).strip(), wait=wait, rows=self.pace.size)
        time.sleep(wait)

    def _count(self, name: str, deleted: int, size: int, held: float) -> None:
        report = self.report
        if deleted:
            report.deleted[name] += deleted
        report.batches += 1
        report.worst = max(report.worst, held)
        self.pace.took(size if deleted else 0, held)  # what stays was passed in that time too
        logger.info("prune.batch", what=name, rows=deleted, held=round(held, 4), total=report.rows)
        report.seconds = now() - self.began
        self.order.tell(report)

    def _let_replicas_catch_up(self) -> None:
        """What is deleted here has to be deleted there; who reads there must not fall behind."""
        if now() < self.next_look:
            return
        while (lag := pressure.replica_lag(self.using)) > self.order.max_replica_lag:
            began = now()
            logger.warning("prune.lagging", lag=round(lag, 1))
            time.sleep(1.0)
            self.report.waited_for_replicas += now() - began
            self._stop_when_enough()
        self.next_look = now() + 1.0
