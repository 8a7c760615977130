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
from typing import Any, Final, Protocol
from urllib.parse import unquote

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
from api.app import Found, Said, Whole
from api.bootstrap.plain import read_plain, write_answer
from api.serving.asked import ScopeFields
from api.serving.inbox import Inbox
from api.serving.paths import Paths

log = structlog.get_logger(__name__)

_AT_ONCE: Final = -inf
_GONE: Final = {"type": "http.disconnect"}


class Front(Protocol):
    """An application whose endpoints that always answer whole can be asked without ASGI."""

    plain: Paths

    async def answer_whole(self, found: Found, said: Said, inbox: Inbox) -> Whole | None:
        """Answer a request; None if its client has left before that."""


class Requests(TaskGroup):
    """The requests of a connection, a task each; `on_quiet` is called when the last of them has ended."""

    def __init__(self, max_body_bytes: int, on_quiet: Callable[[], object]) -> None:
        super().__init__()
        self.max_body_bytes = max_body_bytes
        self._on_quiet = on_quiet
        self.under_way = 0

    async def spawn_app(
        self, app: AppWrapper, config: Any, scope: Any, send: Callable[[Any], Awaitable[None]]
    ) -> Callable[[Any], Awaitable[None]]:
        """Start a request, and say where to put what the client says."""
        if scope["type"] != "http" or self._nursery is None:
            return await super().spawn_app(app, config, scope, send)
        inbox = Inbox(self.max_body_bytes)
        self.begin(_handle, app, config, scope, inbox, send, trio.to_thread.run_sync, trio.from_thread.run)
        return inbox.put

    def begin(self, answer: Callable[..., Awaitable[object]], *args: Any) -> None:
        """Start a task that answers a request."""
        assert self._nursery is not None  # noqa: S101 - a connection is served within it
        self.under_way += 1
        self._nursery.start_soon(self._answer, answer, args)

    async def _answer(self, answer: Callable[..., Awaitable[object]], args: tuple[Any, ...]) -> None:
        try:
            await answer(*args)
        finally:
            self.under_way -= 1
            if not self.under_way:
                self._on_quiet()


class Http1(H11Protocol):
    """HTTP/1.1, where the head of an answer of known length waits for its body: one packet instead of two.

    A plain request to an endpoint that answers whole passes h11 by (`api/bootstrap/plain.py`); h11 knows nothing of it,
    and is between two requests all the while. What comes meanwhile waits, as it does for h11's own requests.
    """

    _held = b""
    _inbox: Inbox | None = None
    """Of the plain request that is under way."""
    _has_ended = False
    """Whether nothing more is answered here: the connection is being closed."""
    _is_over: trio.Event | None = None
    """Set when that is over; only where somebody waits for it."""

    def __init__(self, front: Front | None, requests: Requests, *about: Any) -> None:
        super().__init__(*about)
        self._front = front
        self._requests = requests
        self._peer = self.client[0] if self.client else "<local>"

    async def handle(self, event: Event) -> None:
        """Take what the client said, or that it has left."""
        if isinstance(event, RawData):
            if event.data:
                await self._wait_for_plain()
            elif self._inbox is not None:
                await self._inbox.put(_GONE)
            if self._has_ended or await self._begins_plain(event.data):
                return
        elif isinstance(event, Closed) and self._inbox is not None:
            await self._inbox.put(_GONE)
        await super().handle(event)

    async def _wait_for_plain(self) -> None:
        while self._inbox is not None:
            self._is_over = trio.Event()
            await self._is_over.wait()

    async def _begins_plain(self, data: bytes) -> bool:
        """Begin to answer a plain request, if this is one and nothing else is going on."""
        front, state = self._front, self.connection
        if front is None or self.stream is not None or not isinstance(state, h11.Connection):
            return False
        is_between = state.our_state is h11.IDLE and state.their_state is h11.IDLE and not state.trailing_data[0]
        is_last = self.keep_alive_requests + 1 >= self.config.keep_alive_max_requests
        if not is_between or is_last or self.context.terminated.is_set():
            return False
        plain = read_plain(data)
        if plain is None:
            return False
        path, _, query = plain.target.partition("?")
        path = unquote(path) if "%" in path else path
        found = front.plain.find(plain.method, path)
        if found is None:
            return False
        self._inbox = inbox = Inbox.holding(plain.body, self._requests.max_body_bytes)
        self.keep_alive_requests += 1
        await self.send(Updated(idle=False))
        said = Said(plain.method, path, query.encode("ascii"), ScopeFields(plain.fields), self._peer, "1.1")
        self._requests.begin(self._answer_plain, front, found, said, inbox)
        return True

    async def _answer_plain(self, front: Front, found: Found, said: Said, inbox: Inbox) -> None:
        try:
            data = await self._answer_of(front, found, said, inbox)
            if data:
                await self.send(RawData(data))
            if self._has_ended or self.context.terminated.is_set():
                self._has_ended = True
                await self.send(Closed())
            elif not inbox.has_left:
                await self.send(Updated(idle=True))
        finally:
            self._inbox = None
            if self._is_over is not None:
                self._is_over.set()

    async def _answer_of(self, front: Front, found: Found, said: Said, inbox: Inbox) -> bytes:
        """The bytes of an answer; none for a client that has left."""
        try:
            whole = await front.answer_whole(found, said, inbox)
            if whole is None:
                return b""
            self._has_ended = whole.headers.get("Connection") == "close"
            return write_answer(whole.status, whole.headers | self._date(), whole.body)
        except Exception:
            log.exception("request.failed")
            self._has_ended = True
            return write_answer(500, {"Connection": "close", **self._date()}, b"")

    def _date(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.config.response_headers("h11")}

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
        self,
        front: Front | None,
        app: AppWrapper,
        config: Any,
        context: WorkerContext,
        idle: set[Connection],
        stream: trio.SocketStream,
    ) -> None:
        super().__init__(app, config, context, ConnectionState({}), stream)  # type: ignore[arg-type]  # it takes both
        self._front = front
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
                rest = client, server, self.protocol_send
                self.protocol = ProtocolWrapper(*about, *rest)
                self.protocol.protocol = Http1(self._front, self._requests, *about, *rest)
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
            try:
                await self._close()
            finally:
                # They refer back to this; without a circle all of it is free now, and not at some full collection.
                for name in ("protocol", "_requests"):
                    vars(self).pop(name, None)

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
