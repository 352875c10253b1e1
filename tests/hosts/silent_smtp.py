"""A mail server on a free loopback port that can fall silent.

Silent, it accepts connections and says nothing, so that a client without a timeout
waits for its greeting (RFC 5321, 3.1) for ever. Told to answer, it serves those that
still wait and all that come, and keeps the mails it takes::

    with SilentSmtp() as smtp:
        smtp.port
        smtp.waiting     # connections that wait for a greeting
        smtp.answer()
        smtp.mails
        smtp.fall_silent()
"""

from __future__ import annotations

import select
import socket
import socketserver
import threading
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default as policy

IDLE = 30  # seconds a client may say nothing once it has been greeted


@dataclass(frozen=True, slots=True)
class Mail:
    """One accepted mail: the envelope, and what was in it."""

    sender: str
    recipients: tuple[str, ...]
    message: EmailMessage

    @property
    def text(self) -> str:
        """Its plain text, subject first."""
        part = self.message.get_body(("plain",))
        return f"{self.message['Subject']}\n{part.get_content() if part else ''}"


class SilentSmtp(socketserver.ThreadingTCPServer):
    """The server; silent until ``answer`` is called. Its threads end with it."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.port: int = self.server_address[1]
        self.answering = threading.Event()
        self.lock = threading.Lock()
        self.waiting = 0
        self.mails: list[Mail] = []

    def __enter__(self) -> SilentSmtp:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.shutdown()
        self.server_close()

    def answer(self) -> None:
        """Serve those that wait, and all that come."""
        self.answering.set()

    def fall_silent(self) -> None:
        """Greet nobody any more; a conversation that has begun goes on."""
        self.answering.clear()

    def count(self, change: int) -> None:
        """Keep the number of those that wait."""
        with self.lock:
            self.waiting += change


class _Session(socketserver.StreamRequestHandler):
    """One connection: the part of RFC 5321 that smtplib needs."""

    server: SilentSmtp

    def handle(self) -> None:
        if self._greeted():
            self.connection.settimeout(IDLE)
            try:
                self._converse()
            except OSError:
                return  # the client is gone, as a killed one is

    def _greeted(self) -> bool:
        """Wait until it may be greeted; False when the client leaves before that."""
        self.server.count(1)
        try:
            while not self.server.answering.wait(0.02):
                if select.select([self.connection], [], [], 0)[0] and self._gone():
                    return False
        finally:
            self.server.count(-1)
        return True

    def _gone(self) -> bool:
        try:
            return not self.connection.recv(1, socket.MSG_PEEK)
        except ConnectionError:
            return True

    def _say(self, line: str) -> None:
        self.wfile.write(line.encode() + b"\r\n")

    def _converse(self) -> None:
        sender: str | None = None
        recipients: list[str] = []
        self._say("220 localhost ready")
        while line := self.rfile.readline(1000):
            text = line.decode("utf-8", "replace").strip()
            verb = text.upper()
            if verb.startswith(("EHLO", "HELO")):
                sender, recipients = None, []
                self._say("250 localhost")
            elif verb.startswith("MAIL FROM:"):
                sender, recipients = _address(text), []
                self._say("250 OK")
            elif verb.startswith("RCPT TO:") and sender is not None:
                recipients.append(_address(text))
                self._say("250 OK")
            elif verb == "DATA" and sender is not None and recipients:
                self._say("354 end with a dot")
                data = self._data()
                if data is None:
                    return
                # Kept before it is confirmed: a client never knows more than we do.
                message = message_from_bytes(data, policy=policy)
                self.server.mails.append(Mail(sender, tuple(recipients), message))
                sender, recipients = None, []
                self._say("250 taken")
            elif verb in ("RSET", "NOOP"):
                if verb == "RSET":
                    sender, recipients = None, []
                self._say("250 OK")
            elif verb == "QUIT":
                self._say("221 bye")
                return
            elif verb.startswith(("MAIL", "RCPT", "DATA")):
                self._say("503 not now")
            else:
                self._say("502 not known here")

    def _data(self) -> bytes | None:
        """The mail up to the line with the dot; None when the client leaves in the middle."""
        lines: list[bytes] = []
        while line := self.rfile.readline():
            if line in (b".\r\n", b".\n"):
                return b"".join(lines)
            lines.append(line[1:] if line.startswith(b".") else line)
        return None


def _address(command: str) -> str:
    return command.partition(":")[2].strip().split(" ")[0].strip("<>")
