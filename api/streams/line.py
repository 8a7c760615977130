"""The connection under a stream: how much of it lies unread, and a way to end it when nothing gets through.

Rule: hypercorn sends under a shield and gives nobody its socket, so this walks from the `send` it handed us to what is
behind it. Tests hold both ways against the installed hypercorn; where they lead nowhere, only the kernel's timeout ends
a stuck send.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Protocol

import trio
from h2.exceptions import H2Error
from priority.priority import MissingStreamError

SEND_BUFFER: Final = 128 * 1024
"""How much of a stream the kernel may hold, bytes (it doubles this); left alone it would hold megabytes of each."""

LINE: Final = "whatisup.line"
"""Where a request's scope carries its line, among the extensions."""

_RESET: Final = struct.pack("ii", 1, 0)
_CANCEL: Final = 8
"""The code of an HTTP/2 stream that is no longer needed."""


class Line(Protocol):
    """What a stream needs of the connection it is sent on."""

    @property
    def backlog(self) -> int:
        """Bytes that were taken from us and that the client has not let through yet."""

    def keep_small(self) -> None:
        """Let the kernel hold no more of what is sent than a stream needs to flow."""

    def drop(self) -> bool:
        """End it at once, with whatever was not read yet; False if there is no way to."""


class NoLine:
    """Nothing is known of the connection."""

    backlog = 0

    def keep_small(self) -> None:
        """Nothing to be done."""

    def drop(self) -> bool:
        """Nothing to be done."""
        return False


class Http1Line:
    """A connection of its own. A send takes as long as the client does, so there is no backlog."""

    backlog = 0

    def __init__(self, connection: trio.SocketStream) -> None:
        self.socket = connection.socket

    def keep_small(self) -> None:
        """Bound the socket's send buffer, unless the client has left already."""
        if self.socket.fileno() >= 0:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)

    def drop(self) -> bool:
        """Reset the connection."""
        if self.socket.fileno() < 0:
            return False
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.socket.close()
        return True


class Http2Line:
    """One of several streams on a connection.

    Hypercorn takes without an end what the client's window has no room for, so the backlog is ours to bound.
    """

    def __init__(self, protocol: Any, stream_id: int, cancel: Callable[[], None]) -> None:
        self._protocol = protocol
        self._stream_id = stream_id
        self._cancel = cancel

    @property
    def backlog(self) -> int:
        """What hypercorn holds for the client's window to open."""
        held = self._protocol.stream_buffers.get(self._stream_id)
        return 0 if held is None else len(held.buffer)

    def keep_small(self) -> None:
        """The connection is not ours alone."""

    def drop(self) -> bool:
        """Reset the stream, which makes hypercorn forget what it holds for it, and end the request."""
        if self._stream_id in self._protocol.stream_buffers:
            with suppress(H2Error, MissingStreamError):  # the client has said goodbye, to the stream or the connection
                self._protocol.connection.reset_stream(self._stream_id, _CANCEL)
                self._protocol.priority.unblock(self._stream_id)
            self._protocol.task_group.spawn(self._protocol._flush)
        self._cancel()
        return True


def line_behind(send: object, http_version: str, cancel: Callable[[], None]) -> Line:
    """Find what is behind hypercorn's `send` of a request; `cancel` ends the request alone.

    HTTPStream.app_send -> H11Protocol or H2Protocol -> TCPServer -> its stream, under TLS if need be.
    """
    request: Any = getattr(send, "__self__", None)
    protocol = _behind(request)
    if http_version == "2":
        return Http2Line(protocol, request.stream_id, cancel) if hasattr(protocol, "stream_buffers") else NoLine()
    stream = getattr(_behind(protocol), "stream", None)
    stream = getattr(stream, "transport_stream", stream)
    return Http1Line(stream) if isinstance(stream, trio.SocketStream) else NoLine()


def _behind(sender: object) -> Any:
    return getattr(getattr(sender, "send", None), "__self__", None)
