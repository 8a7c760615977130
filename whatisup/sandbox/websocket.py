"""A client's websocket: the bytes of its `Client` record on a real socket, with the two ways a socket misbehaves.

Rule: this is the only place where a connection's wishes (`ending`, `is_half_open`, latency) become acts on a socket.
One task reads, one writes; they share nothing but the record and a bell.

What is not pressing waits for the `Pulse`, so that the answers to many clients share one commit.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import Final

import trio

from whatisup.sandbox.framing import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    BrokenFrames,
    ClientFrames,
    TooLarge,
    encode,
    encode_close,
)
from whatisup.sandbox.hub import Client, Clock, Ending, Stage
from whatisup.sandbox.people.bursts import GRID_S
from whatisup.sandbox.server import Server
from whatisup.wire import MAX_FRAME

LINGER_S: Final = 0.2
"""Between the last stanza and the close: Baileys would otherwise see the close first."""

MAX_MESSAGE: Final = MAX_FRAME + 9
"""Largest websocket message in bytes: a whole frame with its length, and the prologue."""

MAX_PONGS: Final = 256 * 1024
"""A client that lets this many bytes of answers to its pings pile up is dropped."""

_READ: Final = 64 * 1024
_WRITE_S: Final = 60.0  # a client that takes nothing for this long is dropped
_NORMAL: Final = 1000
_TOO_BIG: Final = 1009


class Pulse:
    """Rings for all sockets together, at the moments at which bursts are written too. `run` it beside them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rings: set[Callable[[], None]] = set()
        self._begun = trio.Event()

    def add(self, ring: Callable[[], None]) -> None:
        """Call that at the next moment."""
        self._rings.add(ring)
        self._begun.set()

    async def run(self) -> None:
        """Ring until cancelled."""
        while True:
            await self._begun.wait()
            await trio.sleep(GRID_S - self._clock.monotonic() % GRID_S)
            self._begun, rings = trio.Event(), self._rings
            self._rings = set()
            for ring in rings:
                ring()


class Socket:
    """Serves one websocket until it ends."""

    def __init__(self, stream: trio.abc.Stream, server: Server, pulse: Pulse) -> None:
        self._pulse = pulse
        self._stream = stream
        self._frames = ClientFrames(MAX_MESSAGE)
        self._is_deaf = False  # whether nothing more is read: the client sent more than it may
        self._is_closed = False  # whether a close has been written: nothing may follow it
        self._server = server
        self._bell = trio.Event()
        self._scope = trio.CancelScope()
        self._control = b""
        self._client = server.connect(self._wake)

    async def serve(self, early: bytes) -> None:
        """Read and write until either side ends it; then end the socket the way the record says.

        `early` is what came in behind the upgrade request.
        """
        client = self._client
        try:
            with self._scope:
                if early and not self._received(early):
                    return
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._read, nursery.cancel_scope)
                    await self._write(client)
                    nursery.cancel_scope.cancel()
            while client.is_half_open and client.ending is None:
                await self._ring()
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the peer, or a reset of ours, was faster
        finally:
            self._server.disconnected(client)
            if client.ending is Ending.RESET:
                reset(self._stream)

    def _wake(self) -> None:
        client = self._client
        if client.is_pressing or client.ending is not None or client.stage is not Stage.ONLINE:
            self._bell.set()
        elif client.session.pending:
            self._pulse.add(self._ring_now)
        # A writer or reader that is stuck in the socket would not hear the bell.
        if client.ending is Ending.RESET or client.is_half_open:
            self._bell.set()
            self._scope.cancel()

    def _ring_now(self) -> None:
        self._bell.set()

    async def _ring(self) -> None:
        await self._bell.wait()
        self._bell = trio.Event()

    # reading

    async def _read(self, both: trio.CancelScope) -> None:
        while True:
            data = await self._stream.receive_some(_READ)
            if not data or not self._received(bytes(data)):
                both.cancel()
                return

    def _received(self, data: bytes) -> bool:
        """Take bytes of the client; False ends the connection."""
        if self._is_deaf:
            return True
        frames, client = self._frames, self._client
        frames.receive_data(data)
        try:
            while (frame := frames.next()) is not None:
                opcode, payload = frame
                if opcode == BINARY:
                    if client.ending is None:
                        self._server.receive(client, payload)
                elif opcode == PING and not self._answered(payload):
                    return False
                elif opcode == CLOSE:
                    self._end(payload[:2])
        except TooLarge:
            self._is_deaf = True
            self._end(_TOO_BIG.to_bytes(2, "big"))
        except BrokenFrames:
            return False
        return True

    def _answered(self, ping: bytes) -> bool:
        if self._is_closed:
            return True
        self._control += encode(PONG, ping)
        self._bell.set()
        if len(self._control) > MAX_PONGS:
            self._server.hub.reset(self._client)
            return False
        return True

    def _end(self, code: bytes) -> None:
        """Answer a close, or close; `code` is two bytes, or none."""
        if not self._is_closed:
            self._is_closed = True
            self._control += encode(CLOSE, code)
        self._client.ending = self._client.ending or Ending.CLOSE
        self._bell.set()

    # writing

    async def _write(self, client: Client) -> None:
        while True:
            data, self._control = self._control, b""
            client.is_pressing = False
            if pending := client.session.data_to_send():
                if self._is_closed and not data:
                    return  # the peer has closed the websocket
                if not self._is_closed:
                    data += encode(BINARY, pending)
            if data:
                self._server.hub.state.settle()
                await self._delay(client)
                with trio.move_on_after(_WRITE_S) as patience:
                    await self._stream.send_all(data)
                if patience.cancelled_caught:
                    client.ending = Ending.RESET
                    return
            elif client.ending is not None:
                await self._close()
                return
            else:
                await self._ring()

    async def _delay(self, client: Client) -> None:
        until, now = client.latency_until, self._server.hub.clock.monotonic()
        if client.latency_s and (until is None or now < until):
            await trio.sleep(client.latency_s)

    async def _close(self) -> None:
        await trio.sleep(LINGER_S)
        if self._is_closed:
            return
        self._is_closed = True
        with trio.move_on_after(LINGER_S):
            await self._stream.send_all(encode_close(_NORMAL))


def reset(stream: trio.abc.Stream) -> None:
    """Cut a connection off with a TCP reset."""
    transport = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
    if isinstance(transport, trio.SocketStream):
        transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.socket.close()
