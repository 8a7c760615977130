"""The socket as a channel of bytes: a websocket client of our own over a Trio stream, behind a small port.

Rule: whatever goes wrong below comes out as `TransportError`, singly, never as a group and never as a library's class.

There is no task and no queue per connection: who calls `receive` reads the socket, and answers the peer's pings on the
way. A ping that comes while nobody reads is answered at the next read; the link's task reads on while its actor
commits, up to a megabyte ahead.

Bytes pass through TLS in small portions, both ways. OpenSSL's memory buffers grow to the largest portion they ever held
and never shrink, so that one upload of prekeys at once would cost 50 KiB for as long as the connection lives. All
connections share one TLS context: one of their own would cost 0.8 MiB each.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final, Protocol
from urllib.parse import urlsplit

import trio

from actors.transport.ends import end
from actors.transport.framing import (
    MAX_MESSAGE_BYTES,
    NORMAL,
    PROTOCOL_ERROR,
    FrameReader,
    Opcode,
    encode,
    encode_close,
)
from actors.transport.upgrade import build_request, read_answer
from whatisup.errors import TransportError

__all__ = ["MAX_MESSAGE_BYTES", "Transport", "WebSocketTransport", "end", "open_transport"]

CONNECT_TIMEOUT_S = 20.0
DISCONNECT_TIMEOUT_S = 2.0
# How long a peer that takes nothing may hold up the one who sends.
SEND_TIMEOUT_S = 15.0
# As much as passes through TLS at once; a stanza is a few hundred bytes.
PORTION: Final = 4096
_READ: Final = 8192

_BINARY: Final = int(Opcode.BINARY)
_PONG: Final = int(Opcode.PONG)
_LOST: Final = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)


class Transport(Protocol):
    """A connected channel of bytes; what one side sends at once, the other may get in other portions."""

    async def send(self, data: bytes) -> None:
        """Send `data` as one message; raises `TransportError` when the socket is gone or takes nothing for 15 s."""

    async def receive(self) -> bytes:
        """Wait for bytes: one message, or several that came together; `TransportError` when the socket is gone."""


class WebSocketTransport:
    """`Transport` over a stream on which the upgrade is done; `early` is what came behind it.

    One task may send and another receive.
    """

    __slots__ = ("_reader", "_sending", "_stream")

    def __init__(self, stream: trio.abc.Stream, early: bytes = b"") -> None:
        self._stream = stream
        self._sending = trio.Lock()
        self._reader = FrameReader()
        self._reader.receive_data(early)

    async def send(self, data: bytes) -> None:
        """Send one binary message."""
        await self._write(encode(_BINARY, data))

    async def receive(self) -> bytes:
        """Wait for binary messages; text messages are not part of the protocol and are skipped."""
        reader = self._reader
        while True:
            try:
                data = reader.take()
            except TransportError:
                await self._try_to_close(PROTOCOL_ERROR)
                raise
            if reader.ping is not None:  # of several only the last wants an answer, as the RFC has it
                ping, reader.ping = reader.ping, None
                await self._write(encode(_PONG, ping))
            if data:
                return data
            if reader.close_code is not None:
                await self._try_to_close(NORMAL)
                raise TransportError(f"the socket was closed ({reader.close_code})")
            reader.receive_data(await self._read())

    async def aclose(self) -> None:
        """Say goodbye and wait for the peer's, up to 2 s; how the socket dies is nobody's concern any more."""
        with trio.move_on_after(DISCONNECT_TIMEOUT_S):
            await self._try_to_close(NORMAL)
            with suppress(TransportError):
                while True:
                    await self.receive()

    async def _read(self) -> bytes:
        try:
            data = await self._stream.receive_some()
        except _LOST as error:
            raise translate(error) from error
        if not data:
            raise TransportError("the peer hung up")
        return bytes(data)

    async def _try_to_close(self, code: int) -> None:
        with trio.move_on_after(DISCONNECT_TIMEOUT_S):
            with suppress(TransportError):
                await self._write(encode_close(code))

    async def _write(self, frame: bytes) -> None:
        with trio.CancelScope(deadline=trio.current_time() + SEND_TIMEOUT_S) as patience:
            if self._sending.locked():
                await self._sending.acquire()
            else:
                self._sending.acquire_nowait()  # without a turn of the loop: hardly ever are there two
            try:
                await send_in_portions(self._stream, frame)
            except _LOST as error:
                raise translate(error) from error
            finally:
                self._sending.release()
        if patience.cancelled_caught:
            raise TransportError(f"the peer took nothing for {SEND_TIMEOUT_S:.0f} s")


async def send_in_portions(stream: trio.abc.Stream, data: bytes) -> None:
    """Send all of `data`, never much at once."""
    if len(data) <= PORTION:
        await stream.send_all(data)
        return
    view = memoryview(data)
    for begin in range(0, len(data), PORTION):
        await stream.send_all(view[begin : begin + PORTION])


class SippedStream(trio.abc.Stream):
    """A TCP stream that gives TLS a few kilobytes at a time."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of `data`."""
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait for room in the socket."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Wait for bytes, at most 8 KiB of them."""
        return await self._stream.receive_some(_READ if max_bytes is None else min(max_bytes, _READ))

    async def aclose(self) -> None:
        """Close the socket."""
        await self._stream.aclose()


def translate(error: BaseException) -> TransportError:
    """Return what went wrong below as a `TransportError`."""
    cause = error.__cause__ if isinstance(error, trio.BrokenResourceError) and error.__cause__ else error
    return TransportError(f"{type(cause).__name__}: {cause}" if str(cause) else type(cause).__name__)


@asynccontextmanager
async def open_transport(url: str, *, tls: ssl.SSLContext | None) -> AsyncIterator[WebSocketTransport]:
    """Connect to `url` (ws:// or wss://) for the length of the block.

    Args:
        url: where to connect.
        tls: the process's shared context; None for ws://.

    Raises:
        UpgradeRefused: the server answered the upgrade with an HTTP status.
        TransportError: connecting failed or timed out.
    """
    with _fail_after(CONNECT_TIMEOUT_S):
        stream = await _connect(url, tls)
    try:
        with _fail_after(CONNECT_TIMEOUT_S):
            transport = await _upgrade(stream, url)
        yield transport
        await transport.aclose()
    finally:
        await end(stream)


@contextmanager
def _fail_after(seconds: float) -> Iterator[None]:
    try:
        with trio.fail_after(seconds):
            yield
    except trio.TooSlowError:
        raise TransportError(f"no connection within {seconds:.0f} s") from None
    except _LOST as error:
        raise translate(error) from error


async def _connect(url: str, tls: ssl.SSLContext | None) -> trio.abc.Stream:
    parts = urlsplit(url)
    host, is_secure = parts.hostname or "", parts.scheme == "wss"
    if not is_secure:
        return await trio.open_tcp_stream(host, parts.port or 80)
    if tls is None:
        raise TransportError("a wss:// URL needs a TLS context")
    tcp = await trio.open_tcp_stream(host, parts.port or 443)
    return trio.SSLStream(SippedStream(tcp), tls, server_hostname=host, https_compatible=True)


async def _upgrade(stream: trio.abc.Stream, url: str) -> WebSocketTransport:
    """Speak the websocket handshake."""
    key = os.urandom(16)
    await stream.send_all(build_request(url, key))
    data = b""
    while True:
        more = await stream.receive_some()
        if not more:
            raise TransportError("the peer hung up during the websocket handshake")
        data += more
        early = read_answer(data, key)
        if early is not None:
            return WebSocketTransport(stream, early)
