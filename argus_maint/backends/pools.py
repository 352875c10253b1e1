"""What this process can say of its pools of tasks (django-tasks-local), and that it lives.

The package keeps its tasks in the memory of the process that enqueued them, mostly a web
process, and sends no signal. So its ``enqueue`` is wrapped (``install``): the first one in a
process registers it as a ``Process`` of the kind "pool", and a daemon thread beats for it and
writes down what its pools hold. A process that ends as it should leaves no row behind.

The request that enqueues waits for nothing of ours and fails by nothing of ours: all that
touches the database is done by the thread. A process that was forked later registers itself
when it enqueues; what it has inherited of its parent's tasks is not its own, and not counted.

``Process.info["pools"]`` has, for each alias: ``queues`` (by name: ``ready``, ``busy``,
``finished``, ``failed`` and, of the oldest that waits, ``oldest``), ``tasks`` (the kinds of
task it has most of, with their numbers), ``size`` and ``broken``.

Events: ``pool.silent`` (the database does not take its word; told once), ``pool.back``.
"""

from __future__ import annotations

import atexit
import functools
import os
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

from django.db import connections

from argus_maint.clock import now as monotonic
from argus_maint.log import get_logger

if TYPE_CHECKING:
    from argus_maint.scheduling.member import Member

logger = get_logger(__name__)

GAP = 1.0  # seconds from one word to the next, however much is enqueued
LAST_WAIT = 3.0  # seconds that a clean exit waits for its last word
KINDS = 5  # kinds of task that are named
FAILED = "FAILED"

_lock = threading.Lock()
_teller: Teller | None = None
_inherited: set[str] = set()  # ids of a parent's tasks: it counts them, and runs them, itself
_troubles: set[str] = set()  # that were logged


def install() -> None:
    """Wrap ``enqueue`` of the package's backends. Calling it again changes nothing."""
    from django_tasks_local.backend import FuturesBackend

    original = FuturesBackend.enqueue
    if getattr(original, "argus_maint", False):
        return

    @functools.wraps(original)
    def enqueue(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(self, *args, **kwargs)
        note(self)
        return result

    enqueue.argus_maint = True  # type: ignore[attr-defined]
    FuturesBackend.enqueue = enqueue
    os.register_at_fork(after_in_child=_forget)


def note(backend: Any) -> None:
    """A task was put into this backend's pool. Raises nothing, and waits for no database."""
    global _teller
    try:
        with _lock:
            if _teller is None:
                _teller = Teller()
            _teller.note(backend.alias, backend._state)
    except Exception as error:  # noqa: BLE001 - the request is not to fail by us
        _tell_once(f"{type(error).__name__}: {error}")


def _forget() -> None:
    """In a child, right after the fork: it has none of its parent's threads."""
    global _lock, _teller
    if _teller is not None:
        for state in _teller.states.values():
            _inherited.update(state.results)
    _lock, _teller = threading.Lock(), None


def _tell_once(trouble: str) -> None:
    trouble = " ".join(trouble.split())
    if trouble not in _troubles and len(_troubles) < 100:
        _troubles.add(trouble)
        logger.warning("pool.silent", pid=os.getpid(), error=trouble)


class Teller:
    """The thread that speaks for this process, from its first task to its end."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.states: dict[str, Any] = {}  # by alias, as the package keeps them
        self.wake, self.over = threading.Event(), threading.Event()
        self.told = 0  # tasks in hand by the last word
        self.silent = False
        self.member: Member | None = None
        self.thread: threading.Thread | None = None

    def note(self, alias: str, state: Any) -> None:
        """Know this pool; where the last word was that there is nothing, a new one is due."""
        self.states[alias] = state
        if self.thread is None:
            self.thread = threading.Thread(target=self._run, daemon=True, name="argus_maint pool")
            self.thread.start()
            atexit.register(self._finish)
        if not self.told:
            self.wake.set()

    def _run(self) -> None:
        from argus_maint.conf import get_settings

        while not self.over.is_set():
            self.wake.clear()
            spoke_at = monotonic()
            self._speak(self._tell)
            try:
                beat = get_settings().beat
            except Exception:  # noqa: BLE001 - a setting that is wrong: the checks tell
                beat = 5.0
            self.wake.wait(beat)
            self.over.wait(max(0.0, spoke_at + GAP - monotonic()))
        self._speak(self._sign_off)

    def _speak(self, say: Any) -> None:
        """Do it, and leave no connection open; a database that is away is told of once."""
        try:
            say()
        except Exception as error:  # noqa: BLE001 - the process goes on without our word
            if not self.silent:
                text = " ".join(f"{type(error).__name__}: {error}".split())
                logger.warning("pool.silent", pid=self.pid, error=text)
            self.silent = True
        else:
            if self.silent:
                logger.info("pool.back", pid=self.pid)
            self.silent = False
        finally:
            connections.close_all()

    def _tell(self) -> None:
        from argus_maint.backends.pool_member import PoolMember

        if self.member is None:
            self.member = PoolMember()
        info = {alias: account(state) for alias, state in list(self.states.items())}
        self.member.group.info["pools"] = info
        if self.member.beaten_at is None:
            self.member.register()
        else:
            self.member.beat()
        self.told = sum(map(in_hand, info.values()))

    def _sign_off(self) -> None:
        if self.member is not None and self.member.beaten_at is not None:
            self.member.sign_off(keep=False)

    def _finish(self) -> None:
        """At a clean exit, when the interpreter has waited for all tasks of all pools."""
        if os.getpid() != self.pid or self.thread is None:
            return
        self.over.set()
        self.wake.set()
        self.thread.join(LAST_WAIT)


def account(state: Any) -> dict[str, Any]:
    """What one pool holds, by queue."""
    with state.lock:
        futures, results = dict(state.futures), dict(state.results)
    queues: dict[str, dict[str, Any]] = {}
    kinds: Counter[str] = Counter()
    for key, result in results.items():
        if key in _inherited:
            continue
        zero = {"ready": 0, "busy": 0, "finished": 0, "failed": 0, "oldest": None}
        queue = queues.setdefault(result.task.queue_name, zero)
        future = futures.get(key)
        if result.finished_at is not None or (future is not None and future.done()):
            queue["failed" if str(result.status) == FAILED else "finished"] += 1
            continue
        kinds[result.task.module_path] += 1
        if future is not None and future.running():
            queue["busy"] += 1
            continue
        queue["ready"] += 1
        since = result.enqueued_at.isoformat()  # always UTC
        queue["oldest"] = min(queue["oldest"] or since, since)
    executor = state.executor
    return {
        "queues": queues,
        "tasks": dict(kinds.most_common(KINDS)),
        "size": getattr(executor, "_max_workers", None),
        "broken": bool(getattr(executor, "_broken", False)),
    }


def in_hand(pool: dict[str, Any]) -> int:
    """Tasks that go with the process, by its word of one pool."""
    return sum(each["ready"] + each["busy"] for each in pool["queues"].values())
