"""What rq keeps of one job, as far as maintenance asks for it.

A job's ``data`` is never read: it is the pickled call, and to look at it would import the
site's tasks. Its path is the beginning of ``description``, which rq writes beside it. Its
``meta`` is pickled as well, and read by an unpickler that knows plain values only.
"""

from __future__ import annotations

import io
import pickle
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from itertools import islice
from typing import Any
from uuid import UUID

from redis.exceptions import ResponseError

from argus_maint.backends.adapters.rq.server import Server, key, text

CHUNK = 100  # commands that are sent together
EARLIER = "argus_maint_attempts"  # ours, beside rq's fields: attempts that left no result
ERRORS = "_django_tasks_rq_exceptions"  # in meta: class paths, the newest last
FIELDS = (
    "status",
    "meta",
    "origin",
    "description",
    "worker_name",
    "started_at",
    "ended_at",
    "enqueued_at",
    "last_heartbeat",
    "failure_ttl",
    "timeout",
    "rate_limit_key",
    EARLIER,
)


_VALUES: dict[tuple[str, str], type] = {
    (each.__module__, each.__qualname__): each
    for each in (date, datetime, time, timedelta, timezone, Decimal, UUID)
}


class _Plain(pickle.Unpickler):
    """Reads values that need no class, and a few classes that do nothing but hold a value."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _VALUES:
            return _VALUES[module, name]
        raise pickle.UnpicklingError(f"{module}.{name} is no plain value")


@dataclass(frozen=True, slots=True)
class Record:
    """One job. ``alias`` is empty where it is no task of django-tasks-rq's."""

    job_id: str
    status: str
    raw_meta: bytes
    meta: dict[str, Any] = field(repr=False)
    queue: str
    path: str
    worker: str
    started_at: str
    ended_at: str
    enqueued_at: str
    last_heartbeat: str
    failure_ttl: int | None
    timeout: int | None  # seconds; None: without end
    limited: bool
    earlier: int

    @property
    def alias(self) -> str:
        """The alias of TASKS that it was enqueued by."""
        return str(self.meta.get("backend_name", ""))

    @property
    def errors(self) -> list[str]:
        """Class paths of its exceptions, the newest last."""
        found = self.meta.get(ERRORS)
        return [str(each) for each in found] if isinstance(found, list) else []


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest result of a job, and how many there are."""

    result_id: str = ""
    count: int = 0
    said: str = ""  # its traceback

    @property
    def at(self) -> float | None:
        """When it was written, by the server's clock."""
        return int(self.result_id.split("-")[0]) / 1000 if self.result_id else None


def when(stored: str) -> datetime | None:
    """A time as rq writes it."""
    try:
        return datetime.fromisoformat(stored.replace("Z", "+00:00")).astimezone(timezone.utc)
    except ValueError:
        return None


def chunks(ids: Iterable[str], size: int = CHUNK) -> Iterator[list[str]]:
    """In parts that one pipeline may hold."""
    rest = iter(ids)
    while part := list(islice(rest, size)):
        yield part


def read(server: Server, ids: Sequence[str]) -> dict[str, Record]:
    """The jobs that are there, by id."""
    found: dict[str, Record] = {}
    for part in chunks(ids):
        pipeline = server.pipeline()
        for job_id in part:
            pipeline.hmget(key("job", job_id), FIELDS)
        for job_id, values in zip(part, answers(pipeline), strict=True):
            if values is not None and any(value is not None for value in values):
                found[job_id] = _record(job_id, values, server)
    return found


def read_newest(server: Server, ids: Sequence[str]) -> dict[str, Newest]:
    """The newest result of each, of those without one as well."""
    found: dict[str, Newest] = {}
    for part in chunks(ids):
        pipeline = server.pipeline()
        for job_id in part:
            pipeline.xrevrange(key("results", job_id), count=1)
            pipeline.xlen(key("results", job_id))
        told = answers(pipeline)
        for number, job_id in enumerate(part):
            found[job_id] = _newest(told[2 * number], int(told[2 * number + 1] or 0))
    return found


def answers(pipeline: Any) -> list[Any]:
    """What a pipeline is told; None for a key that is of another kind, and so not rq's."""
    told: list[Any] = pipeline.execute(raise_on_error=False)
    for number, each in enumerate(told):
        if isinstance(each, ResponseError) and "WRONGTYPE" in str(each):
            told[number] = None
        elif isinstance(each, Exception):
            raise each
    return told


def packed(said: str) -> str:
    """A traceback as rq keeps it."""
    return b64encode(zlib.compress(said.encode())).decode()


def _newest(entries: Any, count: int) -> Newest:
    if not entries:
        return Newest()
    result_id, payload = entries[0]
    try:
        said = zlib.decompress(b64decode(payload.get(b"exc_string", b""))).decode()
    except (zlib.error, ValueError):
        said = ""
    return Newest(text(result_id), count, said)


def _record(job_id: str, values: Sequence[Any], server: Server) -> Record:
    raw = dict(zip(FIELDS, values, strict=True))
    return Record(
        job_id,
        text(raw["status"]),
        raw["meta"] or b"",
        _meta(raw["meta"], server),
        text(raw["origin"]),
        # "shop.tasks.send('a', n=1)"
        text(raw["description"]).partition("(")[0],
        text(raw["worker_name"]),
        text(raw["started_at"]),
        text(raw["ended_at"]),
        text(raw["enqueued_at"]),
        text(raw["last_heartbeat"]),
        _number(raw["failure_ttl"]),
        max(0, _number(raw["timeout"]) or 0) or None,
        bool(raw["rate_limit_key"]),
        _number(raw[EARLIER]) or 0,
    )


def _number(stored: bytes | None) -> int | None:
    """None as well for what is no number: a job of somebody else's may have anything."""
    try:
        return int(float(stored or b""))
    except (ValueError, OverflowError):
        return None


def _meta(stored: bytes | None, server: Server) -> dict[str, Any]:
    if not stored:
        return {}
    try:
        if stored[:1] == b"\x80":
            found = _Plain(io.BytesIO(stored)).load()
        else:
            found = server.serializer.loads(stored) if stored[:1] == b"{" else None
    except Exception:  # noqa: BLE001 - whatever it is, it is no task of ours
        return {}
    return found if isinstance(found, dict) else {}
