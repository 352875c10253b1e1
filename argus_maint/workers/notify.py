"""The service manager's protocol: READY, STATUS, WATCHDOG and STOPPING datagrams.

Source: sd_notify(3). Nothing happens where no manager asked for it (NOTIFY_SOCKET).
"""

from __future__ import annotations

import os
import socket


class Manager:
    """Talks to the service manager of this process, if there is one."""

    def __init__(self) -> None:
        # Taken out of the environment: what a task starts must not speak for us.
        self.address = os.environ.pop("NOTIFY_SOCKET", "")
        microseconds = os.environ.pop("WATCHDOG_USEC", "")
        watched = os.environ.pop("WATCHDOG_PID", str(os.getpid()))
        asked = microseconds.isdigit() and watched == str(os.getpid())
        self.watchdog_every = int(microseconds) / 2e6 if asked else None  # half the deadline

    def tell(self, message: str) -> None:
        """Send a message; a manager that does not listen is no reason to stop working."""
        if not self.address:
            return
        address = "\0" + self.address[1:] if self.address[0] == "@" else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                channel.setblocking(False)
                channel.sendto(message.encode(), address)
        except OSError:
            return
