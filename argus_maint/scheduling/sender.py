"""Sends pings from a thread of its own: no job waits for one, and none fails by one.

Using it::

    sender().send("prune", job.ping, "/start", rid, "host: web-1", timeout=5)
    sender().flush()    # a command that ends: wait a little for what is on its way

A ping is a POST to the URL with the signal behind its path, and the run in ``rid``, as at
healthchecks.io. It is tried ``TRIES`` times where the network or the server fails, once
where that host was away the last time, so that a host that hangs holds up the others less.
``MOST`` pings wait; the oldest are dropped for more. Redirects are followed to http and
https only; proxies are those of the environment (``https_proxy``, ``no_proxy``).

A URL is a secret. The log has its scheme and host, and of an error what cannot hold the
URL. A name and password in it are sent as basic authentication, to that host only.

Raises nothing.

Events: ``ping.failed`` once for a host, when pings to it begin to fail, ``ping.back`` when
they arrive again (a URL that was refused, as with 404, counts until it is taken itself),
``ping.dropped``.

Source: https://healthchecks.io/docs/http_api/
"""

from __future__ import annotations

import base64
import http.client
import threading
import time
import uuid
from collections import deque
from dataclasses import dataclass
from functools import lru_cache
from typing import IO, Any
from urllib import request
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit, urlunsplit

from argus_maint import __version__
from argus_maint.log import get_logger

logger = get_logger(__name__)

MOST = 100  # pings that wait
TRIES = 3
PAUSE = 1.0  # seconds between two tries
FLUSH = 5.0  # seconds that a command waits at its end
BODY = 10_000  # bytes; more is not kept by every service
AGAIN = (408, 425, 429)  # refused for now
ALL = ""  # stands for every URL of a host


@dataclass(frozen=True, slots=True)
class Letter:
    """One ping: of a job, or of the whole (an empty name)."""

    job: str
    url: str
    host: str
    request: request.Request
    timeout: float


class Sender:
    """The queue of one process, and its thread."""

    def __init__(self) -> None:
        self.waiting: deque[Letter] = deque()
        self.condition = threading.Condition()
        self.thread: threading.Thread | None = None
        self.sending = False
        self.dropped = 0
        self.failing: dict[str, set[str]] = {}  # host -> URLs that it refused, or ALL

    def send(
        self,
        job: str,
        url: str,
        signal: str = "",
        rid: uuid.UUID | None = None,
        body: str = "",
        timeout: float = 5.0,
    ) -> None:
        """Put a ping in line; returns at once."""
        letter = Letter(job, url, shown(url), _request(url, signal, rid, body), timeout)
        with self.condition:
            if len(self.waiting) >= MOST:  # the newest says most
                self.waiting.popleft()
                self.dropped += 1
            self.waiting.append(letter)
            if self.thread is None or not self.thread.is_alive():  # the first, or after a fork
                self.thread = threading.Thread(target=self._run, daemon=True, name="pings")
                self.thread.start()
            self.condition.notify_all()

    def flush(self, seconds: float = FLUSH) -> bool:
        """Wait until all is sent, but no longer; whether it is."""
        with self.condition:
            return self.condition.wait_for(
                lambda: not self.waiting and not self.sending, max(0.0, seconds)
            )

    def _run(self) -> None:
        opener = _opener()
        while True:
            with self.condition:
                self.condition.wait_for(lambda: self.waiting)
                letter, self.sending = self.waiting.popleft(), True
            try:
                self._deliver(letter, opener)
            finally:
                self._sent()

    def _sent(self) -> None:
        with self.condition:
            self.sending, dropped = False, 0
            if not self.waiting:
                dropped, self.dropped = self.dropped, 0
            self.condition.notify_all()
        if dropped:
            logger.warning("ping.dropped", pings=dropped)

    def _deliver(self, letter: Letter, opener: request.OpenerDirector) -> None:
        tries = 1 if ALL in self.failing.get(letter.host, ()) else TRIES
        for left in reversed(range(tries)):
            try:
                opener.open(letter.request, timeout=letter.timeout).close()
                return self._arrived(letter)
            except HTTPError as error:
                status, why = error.code, f"HTTP {error.code}"
                error.close()
            except Exception as error:  # noqa: BLE001 - whatever it is, no job is to know of it
                status, why = 0, _without_url(error)
            refused = 300 <= status < 500 and status not in AGAIN
            if refused or not left:
                return self._failed(letter, letter.url if refused else ALL, why)
            time.sleep(PAUSE)
        return None

    def _failed(self, letter: Letter, which: str, why: str) -> None:
        known = self.failing.setdefault(letter.host, set())
        if not known:
            logger.warning("ping.failed", host=letter.host, job=letter.job, error=why)
        known.add(which)

    def _arrived(self, letter: Letter) -> None:
        known = self.failing.get(letter.host)
        if not known:
            return
        known -= {ALL, letter.url}
        if not known:
            logger.info("ping.back", host=letter.host, job=letter.job)


@lru_cache(maxsize=1)
def sender() -> Sender:
    """The one of this process."""
    return Sender()


def shown(url: str) -> str:
    """Scheme and host: what may be seen of a URL."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _request(url: str, signal: str, rid: uuid.UUID | None, body: str) -> request.Request:
    parts = urlsplit(url)
    login, _, netloc = parts.netloc.rpartition("@")
    query = "&".join(filter(None, (parts.query, f"rid={rid}" if rid else "")))
    path = parts.path.rstrip("/") + signal if signal else parts.path
    data = body.encode(errors="replace")[:BODY].decode(errors="ignore").encode()
    headers = {
        "User-Agent": f"argus_maint/{__version__}",
        "Content-Type": "text/plain; charset=utf-8",
    }
    made = request.Request(  # noqa: S310 - the settings take http and https only
        urlunsplit((parts.scheme, netloc, path, query, "")), data, headers, method="POST"
    )
    if login:
        token = base64.b64encode(unquote(login).encode()).decode()
        made.add_unredirected_header("Authorization", f"Basic {token}")
    return made


class _Redirects(request.HTTPRedirectHandler):
    """To http and https only; the method and the body stay, for a ping is no form."""

    http_error_308 = request.HTTPRedirectHandler.http_error_302  # Python 3.10 has none

    def redirect_request(
        self,
        req: request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> request.Request | None:
        if urlsplit(newurl).scheme not in ("http", "https"):
            raise HTTPError(shown(newurl), code, "redirected to another scheme", headers, fp)
        return request.Request(  # noqa: S310 - so the line above has made sure
            newurl, req.data, dict(req.headers), req.origin_req_host, True, "POST"
        )


def _opener() -> request.OpenerDirector:
    """Like urllib's own, without its handlers of files and FTP."""
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler(request.getproxies_environment()),
        request.HTTPHandler(),
        request.HTTPSHandler(),
        request.HTTPDefaultErrorHandler(),
        request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener


def _without_url(error: Exception) -> str:
    """What went wrong, in words that cannot hold the URL."""
    reason: Any = error.reason if isinstance(error, URLError) else error
    return getattr(reason, "strerror", None) or type(reason).__name__
