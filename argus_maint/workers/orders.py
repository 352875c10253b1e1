"""What a supervisor tells its keeper: one JSON object a line, over a pipe.

Every order has a number, and the keeper acknowledges on the board the last one it
has carried out. Until then the supervisor keeps it, and a keeper that replaces a
dead one is born with the list.
"""

from __future__ import annotations

import json
import os
import select
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Order:
    """``kind`` is spawn, exit, overdue, drain or stop; ``data`` depends on it."""

    sequence: int
    kind: str
    data: dict[str, Any] = field(default_factory=dict)


class Outbox:
    """The supervisor's side: never blocks, forgets nothing before it is acknowledged."""

    def __init__(self) -> None:
        self.pending: list[Order] = []
        self._sequence = 0
        self._unsent = b""
        self._fd: int | None = None

    def connect(self, fd: int) -> None:
        """Use a new keeper's pipe. What is pending then, that keeper knows already."""
        os.set_blocking(fd, False)
        self._fd, self._unsent = fd, b""

    def disconnect(self) -> None:
        """The keeper is gone; orders wait for the next one."""
        self._fd, self._unsent = None, b""

    def add(self, kind: str, **data: Any) -> None:
        """Queue an order and try to send it."""
        self._sequence += 1
        order = Order(self._sequence, kind, data)
        self.pending.append(order)
        if self._fd is None:
            return
        self._unsent += json.dumps(asdict(order)).encode() + b"\n"
        self.flush()

    def acknowledged(self, sequence: int) -> None:
        """Forget what has been carried out."""
        self.pending = [order for order in self.pending if order.sequence > sequence]

    def flush(self) -> None:
        """Send what the pipe takes. A keeper that does not read is replaced elsewhere."""
        while self._unsent and self._fd is not None:
            try:
                sent = os.write(self._fd, self._unsent)
            except (BlockingIOError, BrokenPipeError):
                return
            self._unsent = self._unsent[sent:]


class Inbox:
    """The keeper's side."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.closed = False
        self._buffer = b""

    def read(self, timeout: float) -> list[Order]:
        """Wait up to ``timeout`` seconds for orders; ``closed`` says the sender is gone."""
        if not select.select([self.fd], [], [], max(0.0, timeout))[0]:
            return []
        chunk = os.read(self.fd, 65536)
        self.closed = not chunk
        *lines, self._buffer = (self._buffer + chunk).split(b"\n")
        return [Order(**json.loads(line)) for line in lines]
