"""The socket as a channel of bytes: trio-websocket behind a small port.

Rule: whatever goes wrong below comes out as `TransportError`, singly, never as a group and never as a library's class.

What the adapter knows and callers need not: one message at most is 2**24 + 8 bytes (a whole frame); a ping that crosses
our close raises `wsproto`'s LocalProtocolError in the library's reader task (trio-websocket issue 184) and means
"closed"; closing waits for the peer, so it is bounded; the library builds a TLS context per connection (0.8 MiB) unless
it is given one.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol
from urllib.parse import urlsplit

import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    DisconnectionTimeout,
    HandshakeError,
    WebSocketConnection,
    open_websocket,
)
from wsproto.utilities import LocalProtocolError as WebSocketLocalError
from wsproto.utilities import RemoteProtocolError as WebSocketRemoteError

from whatisup.errors import TransportError, UpgradeRefused

MAX_MESSAGE_BYTES = (1 << 24) + 8
# A few, so that the library's reader answers pings while the actor is busy committing.
MESSAGE_QUEUE = 16
CONNECT_TIMEOUT_S = 20.0
DISCONNECT_TIMEOUT_S = 2.0
# How long a peer that takes nothing may hold up the one who sends.
SEND_TIMEOUT_S = 15.0
ORIGIN = "https://web.whatsapp.com"

_LOST = (
    ConnectionClosed,
    HandshakeError,
    DisconnectionTimeout,
    WebSocketLocalError,
    WebSocketRemoteError,
    OSError,
    ssl.SSLError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
)


class Transport(Protocol):
    """A connected channel of binary messages."""

    async def send(self, data: bytes) -> None:
        """Send one message; raises `TransportError` when the socket is gone or takes nothing for 15 s."""

    async def receive(self) -> bytes:
        """Wait for one message; raises `TransportError` when the socket is gone."""


class WebSocketTransport:
    """`Transport` over trio-websocket."""

    __slots__ = ("_socket",)

    def __init__(self, socket: WebSocketConnection) -> None:
        self._socket = socket

    async def send(self, data: bytes) -> None:
        """Send one binary message."""
        try:
            with trio.fail_after(SEND_TIMEOUT_S):
                await self._socket.send_message(data)
        except trio.TooSlowError:
            raise TransportError(f"the peer took nothing for {SEND_TIMEOUT_S:.0f} s") from None
        except _LOST as error:
            raise _translate(error) from error

    async def receive(self) -> bytes:
        """Wait for one binary message; text messages are not part of the protocol and are skipped."""
        try:
            while True:
                message = await self._socket.get_message()
                if isinstance(message, bytes):
                    return message
        except _LOST as error:
            raise _translate(error) from error


def _translate(error: BaseException) -> TransportError:
    if isinstance(error, ConnectionRejected):
        return UpgradeRefused(error.status_code)
    if isinstance(error, ConnectionClosed):
        return TransportError(f"the socket was closed ({getattr(error.reason, 'code', 'no code')})")
    return TransportError(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)


@asynccontextmanager
async def open_transport(url: str, *, tls: ssl.SSLContext | None) -> AsyncIterator[Transport]:
    """Connect to `url` (ws:// or wss://) for the length of the block.

    Args:
        url: where to connect.
        tls: the process's shared context; None for ws://.

    Raises:
        UpgradeRefused: the server answered the upgrade with an HTTP status.
        TransportError: connecting failed or timed out, or the socket died inside the block.
    """
    parts = urlsplit(url)
    is_secure = parts.scheme == "wss"
    if is_secure and tls is None:
        raise TransportError("a wss:// URL needs a TLS context")
    failure: BaseException | None = None
    try:
        async with open_websocket(
            parts.hostname or "",
            parts.port or (443 if is_secure else 80),
            f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/",
            use_ssl=tls if tls is not None and is_secure else False,
            extra_headers=[(b"Origin", ORIGIN.encode())],
            message_queue_size=MESSAGE_QUEUE,
            max_message_size=MAX_MESSAGE_BYTES,
            connect_timeout=CONNECT_TIMEOUT_S,
            disconnect_timeout=DISCONNECT_TIMEOUT_S,
        ) as socket:
            yield WebSocketTransport(socket)
    except* _LOST as group:
        failure = _first_leaf(group)
    if failure is not None:
        raise _translate(failure) from failure


def _first_leaf(group: BaseException) -> BaseException:
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group
