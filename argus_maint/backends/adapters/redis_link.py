"""A connection to the Redis of one alias that never waits long, and says why it failed.

The backend's own connection is made for workers: it waits for its server without a bound, and
tries again for many seconds. Who looks after a queue must notice that the server is away.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import redis
from django_tasks_redis.backends import RedisTaskBackend
from django_tasks_redis.utils import get_redis_client
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    AuthorizationError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)
from redis.retry import Retry

from argus_maint.backends.adapters.base import Unreachable

CONNECT, ANSWER = 1.0, 2.0  # seconds at most
_NOT_LET_IN = (
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    AuthorizationError,
    NoPermissionError,
)
_REFUSALS = ("NOAUTH", "WRONGPASS", "NOPERM")


class Link:
    """The client for one backend, made when it is first needed."""

    def __init__(self, alias: str, backend: Any) -> None:
        self.alias, self.backend = alias, backend
        self._client: Any = None

    @contextmanager
    def client(self) -> Generator[Any, None, None]:
        """A client to use; what fails within is raised as ``Unreachable`` where it is that."""
        name = f"TASKS[{self.alias!r}]"
        try:
            if self._client is None:
                self._client = _bounded(self.backend)
        except (ValueError, TypeError):  # its text may hold the URL, and so the password
            raise Unreachable(f"{name}: its REDIS_... options are no address of a server") from None
        kwargs = self._client.connection_pool.connection_kwargs
        place = kwargs.get("path") or f"{kwargs.get('host', '?')}:{kwargs.get('port', '?')}"
        try:
            yield self._client
        except (redis.RedisError, OSError) as error:
            trouble = _in_plain_words(error)
            if not trouble:
                raise
            raise Unreachable(f"Redis at {place} ({name}) {trouble}") from None


def _bounded(backend: Any) -> Any:
    if type(backend).get_client is not RedisTaskBackend.get_client:
        # The site makes its own, such as one that asks Sentinel: so are its time limits.
        return backend.get_client()
    client = get_redis_client(backend.options)
    kwargs = client.connection_pool.connection_kwargs
    # Here, since what a URL says of them wins over what get_redis_client is given.
    kwargs.update(socket_timeout=ANSWER, socket_connect_timeout=CONNECT)
    client.set_retry(Retry(NoBackoff(), 0))
    return client


def _in_plain_words(error: Exception) -> str:
    """What is wrong with the server; empty where it is our own mistake."""
    text = " ".join(str(error).split())
    if isinstance(error, _NOT_LET_IN) or text.startswith(_REFUSALS):
        return "does not let us in: look at its user and password"
    if isinstance(error, BusyLoadingError):
        return "is still loading its data"
    if isinstance(error, (redis.TimeoutError, TimeoutError)):
        return f"does not answer within {ANSWER:g} s"
    if isinstance(error, ReadOnlyError):
        return "takes no writes: it is a replica"
    if isinstance(error, OutOfMemoryError):
        return "takes no writes: it is out of memory"
    if isinstance(error, ResponseError):
        return "takes no writes: it cannot save its data" if text.startswith("MISCONF") else ""
    if isinstance(error, (redis.ConnectionError, OSError)):
        cause = error if isinstance(error, OSError) else error.__cause__ or error.__context__
        why = getattr(cause, "strerror", None) or "the connection was closed"
        return f"does not answer: {why}"
    return ""
