"""One Redis server of rq's: a connection that never waits long, its clock, and its keys.

rq's own objects are not asked: many of them tidy up while they are only read (``count``,
``get_job_ids``, ``Worker.all``). What is read here is read with commands that cannot write.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import django_rq
import rq.defaults
from django_rq.connection_utils import filter_connection_params
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError
from redis.retry import Retry
from rq.serializers import resolve_serializer

from argus_maint.backends.adapters.base import Unreachable

PREFIX = getattr(rq.defaults, "RQ_KEY_PREFIX", "rq")
CONNECT_SECONDS = 1.0
ANSWER_SECONDS = 2.0
REFUSED = ("NOAUTH", "WRONGPASS", "invalid password", "Authentication required")


def key(*parts: str) -> str:
    """A key of rq's: ``key("job", id)``."""
    return ":".join((PREFIX, *parts))


def text(value: Any) -> str:
    """What Redis holds, as text; nothing is empty."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")


def queue_settings() -> dict[str, Any]:
    """RQ_QUEUES, as django-rq reads it."""
    return dict(django_rq.settings.QUEUES)


class Server:
    """The server of one queue in RQ_QUEUES. It is connected when it is first asked.

    ``identity`` is equal for the queues that share one.
    """

    def __init__(self, queue: str) -> None:
        self.queue, self.config = queue, queue_settings()[queue]
        self.identity = repr(sorted(filter_connection_params(self.config).items(), key=str))

    @cached_property
    def client(self) -> Any:
        """A client of our own, with short timeouts and without retries."""
        made = django_rq.get_connection(self.queue)
        # A cache's pool is shared with the site, and keeps the site's own timeouts.
        if "USE_REDIS_CACHE" not in self.config:
            made.connection_pool.connection_kwargs.update(
                socket_connect_timeout=CONNECT_SECONDS,
                socket_timeout=ANSWER_SECONDS,
                retry=Retry(NoBackoff(), 0),
            )
        return made

    @property
    def serializer(self) -> Any:
        """What its jobs are written with."""
        return resolve_serializer(self.config.get("SERIALIZER"))

    def pipeline(self) -> Any:
        """Commands that are sent together, and are no transaction."""
        return self.client.pipeline(transaction=False)

    def now(self) -> float:
        """Its clock."""
        seconds, micros = self.client.time()
        return float(seconds) + float(micros) / 1e6

    def uptime(self) -> float:
        """Seconds since it was started."""
        return float(self.client.info("server").get("uptime_in_seconds", 1e9))

    def place(self) -> str:
        """Where it is, for a person. No secret is in it."""
        try:
            known = self.client.connection_pool.connection_kwargs
        except Exception:  # noqa: BLE001 - a setting that makes no client: it is the caller's error
            return "Redis"
        where = known.get("path") or f"{known.get('host', '?')}:{known.get('port', '?')}"
        return f"Redis at {where}, database {known.get('db') or 0}"

    @contextlib.contextmanager
    def asked(self) -> Iterator[Server]:
        """Turn what the client raises into ``Unreachable``."""
        try:
            yield self
        except RedisError as error:
            raise Unreachable(f"{self.place()} {self._why(error)}") from None

    def _why(self, error: Exception) -> str:
        said = " ".join(str(error).split())
        if isinstance(error, AuthenticationError) or any(word in said for word in REFUSED):
            return "refuses us: the user or the password in RQ_QUEUES is wrong, or there is none"
        with contextlib.suppress(Exception):
            known = self.client.connection_pool.connection_kwargs
            for secret in (known.get("password"), self.config.get("PASSWORD")):
                said = said.replace(str(secret), "***") if secret else said
        return f"does not answer: {said[:200] or type(error).__name__}"


def stopwatch() -> float:
    """A clock for how long a command took."""
    return time.perf_counter()
