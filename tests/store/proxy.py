"""Something unreliable between the store and PostgreSQL: it loses exactly the message a test names.

Rule: it understands nothing but the word COMMIT, so the store and the driver behave as they would on a bad network.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from enum import Enum, auto
from pathlib import Path

SOCKET_NAME = ".s.PGSQL.5432"
PATIENCE_S = 30


class Trap(Enum):
    """What happens to the next COMMIT."""

    LOSE_REQUEST = auto()
    """The connection breaks before the server sees it."""
    LOSE_REPLY = auto()
    """The server commits; the connection breaks before the answer arrives."""
    LOSE_SERVER = auto()
    """The server does not see it, and nobody can connect any more."""
    DELAY_REQUEST = auto()
    """The client's connection breaks, and the server gets to see the COMMIT later (`Proxy.release`)."""


class Proxy:
    """Listens on a socket of its own and passes everything on, until it is told to be unkind."""

    def __init__(self, folder: Path, server: Path) -> None:
        self._server = str(server / SOCKET_NAME)
        self.folder = folder
        self.trap: Trap | None = None
        self.sprung = threading.Event()
        self.release = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)
        self._sockets = [self._listener]
        self._listener.bind(str(folder / SOCKET_NAME))
        self._listener.listen()
        self._threads = [self._start(self._accept)]

    def _start(self, target: object, *args: object) -> threading.Thread:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type] # a plain function
        thread.start()
        return thread

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            self._sockets += [client, server]
            server.connect(self._server)
            self._threads.append(self._start(self._upstream, client, server))
            self._threads.append(self._start(self._downstream, server, client))

    def _upstream(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                if self.trap is not None and b"COMMIT" in data:
                    self._spring(data, client, server)
                    break
                server.sendall(data)
        _end(client)
        _end(server)

    def _spring(self, data: bytes, client: socket.socket, server: socket.socket) -> None:
        trap, self.trap = self.trap, None
        # Whatever the server says from here on is lost.
        _end(client)
        if trap is Trap.LOSE_REPLY:
            server.sendall(data)
            # Terminate; the server answers the COMMIT first and then closes.
            server.sendall(b"X\x00\x00\x00\x04")
            server.settimeout(PATIENCE_S)
            while server.recv(65536):
                pass
        elif trap is Trap.DELAY_REQUEST:
            self.sprung.set()
            self.release.wait(PATIENCE_S)
            server.sendall(data)
            return
        elif trap is Trap.LOSE_SERVER:
            _end(self._listener)
        self.sprung.set()

    def _downstream(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                client.sendall(data)
        _end(client)

    def close(self) -> None:
        """Break every connection and end every thread."""
        self.release.set()
        for end in self._sockets:
            _end(end)
        for thread in self._threads:
            thread.join(PATIENCE_S)
        for end in self._sockets:
            end.close()


def _end(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
