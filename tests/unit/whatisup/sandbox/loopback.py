"""A sandbox on loopback, inside the test's own event loop, and what a test needs to talk to it."""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import h11
import msgspec
import trio

from actors.transport import Transport, open_transport
from whatisup import control
from whatisup.protocol.connection import Connection
from whatisup.protocol.credentials import Account, Credentials
from whatisup.protocol.events import Closed, Event, Paired, PrekeysWanted, QrIssued, RoutingInfoReceived
from whatisup.protocol.profile import ClientProfile
from whatisup.sandbox import Options, serve_sandbox
from whatisup.sandbox.entropy import Seed

PATIENCE_S = 5.0


@dataclass
class Loopback:
    """A running sandbox."""

    ready: control.Ready
    tls: ssl.SSLContext | None = None

    async def stream(self) -> trio.abc.Stream:
        parts = urlsplit(self.ready.control_url)
        assert parts.hostname is not None
        assert parts.port is not None
        plain = await trio.open_tcp_stream(parts.hostname, parts.port)
        if self.tls is None:
            return plain
        return trio.SSLStream(plain, self.tls, server_hostname=parts.hostname, https_compatible=True)

    async def call(
        self, method: str, path: str, body: bytes | msgspec.Struct = b"", *, token: str | None = None
    ) -> tuple[int, bytes]:
        """One HTTP request on a connection of its own."""
        async with await self.stream() as stream:
            return await exchange(stream, h11.Connection(h11.CLIENT), method, path, body, token or self.ready.token)

    async def create(self, number: str) -> None:
        status, _ = await self.call("POST", "/sandbox/accounts", control.AccountRequest(number))
        assert status == 201

    async def arm(self, name: str, **more: object) -> control.Fault:
        request = control.FaultRequest(name, **more)  # type: ignore[arg-type]  # as the test says
        status, body = await self.call("POST", "/sandbox/faults", request)
        assert status == 201, body
        return msgspec.json.decode(body, type=control.Fault)


async def exchange(
    stream: trio.abc.Stream, http: h11.Connection, method: str, path: str, body: bytes | msgspec.Struct, token: str
) -> tuple[int, bytes]:
    data = body if isinstance(body, bytes) else msgspec.json.encode(body)
    headers = [("host", "sandbox"), ("authorization", f"Bearer {token}"), ("content-length", str(len(data)))]
    events: list[h11.Event] = [h11.Request(method=method, target=path, headers=headers), h11.Data(data=data)]
    await stream.send_all(b"".join(http.send(event) or b"" for event in [*events, h11.EndOfMessage()]))
    status, reply = 0, b""
    with trio.fail_after(PATIENCE_S):
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                http.receive_data(bytes(await stream.receive_some(65536)))
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                reply += bytes(event.data)
            else:
                return status, reply


@asynccontextmanager
async def open_loopback(**options: object) -> AsyncIterator[Loopback]:
    async with trio.open_nursery() as nursery:
        ready = await nursery.start(serve_sandbox, Options(**options))  # type: ignore[arg-type]  # as the test says
        tls = None
        if ready.tls_certificate is not None:
            tls = ssl.create_default_context(cadata=ready.tls_certificate)
        yield Loopback(ready, tls)
        nursery.cancel_scope.cancel()


@dataclass
class Handset:
    """The gateway's client on a real websocket; commits everything at once."""

    loopback: Loopback
    credentials: Credentials
    account: Account | None = None
    routing_info: bytes | None = None
    connection: Connection | None = None
    transport: Transport | None = None

    @classmethod
    def new(cls, loopback: Loopback, name: str = "handset") -> Handset:
        root_public = bytes.fromhex(loopback.ready.root_public_key)
        return cls(loopback, Credentials.generate(Seed.of(5).stream(name), root_public))

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Handset]:
        async with open_transport(self.loopback.ready.url, tls=self.loopback.tls) as self.transport:
            self.connection = Connection(
                self.credentials,
                self.account,
                profile=ClientProfile(),
                entropy=Seed.of(None).stream("x"),
                now=trio.current_time(),
                unix_now=time.time(),
                routing_info=self.routing_info,
            )
            yield self

    async def until(self, *kinds: type[Event]) -> Event:
        """Serve the connection until an event of these kinds. Raises `TransportError` where the socket ends first."""
        connection = self.connection
        assert connection is not None
        with trio.fail_after(PATIENCE_S):
            while True:
                while (event := connection.next_event()) is not None:
                    self._handle(connection, event)
                    if isinstance(event, kinds):
                        await self.flush()
                        return event
                await self.flush()
                connection.receive_data(await self.receive(), trio.current_time())

    async def flush(self) -> None:
        assert self.connection is not None
        if data := self.connection.data_to_send():
            await self.send(data)

    async def send(self, data: bytes) -> None:
        assert self.transport is not None
        await self.transport.send(data)

    async def receive(self) -> bytes:
        assert self.transport is not None
        return await self.transport.receive()

    async def silence(self, seconds: float) -> bool:
        """Whether nothing comes for that long."""
        with trio.move_on_after(seconds) as scope:
            await self.receive()
        return scope.cancelled_caught

    def _handle(self, connection: Connection, event: Event) -> None:
        now = trio.current_time()
        match event:
            case Paired(account):
                self.account = account
            case RoutingInfoReceived(info):
                self.routing_info = info
            case PrekeysWanted(count):
                connection.upload_prekeys([(i + 1, i.to_bytes(32, "big")) for i in range(count)], now)
        connection.transmit(event, now)

    async def pair(self, number: str) -> None:
        """Be linked to that number by QR."""
        async with self.connected(), trio.open_nursery() as nursery:
            qr = await self.until(QrIssued)
            assert isinstance(qr, QrIssued)
            request = control.ScanRequest(qr.code)
            nursery.start_soon(self.loopback.call, "POST", f"/sandbox/accounts/{number}/scan", request)
            await self.until(Closed)
        assert self.account is not None
