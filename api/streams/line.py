"""The connection under a stream, for the one case in which the stream itself can do nothing: it is stuck in a send.

Rule: hypercorn sends under a shield and gives nobody its socket, so this walks from the `send` it handed us to the
socket behind it. A test holds that way against the installed hypercorn; where it leads nowhere, only the kernel's
timeout ends a stuck send.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import Any, Final

import trio

SEND_BUFFER: Final = 128 * 1024
"""How much of a stream the kernel may hold, bytes (it doubles this); left alone it would hold megabytes of each."""

LINE: Final = "whatisup.line"
"""Where a request's scope carries its line, among the extensions."""

_RESET: Final = struct.pack("ii", 1, 0)


class Line:
    """A way to end a connection (HTTP/1) or a request (HTTP/2, where others share the connection)."""

    def __init__(self, connection: trio.SocketStream | None = None, cancel: Callable[[], None] | None = None) -> None:
        self._connection = connection
        self._cancel = cancel

    @classmethod
    def behind(cls, send: object, http_version: str, cancel: Callable[[], None]) -> Line:
        """Find the connection behind hypercorn's `send`; `cancel` ends the request alone."""
        return cls(cancel=cancel) if http_version == "2" else cls(_connection(send))

    def keep_small(self) -> None:
        """Let the kernel hold no more of what is sent than a stream needs to flow."""
        if self._connection is not None:
            self._connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)

    def drop(self) -> bool:
        """End it at once, with whatever was not read yet; False if there is no way to."""
        if self._cancel is not None:
            self._cancel()
            return True
        if self._connection is None or self._connection.socket.fileno() < 0:
            return False
        self._connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._connection.socket.close()
        return True


def _connection(send: object) -> trio.SocketStream | None:
    """HTTPStream.app_send -> H11Protocol.stream_send -> TCPServer.protocol_send -> its stream, under TLS if need be."""
    found: Any = getattr(send, "__self__", None)
    for _ in range(2):
        found = getattr(getattr(found, "send", None), "__self__", None)
    stream = getattr(found, "stream", None)
    stream = getattr(stream, "transport_stream", stream)
    return stream if isinstance(stream, trio.SocketStream) else None
