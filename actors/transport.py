"""The socket as a channel of bytes: trio-websocket behind a small port.

Rule: whatever goes wrong below comes out as `TransportError`, singly, never as a group and never as a library's class.

What the adapter knows and callers need not: one message at most is 2**24 + 8 bytes (a whole frame); a ping that crosses
our close raises `wsproto`'s LocalProtocolError in the library's reader task (trio-websocket issue 184) and means
"closed"; a socket that the peer reset is never closed by the library, so the stream is opened and closed here; closing
waits for the peer, so it is bounded. All connections share one TLS context: one of their own would cost 0.8 MiB each.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Protocol, cast
from urllib.parse import urlsplit

import h11
import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    DisconnectionTimeout,
    HandshakeError,
    WebSocketConnection,
    wrap_client_stream,
)
from wsproto.utilities import LocalProtocolError as WebSocketLocalError
from wsproto.utilities import RemoteProtocolError as WebSocketRemoteError

from whatisup.errors import TransportError, UpgradeRefused

MAX_MESSAGE_BYTES = (1 << 24) + 8
# A few, so that the library's reader answers pings while the actor is busy committing; each may be of the largest.
MESSAGE_QUEUE = 4
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
    h11.ProtocolError,
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
    if isinstance(error, TransportError):
        return error
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
    failures: list[BaseException] = []
    is_done = False
    try:
        async with trio.open_nursery() as nursery:
            with _fail_after(CONNECT_TIMEOUT_S):
                stream = await _connect(url, tls)
            # The library forgets to close a stream that the peer reset, so the stream is ours.
            try:
                with _fail_after(CONNECT_TIMEOUT_S):
                    socket = await _upgrade(nursery, stream, url)
                yield WebSocketTransport(socket)
                is_done = True
                with trio.move_on_after(DISCONNECT_TIMEOUT_S):
                    await socket.aclose()
            finally:
                await trio.aclose_forcefully(stream)
                nursery.cancel_scope.cancel(reason="the socket is closed")
    except* (*_LOST, TransportError) as group:
        failures = list(_leaves(group))
    if failures and not is_done:  # once the block is over, how the socket dies is nobody's concern
        raise _translate(failures[0]) from failures[0]


@contextmanager
def _fail_after(seconds: float) -> Iterator[None]:
    try:
        with trio.fail_after(seconds):
            yield
    except trio.TooSlowError:
        raise TransportError(f"no connection within {seconds:.0f} s") from None


async def _connect(url: str, tls: ssl.SSLContext | None) -> trio.abc.Stream:
    parts = urlsplit(url)
    host, is_secure = parts.hostname or "", parts.scheme == "wss"
    if not is_secure:
        return await trio.open_tcp_stream(host, parts.port or 80)
    if tls is None:
        raise TransportError("a wss:// URL needs a TLS context")
    tcp = await trio.open_tcp_stream(host, parts.port or 443)
    return trio.SSLStream(tcp, tls, server_hostname=host, https_compatible=True)


class _ReaderNursery:
    """Stands in for the nursery that the library starts its reader in, to tell when the reader has ended."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.ended = trio.Event()

    def start_soon(self, read: Callable[[], Awaitable[None]]) -> None:
        """Run the reader."""
        self._nursery.start_soon(self._run, read)

    async def _run(self, read: Callable[[], Awaitable[None]]) -> None:
        await read()
        self.ended.set()


async def _upgrade(nursery: trio.Nursery, stream: trio.abc.Stream, url: str) -> WebSocketConnection:
    """Speak the websocket handshake; a peer that hangs up instead of answering is noticed, which the library misses."""
    parts = urlsplit(url)
    resource = parts.path or "/"
    reader = _ReaderNursery(nursery)

    async def watch() -> None:
        await reader.ended.wait()
        raise TransportError("the peer hung up during the websocket handshake")

    async with trio.open_nursery() as race:
        race.start_soon(watch)
        socket = await wrap_client_stream(
            cast("trio.Nursery", reader),
            cast("trio.SocketStream", stream),
            parts.netloc,
            f"{resource}?{parts.query}" if parts.query else resource,
            extra_headers=[(b"Origin", ORIGIN.encode())],
            message_queue_size=MESSAGE_QUEUE,
            max_message_size=MAX_MESSAGE_BYTES,
        )
        race.cancel_scope.cancel(reason="the handshake is done")
    return socket


def _leaves(group: BaseException) -> Iterator[BaseException]:
    if isinstance(group, BaseExceptionGroup):
        for error in group.exceptions:
            yield from _leaves(error)
    else:
        yield group
