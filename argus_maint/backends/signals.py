"""The tasks' signals, of Django and of the backport, counted once.

For backends that nobody can look into: what passes by in our own processes is all there is to
know. A backend may send the signals of either world, or (a wrapper) of both; one event of one
task is counted once in a process, whichever it was.

Using it::

    install({"sqs"})        # in each process; hooks.py does it for the aliases that need it
    totals("sqs", using)    # over all processes, since the beginning

Counts are added up in the database by a thread, at most every ``EVERY`` seconds and at a clean
exit. Who sends a signal waits for nothing. A process that is killed takes what it has counted
since the last time with it.

Events (structlog): ``signals.silent`` (the database does not take the counts; told once).
"""

from __future__ import annotations

import atexit
import os
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from django.db import connections

from argus_maint.log import get_logger

logger = get_logger(__name__)

EVERY = 10.0  # seconds from one write to the next
LAST_WAIT = 3.0  # seconds that a clean exit waits for the last
REMEMBERED = 20_000  # events of tasks that are not counted again
WORLDS = ("django.tasks", "django_tasks")
EVENTS = ("enqueued", "started", "finished")

_wanted: set[str] = set()
_lock = threading.Lock()
_tally: Tally | None = None
_forks = False


def install(aliases: Iterable[str]) -> None:
    """Count for these aliases too. Calling it again changes nothing."""
    global _forks
    _wanted.update(aliases)
    for world in WORLDS:
        if find_spec(world.partition(".")[0]) is None:
            continue
        try:
            signals = import_module(f"{world}.signals")
        except ImportError:  # Django 5.2 has no such module
            continue
        for event in EVENTS:
            signal, receiver = getattr(signals, f"task_{event}"), _RECEIVERS[event]
            signal.connect(receiver, weak=False, dispatch_uid=f"argus_maint.{event}")
    if not _forks:
        _forks = True
        os.register_at_fork(after_in_child=_forget)


def totals(alias: str, using: str) -> dict[str, int]:
    """By event: enqueued, started, successful, failed; those of all processes."""
    from argus_maint.models import SignalCount

    rows = SignalCount.objects.using(using).filter(backend_name=alias[:32])
    return dict(rows.order_by("event").values_list("event", "total"))


def _note(event: str, result: Any) -> None:
    global _tally
    try:
        if result.backend in _wanted:
            with _lock:
                if _tally is None:
                    _tally = Tally()
                _tally.note(event, result)
    except Exception as error:  # noqa: BLE001 - whoever sends a signal is not to fail by us
        logger.debug("signals.lost", error=repr(error))


def _enqueued(sender: Any, task_result: Any, **kwargs: Any) -> None:
    _note("enqueued", task_result)


def _started(sender: Any, task_result: Any, **kwargs: Any) -> None:
    _note("started", task_result)


def _finished(sender: Any, task_result: Any, **kwargs: Any) -> None:
    _note("finished", task_result)


_RECEIVERS = {"enqueued": _enqueued, "started": _started, "finished": _finished}


def _forget() -> None:
    """In a child, right after the fork: what its parent has counted is the parent's."""
    global _lock, _tally
    _lock, _tally = threading.Lock(), None


class Tally:
    """What one process has counted and not written yet."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.seen: OrderedDict[tuple[str, str], None] = OrderedDict()
        self.counts: Counter[tuple[str, str]] = Counter()  # by alias and event
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.silent = False
        self.thread: threading.Thread | None = None

    def note(self, event: str, result: Any) -> None:
        """Count it, unless this very event of this task was counted."""
        key = (str(result.id), event)
        with self.lock:
            if result.id is not None and key in self.seen:
                return
            self.seen[key] = None
            if len(self.seen) > REMEMBERED:
                self.seen.popitem(last=False)
            name = str(result.status).lower() if event == "finished" else event
            self.counts[str(result.backend)[:32], name[:16]] += 1
        if self.thread is None:
            self.thread = threading.Thread(target=self._run, daemon=True, name="argus_maint tally")
            self.thread.start()
            atexit.register(self._finish)

    def _run(self) -> None:
        while not self.over.wait(EVERY):
            self.write()
        self.write()

    def write(self) -> None:
        """Add the counts to those in the database; where that fails they wait."""
        with self.lock:
            counts, self.counts = self.counts, Counter()
        if not counts:
            return
        try:
            _add(counts)
            self.silent = False
        except Exception as error:  # noqa: BLE001 - the process goes on without our counts
            with self.lock:
                self.counts.update(counts)
            if not self.silent:
                logger.warning("signals.silent", error=" ".join(str(error).split()))
            self.silent = True
        finally:
            connections.close_all()

    def _finish(self) -> None:
        if os.getpid() == self.pid and self.thread is not None:
            self.over.set()
            self.thread.join(LAST_WAIT)


def _add(counts: Counter[tuple[str, str]]) -> None:
    from django.db.models import F

    from argus_maint.database import short_transaction, task_database
    from argus_maint.dbtime import DbNow
    from argus_maint.models import SignalCount

    using = task_database()
    with short_transaction(using, 1.0):
        for (alias, event), number in sorted(counts.items()):  # all in one order: no deadlock
            key = {"backend_name": alias, "event": event}
            rows = SignalCount.objects.using(using).filter(**key)
            if not rows.update(total=F("total") + number, changed_at=DbNow()):
                rows.create(**key, total=number, changed_at=DbNow())
