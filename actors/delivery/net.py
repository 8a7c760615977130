"""The guard between a URL that a customer gave us and the network that we stand in.

Rule: a connection goes to an address that was judged, never to a name: the name is resolved once per connection, what
is refused is dropped, and the socket is opened to what is left. A second answer of DNS has nobody to ask for it.

Timeouts that httpcore2 hands to its backend are read as deadlines on Trio's clock here, so that one deadline bounds an
attempt however many reads it takes, without a cancel scope around a library that may lose a connection to it.
"""

from __future__ import annotations

import math
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Any, Final, TypeAlias

import httpcore2
import trio

from actors.transport import end
from whatisup.webhooks.targets import Address, Policy, is_allowed, literal

Resolver: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host and port to addresses in text; raises OSError where the name has none."""

DNS_TIMEOUT_S: Final = 5.0
DNS_THREADS: Final = 64
MAX_ADDRESSES: Final = 4
# What one address that takes no connection may cost while there is another.
ADDRESS_TIMEOUT_S: Final = 2.0
READ_BYTES: Final = 4096
MAX_HEAD_BYTES: Final = 32 * 1024
"""What may come before an answer's body: thousands of little headers take milliseconds to read."""
MAX_ANSWER_BYTES: Final = 96 * 1024
"""All that one answer may have, with the chunks around its body; below the 100 KiB that h11 would hold."""

_BROKEN: Final = (trio.BrokenResourceError, trio.ClosedResourceError, ssl.SSLError, OSError)


class DnsFailed(httpcore2.ConnectError):
    """The name has no address, or DNS did not answer in time."""


class AddressRefused(httpcore2.ConnectError):
    """The name has addresses, and none that webhooks may go to."""


class TlsFailed(httpcore2.ConnectError):
    """No TLS came about: no TLS there, or a certificate that is not for this name, not valid now, or of no known CA."""


class StaleConnection(httpcore2.ReadError):
    """A kept connection was gone when it was used again: not a word came back, so another one may be tried."""


class AnswerTooLarge(httpcore2.ReadError):
    """The receiver sent more than any answer needs."""


class SystemResolver:
    """getaddrinfo in threads of its own, so that a name server that hangs takes no thread from the store."""

    def __init__(self, threads: int = DNS_THREADS) -> None:
        self._limiter = trio.CapacityLimiter(threads)

    async def __call__(self, host: str, port: int) -> list[str]:
        """Return all addresses of a name in the system's order; raises OSError."""

        def look_up() -> list[str]:
            return [str(found[4][0]) for found in socket.getaddrinfo(host.encode(), port, type=socket.SOCK_STREAM)]

        return await trio.to_thread.run_sync(look_up, abandon_on_cancel=True, limiter=self._limiter)


async def resolve(resolver: Resolver, policy: Policy, host: str, port: int, deadline: float) -> list[Address]:
    """Return the addresses of a host that may be connected to; raises `DnsFailed` or `AddressRefused`."""
    address = literal(host)
    found = [address] if address is not None else await _look_up(resolver, host, port, deadline)
    allowed = [address for address in dict.fromkeys(found) if is_allowed(address, policy)]
    if not allowed:
        raise AddressRefused(host)
    return allowed


async def _look_up(resolver: Resolver, host: str, port: int, deadline: float) -> list[Address]:
    with trio.move_on_at(min(deadline, trio.current_time() + DNS_TIMEOUT_S)):
        try:
            if found := [ip_address(text) for text in await resolver(host, port)]:
                return found
        except (OSError, ValueError):
            pass
    raise DnsFailed(host)


class GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Opens connections for httpcore2, to allowed addresses only."""

    def __init__(self, policy: Policy, resolver: Resolver | None = None) -> None:
        self._policy = policy
        self._resolver = resolver or SystemResolver()

    async def resolve(self, host: str, port: int, deadline: float) -> list[Address]:
        """Return where a connection to `host` could go; raises `DnsFailed` or `AddressRefused`."""
        return await resolve(self._resolver, self._policy, host, port, deadline)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> GuardedStream:
        """Connect to one of the host's allowed addresses; `timeout` is a deadline."""
        deadline = math.inf if timeout is None else timeout
        addresses = (await self.resolve(host, port, deadline))[:MAX_ADDRESSES]
        for index, address in enumerate(addresses, 1):
            last = index == len(addresses)
            until = deadline if last else min(deadline, trio.current_time() + ADDRESS_TIMEOUT_S)
            try:
                return await _connect(address, port, until)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                if last:
                    raise
        raise AssertionError("resolve gives at least one address")

    async def sleep(self, seconds: float) -> None:
        """Wait, for the library's retries (which are off)."""
        await trio.sleep(seconds)


class GuardedStream(httpcore2.AsyncNetworkStream):
    """A connection that gives no more than an answer's worth of bytes for each request, in portions.

    What is written waits for the first read and goes out in one piece: the library writes headers and body apart.
    """

    def __init__(self, stream: trio.SocketStream | trio.SSLStream[trio.SocketStream]) -> None:
        self._stream = stream
        self._outgoing = bytearray()
        self._requests = 0
        self._received = 0
        self._limit = MAX_HEAD_BYTES
        self._hurry = math.inf

    @property
    def received(self) -> int:
        """Bytes received since the last request went out."""
        return self._received

    def allow_body(self, deadline: float) -> None:
        """Once the headers are here: let a body follow, until `deadline` or that of the request."""
        self._limit, self._hurry = MAX_ANSWER_BYTES, deadline

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Have `buffer` sent by the next read; the first write after a read begins a new request."""
        if not self._outgoing:
            self._received, self._limit, self._hurry = 0, MAX_HEAD_BYTES, math.inf
            self._requests += 1
        self._outgoing += buffer

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return some bytes; the end is an error, of which nobody here needs to know whether it was a proper one.

        Raises `AnswerTooLarge`, `StaleConnection`, and the library's ReadError, ReadTimeout and WriteTimeout.
        """
        if self._outgoing:
            await self._send(timeout)
        if self._received >= self._limit:
            raise AnswerTooLarge
        data = await self._receive(min(max_bytes, READ_BYTES), timeout)
        if not data:
            raise httpcore2.ReadError if self._received or self._requests < 2 else StaleConnection
        self._received += len(data)
        return data

    async def _send(self, deadline: float | None) -> None:
        """Send what waits; a receiver that takes no more may still have answered, so that is left to the read."""
        outgoing, self._outgoing = self._outgoing, bytearray()
        with _until(deadline) as scope, suppress(*_BROKEN):
            await self._stream.send_all(outgoing)
        if scope.cancelled_caught:
            raise httpcore2.WriteTimeout

    async def _receive(self, max_bytes: int, deadline: float | None) -> bytes:
        data = b""
        with _until(deadline, self._hurry) as scope, suppress(*_BROKEN):
            data = bytes(await self._stream.receive_some(max_bytes))
        if scope.cancelled_caught:
            raise httpcore2.ReadTimeout
        return data

    async def aclose(self) -> None:
        """Close the socket at once; no farewell, which a peer could let us wait for."""
        await end(self._stream)

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> GuardedStream:
        """Return the connection inside TLS, its certificate checked for `server_hostname`; raises `TlsFailed`."""
        if not isinstance(self._stream, trio.SocketStream):
            raise TlsFailed("TLS inside TLS")
        try:
            inside = trio.SSLStream(self._stream, ssl_context, server_hostname=server_hostname, https_compatible=True)
        except ValueError as error:  # OpenSSL does not take the name as one
            await end(self._stream)
            raise TlsFailed(server_hostname) from error
        try:
            with _until(timeout) as scope:
                await inside.do_handshake()
        except BaseException as error:
            await end(inside)
            if isinstance(error, (*_BROKEN, ValueError)):
                raise TlsFailed(server_hostname) from error
            raise
        if scope.cancelled_caught:
            await end(inside)
            raise httpcore2.ConnectTimeout
        return GuardedStream(inside)

    def get_extra_info(self, info: str) -> Any:
        """Tell the library whether an idle connection has something to read, which means that it is dead."""
        if info != "is_readable":
            return None
        inner = self._stream if isinstance(self._stream, trio.SocketStream) else self._stream.transport_stream
        return inner.socket.is_readable()


async def _connect(address: Address, port: int, deadline: float) -> GuardedStream:
    with _until(deadline):
        try:
            return GuardedStream(await trio.open_tcp_stream(str(address), port))
        except _BROKEN as error:
            raise httpcore2.ConnectError from error
    raise httpcore2.ConnectTimeout


def _until(deadline: float | None, other: float = math.inf) -> trio.CancelScope:
    return trio.CancelScope(deadline=other if deadline is None else min(deadline, other))
