"""One connection of hypercorn's, with less ado about each request.

Hypercorn starts a task to time an idle connection, another with a channel for what the client says, and sends head,
body and end of an answer one by one. Here the one task that reads also times, what the client says goes straight to the
request, and head and body leave together.

Rule: what a client sees is hypercorn's: its parsers, its states, its way with HTTP/2. Tests hold these overrides
against the installed release, which `constraints.txt` pins.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from math import inf
from typing import Any, Final

import h11
import structlog
import trio
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol import ProtocolWrapper
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.task_group import TaskGroup, _handle
from hypercorn.trio.tcp_server import MAX_RECV, TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState
from hypercorn.utils import parse_socket_addr

from actors.supervisor import leaves
from api.routes.inbox import Inbox

log = structlog.get_logger(__name__)

_AT_ONCE: Final = -inf


class Requests(TaskGroup):
    """The requests of a connection, a task each; `on_quiet` is called when the last of them has ended."""

    def __init__(self, max_body_bytes: int, on_quiet: Callable[[], object]) -> None:
        super().__init__()
        self._max_body_bytes = max_body_bytes
        self._on_quiet = on_quiet
        self.under_way = 0

    async def spawn_app(
        self, app: AppWrapper, config: Any, scope: Any, send: Callable[[Any], Awaitable[None]]
    ) -> Callable[[Any], Awaitable[None]]:
        """Start a request, and say where to put what the client says."""
        if scope["type"] != "http" or self._nursery is None:
            return await super().spawn_app(app, config, scope, send)
        inbox = Inbox(self._max_body_bytes)
        self.under_way += 1
        self._nursery.start_soon(self._answer, app, config, scope, inbox, send)
        return inbox.put

    async def _answer(self, app: AppWrapper, config: Any, scope: Any, inbox: Inbox, send: Any) -> None:
        try:
            await _handle(app, config, scope, inbox, send, trio.to_thread.run_sync, trio.from_thread.run)
        finally:
            self.under_way -= 1
            if not self.under_way:
                self._on_quiet()


class Http1(H11Protocol):
    """HTTP/1.1, where the head of an answer of known length waits for its body: one packet instead of two."""

    _held = b""

    async def _send_h11_event(self, event: Any) -> None:
        try:
            data = self.connection.send(event)
        except h11.LocalProtocolError:
            if self.connection.their_state != h11.ERROR:
                raise
            return
        data, self._held = self._held + (data or b""), b""
        if isinstance(event, h11.Response) and any(name == b"content-length" for name, _ in event.headers):
            self._held = data
        elif data:
            await self.send(RawData(data=data))


class Connection(TCPServer):
    """A client's connection; `idle` holds those whose client may be hung up on."""

    def __init__(
        self, app: AppWrapper, config: Any, context: WorkerContext, idle: set[Connection], stream: trio.SocketStream
    ) -> None:
        super().__init__(app, config, context, ConnectionState({}), stream)  # type: ignore[arg-type]  # it takes both
        self._idle = idle
        self._requests = Requests(config.max_body_bytes, self._note_quiet)
        self._idle_until = inf
        self._reading = trio.CancelScope()

    async def run(self) -> None:
        """Serve the client until it leaves, or has been silent for too long."""
        try:
            socket = self.stream.socket
            client = parse_socket_addr(socket.family, socket.getpeername())
            server = parse_socket_addr(socket.family, socket.getsockname())
            async with self._requests as requests:
                about = self.app, self.config, self.context, requests, ConnectionState(self.state), False
                self.protocol = ProtocolWrapper(*about, client, server, self.protocol_send)
                self.protocol.protocol = Http1(*about, client, server, self.protocol_send)
                self._set_idle(True)
                await self._read_data()
        except* OSError:
            pass
        except* Exception as faults:
            # Some words of a client's break the libraries (a path in HTTP/2 that is not ASCII, a thousand priorities,
            # bytes behind the request for a websocket). That ends its connection, and must end no other.
            log.warning("connection.failed", faults=sorted({type(fault).__name__ for fault in leaves(faults)}))
            log.debug("connection.failed", exc_info=faults)
        finally:
            self._idle.discard(self)
            await self._close()

    def hang_up(self) -> None:
        """Close it, although its client may still have something to say."""
        self._idle_until = self._reading.deadline = _AT_ONCE

    async def protocol_send(self, event: Event) -> None:
        """Do what the protocol asks for: send, close, or note that nothing is under way."""
        if isinstance(event, RawData):
            await self._send(event.data)
        elif isinstance(event, Updated):
            self._set_idle(event.idle)
        else:
            await super().protocol_send(event)

    async def _send(self, data: bytes) -> None:
        try:
            self.send_lock.acquire_nowait()
        except trio.WouldBlock:
            await self.send_lock.acquire()
        try:
            with trio.CancelScope(shield=True):
                await self.stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            is_broken = True
        else:
            is_broken = False
        finally:
            self.send_lock.release()
        if is_broken:
            await self.protocol.handle(Closed())

    def _set_idle(self, is_idle: bool) -> None:
        self._idle_until = inf
        if is_idle:
            self._idle.add(self)
            self._idle_until = trio.current_time() + self.config.keep_alive_timeout
        else:
            self._idle.discard(self)
        self._reading.deadline = self._idle_until

    def _note_quiet(self) -> None:
        """Time the client if nothing is under way, which the protocols do not say each time.

        They are silent where a client only opens HTTP/2, takes its last question back there, or asks for a websocket
        as it should not: such connections stayed for as long as the client liked.
        """
        if not self._requests.under_way and self._idle_until == inf:
            self._set_idle(True)

    async def _read_data(self) -> None:
        data = b"?"
        while data:
            self._reading = trio.CancelScope(deadline=self._idle_until)
            try:
                with self._reading:
                    data = bytes(await self.stream.receive_some(MAX_RECV))
            except (trio.ClosedResourceError, trio.BrokenResourceError):
                break
            if self._reading.cancelled_caught:
                with trio.CancelScope(shield=True):
                    await self.protocol.handle(Closed())
                    await self.stream.aclose()
                return
            await self.protocol.handle(RawData(data))
            self._note_quiet()
        await self.protocol.handle(Closed())
