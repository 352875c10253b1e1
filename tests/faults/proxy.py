"""A TCP proxy on loopback, between a worker and its PostgreSQL or MariaDB, that breaks.

    with closing(Proxy(("127.0.0.1", 5432))) as proxy:
        proxy.lose_reply("UPDATE .* RETURNING")  # done by the server, never answered
        ...                                      # connect to 127.0.0.1:proxy.port

It reads statements as they pass, so they must pass in the clear (``PGSSLMODE=disable``),
as text of the simple protocol, which Django's drivers use. The modes are ``restore``
(forward everything), ``refuse`` (nobody listens) and ``silence`` (half-open: connections
are accepted and never answered). Faults on one statement are rules: ``lose_reply``,
``lose_statement``, ``hang``, ``swallow``, ``forget``, ``before_reply``; each counts what
it ``hit``. Nothing outlives ``close``.
"""

from __future__ import annotations

import contextlib
import re
import select
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

_CHUNK = 65536
_TCP_REPAIR = 19  # tcp.h; a socket closed in this state says nothing to its peer
_TURN = 0.05  # seconds until a mode that was changed reaches an idle connection


@dataclass
class Rule:
    """What happens to a statement that matches; ``hit`` counts how often it did."""

    statement: re.Pattern[bytes]
    then: re.Pattern[bytes] | None  # the fault waits for this one, later on the connection
    fault: str
    left: int
    do: Callable[[], None] | None = None
    hit: int = 0


class Proxy:
    """Forwards to ``target`` until told to fail."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.rules: list[Rule] = []
        self.replies_left: int | None = None
        self._mode = "forward"
        self._epoch = 0  # connections of an older one are cut
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._listener: socket.socket | None = self._listen(0)
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)

    # -- faults on everything -----------------------------------------------------

    def restore(self) -> None:
        """Forward again; connections that were silent are cut first."""
        with self._lock:
            if self._mode == "silence":
                self._epoch += 1
            if self._listener is None:
                self._listener = self._listen(self.port)
            self._mode = "forward"

    def cut_after(self, replies: int) -> None:
        """Close the connection that gets the n-th reply from now on, once it has got it."""
        with self._lock:
            self.replies_left = replies

    def silence(self) -> None:
        """Half-open: accept what comes, read what is sent, and never answer."""
        with self._lock:
            self._mode = "silence"

    def refuse(self) -> None:
        """Cut everything, and let nobody in."""
        with self._lock:
            self._epoch += 1
            self._mode = "refuse"
            if self._listener is not None:
                self._listener.close()
                self._listener = None

    # -- faults on one statement -----------------------------------------------------

    def lose_reply(self, statement: str, then: str = "", times: int = 1) -> Rule:
        """The server carries the statement out; its reply is dropped and the line is cut.

        With ``then``, it is the next statement of the same connection that matches
        ``then`` whose reply is lost (a COMMIT).
        """
        return self._rule("lose_reply", statement, then, times)

    def lose_statement(self, statement: str, then: str = "", times: int = 1) -> Rule:
        """The line is cut before the statement has reached the server."""
        return self._rule("lose_statement", statement, then, times)

    def hang(self, statement: str, then: str = "", times: int = 1) -> Rule:
        """The server carries the statement out; its connection is never answered again."""
        return self._rule("hang", statement, then, times)

    def forget(self, statement: str, then: str = "", times: int = 1) -> Rule:
        """The server carries the statement out; then the other end of the line is gone.

        As after a power cut or a firewall's restart: no goodbye, and whoever asks on it
        is told that there is no such connection. Needs root (TCP_REPAIR).
        """
        return self._rule("forget", statement, then, times)

    def swallow(self, statement: str, then: str = "", times: int = 1) -> Rule:
        """The statement never reaches the server, and its connection goes half-open."""
        return self._rule("swallow", statement, then, times)

    def before_reply(self, statement: str, do: Callable[[], None], then: str = "") -> Rule:
        """Call ``do`` once the server has carried the statement out; then pass its reply on.

        For faults of the worker itself at a known point, such as stopping it there.
        """
        rule = self._rule("call", statement, then, 0)
        rule.do, rule.left = do, 1
        return rule

    def close(self) -> None:
        """End every connection and every thread."""
        self._closed = True
        self.refuse()
        for thread in self._threads:
            thread.join(5)

    # -- inside -------------------------------------------------------------------------

    def _rule(self, fault: str, statement: str, then: str, times: int) -> Rule:
        flags = re.DOTALL | re.IGNORECASE
        rule = Rule(
            re.compile(statement.encode(), flags),
            re.compile(then.encode(), flags) if then else None,
            fault,
            times,
        )
        with self._lock:
            self.rules.append(rule)
        return rule

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port), backlog=128)
        listener.setblocking(False)
        return listener

    def _start(self, run, *arguments) -> None:
        thread = threading.Thread(target=run, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closed:
            listener = self._listener
            try:
                if listener is None or not select.select([listener], [], [], _TURN)[0]:
                    if listener is None:
                        time.sleep(_TURN)
                    continue
                client, _ = listener.accept()
            except (OSError, ValueError):  # closed under our hands by refuse()
                continue
            self._start(_Link(self, client).run)


class _Link:
    """One client's connection through the proxy."""

    def __init__(self, proxy: Proxy, client: socket.socket) -> None:
        self.proxy, self.client = proxy, client
        self.epoch = proxy._epoch
        self.server: socket.socket | None = None
        self.silent = False  # of this connection alone
        self.losing = ""  # the fault that waits for the next reply
        self.waiting_for: list[Rule] = []  # rules whose first statement has passed
        self.calling: Rule | None = None  # to be called before the next reply is passed on
        self.asked = False

    def run(self) -> None:
        try:
            self.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while self._alive() and self._turn():
                pass
        except OSError:
            pass
        finally:
            for end in (self.client, self.server):
                with contextlib.suppress(OSError):
                    if end is not None:
                        end.close()

    def _alive(self) -> bool:
        return self.epoch == self.proxy._epoch and not self.proxy._closed

    def _turn(self) -> bool:
        """Pass on what has come; False when the connection is over."""
        muted = self.silent or self.proxy._mode == "silence"
        if self.server is None and not muted:
            self.server = socket.create_connection(self.proxy.target, timeout=5)
            self.server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ends = [self.client] if self.server is None or muted else [self.client, self.server]
        for end in select.select(ends, [], [], _TURN)[0]:
            data = end.recv(_CHUNK)
            if not data:
                return False
            if muted:
                continue
            if not (self._from_client(data) if end is self.client else self._from_server(data)):
                return False
        return True

    def _from_client(self, data: bytes) -> bool:
        rule = self._matching(data)
        fault = rule.fault if rule is not None else ""
        self.calling = rule if fault == "call" else None
        if fault == "lose_statement":
            return False
        if fault == "swallow":
            self.silent = True
            return True
        self.losing = fault if fault in ("lose_reply", "forget") else ""
        self.asked = True
        assert self.server is not None
        self.server.sendall(data)
        if fault == "hang":
            self.silent = True
        return True

    def _from_server(self, data: bytes) -> bool:
        if self.losing == "forget":
            time.sleep(0.3)  # until what was sent has been acknowledged: nothing is under way
            self.client.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)
        if self.losing:
            return False
        if self.calling is not None:
            rule, self.calling = self.calling, None
            assert rule.do is not None
            rule.do()
            rule.hit += 1  # not before: who waits for it may count on the fault
        self.client.sendall(data)
        if not self.asked:
            return True
        self.asked = False
        with self.proxy._lock:
            if self.proxy.replies_left is None:
                return True
            self.proxy.replies_left -= 1
            if self.proxy.replies_left > 0:
                return True
            self.proxy.replies_left = None
        return False

    def _matching(self, data: bytes) -> Rule | None:
        with self.proxy._lock:
            for rule in self.waiting_for:
                if rule.then is not None and rule.then.search(data):
                    self.waiting_for.remove(rule)
                    rule.hit += rule.fault != "call"
                    return rule
            for rule in self.proxy.rules:
                if rule.left <= 0 or not rule.statement.search(data):
                    continue
                rule.left -= 1
                if rule.then is not None:
                    self.waiting_for.append(rule)
                    continue
                rule.hit += rule.fault != "call"
                return rule
        return None
