"""One webhook attempt over HTTP/1.1: what was sent, what came back, never an exception.

Rule: the receiver is a stranger. Whatever it does, an attempt ends within its timeout, holds a few KiB, and is an
`Outcome`; redirects are not followed, cookies not kept, proxies of the environment not used, bodies not decompressed.

The status decides. Once the headers of an answer are here the delivery is judged by them, and its body is only for
people: a body that hangs, breaks off or never ends changes nothing, and at most `BODY_TIMEOUT_S` are spent on it.

| what happens | `status` | `error` |
|---|---|---|
| 2xx | its | none: delivered |
| 3xx | its | `redirect` |
| any other status | its | `http_<status>` |
| the URL is not taken (any more) | – | `url_refused` |
| the name has no address, or DNS hangs | – | `dns_failed` |
| every address of the name is refused | – | `address_refused` |
| nobody listens, no route | – | `connect_failed` |
| no TLS, or a certificate that does not fit the name | – | `tls_failed` |
| no (whole) answer in time, wherever the time went | – | `timeout` |
| the connection ends before the answer's headers do | – | `closed` |
| what came is not HTTP/1.1, or came before it was asked for | – | `bad_response` |
| more than 32 KiB before a body | – | `response_too_large` |
| headers that HTTP cannot carry | – | `request_refused` |
| a bug of ours or of a library, logged | – | `internal_error` |
"""

from __future__ import annotations

import ssl
import traceback
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import PurePath
from types import TracebackType
from typing import Final, Self

import httpcore2
import structlog
import trio

from actors.delivery.net import (
    AddressRefused,
    AnswerTooLarge,
    DnsFailed,
    GuardedBackend,
    GuardedStream,
    Resolver,
    StaleConnection,
    SystemResolver,
    TlsFailed,
)
from whatisup.webhooks.headers import FRAMING
from whatisup.webhooks.refusals import UrlRefused
from whatisup.webhooks.targets import Policy, Target, parse_target

log = structlog.get_logger(__name__)

KEPT_BYTES: Final = 1024
"""How much of a response's body an `Outcome` holds."""
DRAINED_BYTES: Final = 64 * 1024
"""How much of a response's body is read to keep the connection; a longer one costs the connection."""
BODY_TIMEOUT_S: Final = 2.0
KEEPALIVE_S: Final = 15.0
MAX_AGE_S: Final = 60.0
"""After that long a connection is not used again: its address was judged when it was made."""
DNS_THREADS_PER_ATTEMPT: Final = 4
"""A lookup that an attempt gave up after some seconds goes on for longer, and must leave threads to other names."""
# A kept connection may be gone; so may the next. Then a new one is made.
_STALE_TRIES: Final = 3

INTERNAL_ERROR: Final = "internal_error"

_SLUGS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (DnsFailed, "dns_failed"),
    (AddressRefused, "address_refused"),
    (TlsFailed, "tls_failed"),
    (AnswerTooLarge, "response_too_large"),
    (httpcore2.TimeoutException, "timeout"),
    (httpcore2.ConnectError, "connect_failed"),
    (httpcore2.NetworkError, "closed"),
    (httpcore2.LocalProtocolError, "request_refused"),
    (httpcore2.RemoteProtocolError, "bad_response"),
)
_EXPECTED: Final = tuple(kind for kind, _ in _SLUGS)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one attempt; `error` is a slug of the table above, `response` the first KiB of the body."""

    status: int | None
    error: str | None
    response: bytes = field(repr=False)
    duration_ms: int

    @property
    def is_delivered(self) -> bool:
        """Say whether the receiver took it."""
        return self.error is None


class WebhookClient:
    """Posts webhooks over one pool of connections; open it as a context manager."""

    def __init__(
        self,
        policy: Policy,
        *,
        timeout_s: float,
        max_connections: int,
        ca_file: str | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        self._policy = policy
        self._timeout_s = timeout_s
        self._backend = GuardedBackend(policy, resolver or SystemResolver(DNS_THREADS_PER_ATTEMPT * max_connections))
        self._pool = _Pool(_trust(ca_file), self._backend, max_connections)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._pool.aclose()

    @property
    def connections(self) -> tuple[int, int]:
        """How many connections are in use, and how many are kept for later."""
        idle = sum(connection.is_idle() for connection in self._pool.connections)
        return len(self._pool.connections) - idle, idle

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, *, is_live: bool) -> Outcome:
        """Send `body` once; whatever goes wrong is in the outcome. `headers` that frame HTTP are left out."""
        started = trio.current_time()
        try:
            target = parse_target(url, is_live=is_live, policy=self._policy)
        except UrlRefused:
            return Outcome(None, "url_refused", b"", 0)
        status, error, response = await self._attempt(target, headers, body, started + self._timeout_s)
        return Outcome(status, error, response, round((trio.current_time() - started) * 1000))

    async def check(self, url: str, *, is_live: bool) -> None:
        """Raise `UrlRefused` where a webhook to `url` could not be sent now: for when a customer gives it."""
        target = parse_target(url, is_live=is_live, policy=self._policy)
        try:
            await self._backend.resolve(target.host, target.port, trio.current_time() + self._timeout_s)
        except DnsFailed:
            raise UrlRefused("the URL's host has no address in DNS: check its spelling, or try again later") from None
        except AddressRefused:
            raise UrlRefused("the URL's host has no public address; expose a local receiver through a tunnel") from None

    async def _attempt(
        self, target: Target, headers: Mapping[str, str], body: bytes, deadline: float
    ) -> tuple[int | None, str | None, bytes]:
        for _ in range(_STALE_TRIES):
            try:
                return await self._exchange(_request(target, headers, body, deadline, self._timeout_s), deadline)
            except StaleConnection:
                continue
            except _EXPECTED as error:
                return None, _slug(error), b""
            except Exception as error:
                # A stranger's bytes may find what we and the libraries did not think of; they must not stop the rest.
                # No traceback: some ways to print one show the variables, and so the URL and the headers.
                log.error("webhooks.attempt_broke", host=target.host, kind=type(error).__name__, at=_place(error))
                return None, INTERNAL_ERROR, b""
        return None, "closed", b""

    async def _exchange(self, request: httpcore2.Request, deadline: float) -> tuple[int | None, str | None, bytes]:
        response = await self._pool.handle_async_request(request)
        try:
            stream = response.extensions["network_stream"]
            if not isinstance(stream, GuardedStream) or not stream.received:
                return None, "bad_response", b""
            stream.allow_body(min(deadline, trio.current_time() + BODY_TIMEOUT_S))
            return response.status, _verdict(response.status), await _first_bytes(response)
        finally:
            await response.aclose()


class _Connection(httpcore2.AsyncHTTPConnection):
    """A connection that is not used again when it is old, and not lost when its first request is cancelled."""

    def __init__(self, origin: httpcore2.Origin, pool: _Pool) -> None:
        super().__init__(
            origin,
            ssl_context=pool.trust,
            keepalive_expiry=KEEPALIVE_S,
            network_backend=pool.backend,
        )
        self._made_at = trio.current_time()

    def has_expired(self) -> bool:
        return super().has_expired() or trio.current_time() > self._made_at + MAX_AGE_S

    async def handle_async_request(self, request: httpcore2.Request) -> httpcore2.Response:
        try:
            return await super().handle_async_request(request)
        except httpcore2.ConnectionNotAvailable:
            raise
        except BaseException:
            # Cancelled between connecting and sending: the pool would keep it, open and unused, for good.
            if not self.is_idle():
                await self.aclose()
            raise


class _Pool(httpcore2.AsyncConnectionPool):
    def __init__(self, trust: ssl.SSLContext, backend: GuardedBackend, max_connections: int) -> None:
        super().__init__(max_connections=max_connections)
        self.trust, self.backend = trust, backend

    def create_connection(self, origin: httpcore2.Origin) -> httpcore2.AsyncConnectionInterface:
        return _Connection(origin, self)


def _trust(ca_file: str | None) -> ssl.SSLContext:
    context = httpcore2.default_ssl_context()
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return context


def _request(
    target: Target, headers: Mapping[str, str], body: bytes, deadline: float, timeout_s: float
) -> httpcore2.Request:
    """Return the request; its timeouts are a deadline, as `GuardedBackend` reads them, but for that of the pool."""
    lines: dict[bytes | str, bytes | str] = {
        "Host": target.authority,
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "Content-Length": str(len(body)),
        **{name: value for name, value in headers.items() if name.lower() not in FRAMING},
    }
    url = httpcore2.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
    times = {"pool": timeout_s, "connect": deadline, "read": deadline, "write": deadline}
    try:
        return httpcore2.Request("POST", url, headers=lines, content=body, extensions={"timeout": times})
    except (TypeError, UnicodeEncodeError):
        raise httpcore2.LocalProtocolError("a header is not ASCII") from None


async def _first_bytes(response: httpcore2.Response) -> bytes:
    """Return the first KiB of the body, and read on for a while so that the connection can be used again."""
    kept, seen = bytearray(), 0
    try:
        async with aclosing(response.aiter_stream()) as chunks:
            async for chunk in chunks:
                kept += chunk[: KEPT_BYTES - len(kept)]
                seen += len(chunk)
                if seen > DRAINED_BYTES:
                    break
    except (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException):
        pass
    return bytes(kept)


def _verdict(status: int) -> str | None:
    if 200 <= status < 300:
        return None
    return "redirect" if 300 <= status < 400 else f"http_{status}"


def _place(error: Exception) -> str:
    """Return the file and line that raised an error."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{PurePath(frames[-1].filename).name}:{frames[-1].lineno}"


def _slug(error: Exception) -> str:
    return next(slug for kind, slug in _SLUGS if isinstance(error, kind))
