"""A small client of the gateway's public API over plain HTTP: one connection a request, and the event stream.

Rule: it sees what a customer sees, and nothing else of the gateway.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import h11
import trio

Json = dict[str, Any]

_CHUNK = 64 * 1024
_LOST = (OSError, trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError)


class Unreachable(Exception):
    """The gateway does not listen, or went away in the middle of an answer."""


class Refused(Exception):
    """The gateway answered with an error: its HTTP status, public code and sentence."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, read to its end."""

    status: int
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "replace")

    def json(self) -> Json:
        """The body as a JSON object; an empty body is an empty object."""
        value = json.loads(self.body or b"{}")
        return value if isinstance(value, dict) else {"data": value}


@dataclass(frozen=True, slots=True)
class Client:
    """One customer's key at one gateway on `host`:`port`."""

    host: str
    port: int
    key: str | None = field(default=None, repr=False)
    timeout_s: float = 30.0

    async def ask(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        *,
        accept: str = "application/json",
        idempotency_key: str | None = None,
    ) -> Reply:
        """Make a request and read the whole answer, whatever its status.

        Raises:
            Unreachable: no answer within `timeout_s`, or a broken one.
        """
        headers = {"Accept": accept} | ({"Idempotency-Key": idempotency_key} if idempotency_key else {})
        with trio.move_on_after(self.timeout_s):
            async with self._exchange(method, path, body, headers) as (status, chunks):
                return Reply(status, b"".join([chunk async for chunk in chunks]))
        raise Unreachable(f"no answer to {method} {path} within {self.timeout_s:g} s")

    async def call(
        self, method: str, path: str, body: Json | None = None, *, idempotency_key: str | None = None
    ) -> Json:
        """Make a request that must succeed and give its JSON.

        Raises:
            Refused: any status from 400 on.
            Unreachable: see `ask`.
        """
        reply = await self.ask(method, path, body, idempotency_key=idempotency_key)
        if reply.status >= 400:
            error = reply.json().get("error", {})
            raise Refused(reply.status, error.get("code", "unknown"), error.get("message", reply.text[:200]))
        return reply.json()

    async def stream_events(
        self, on_event: Callable[[Json], None], *, after: str | None, on_open: Callable[[], None], names: str = "*"
    ) -> None:
        """Read the events called `names` until the stream ends; `after` is the id of the last event already seen.

        Raises:
            Refused, Unreachable: see `call`; the stream may be opened again after the last event seen.
        """
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": after} if after else {})
        async with self._exchange("GET", f"/v1/events?events={names}", None, headers) as (status, chunks):
            if status != 200:
                raise Refused(status, "stream", "the event stream was refused")
            on_open()
            pending = b""
            async for chunk in chunks:
                *frames, pending = (pending + chunk).replace(b"\r\n", b"\n").split(b"\n\n")
                for frame in frames:
                    data = b"\n".join(line[5:].strip() for line in frame.split(b"\n") if line.startswith(b"data:"))
                    if data:
                        on_event(json.loads(data))

    @asynccontextmanager
    async def _exchange(
        self, method: str, path: str, body: Json | None, headers: dict[str, str]
    ) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        content = b"" if body is None else json.dumps(body).encode()
        fields = [("Host", f"{self.host}:{self.port}"), ("Connection", "close"), *headers.items()]
        if self.key is not None:
            fields.append(("Authorization", f"Bearer {self.key}"))
        if body is not None:
            fields += [("Content-Type", "application/json"), ("Content-Length", str(len(content)))]
        http = h11.Connection(h11.CLIENT)
        try:
            async with await trio.open_tcp_stream(self.host, self.port) as stream:
                head = http.send(h11.Request(method=method, target=path, headers=fields)) or b""
                data = http.send(h11.Data(content)) or b""
                end = http.send(h11.EndOfMessage()) or b""
                await stream.send_all(head + data + end)
                response = await _next_event(http, stream)
                if not isinstance(response, h11.Response):
                    raise Unreachable("the gateway closed the connection without an answer")
                yield response.status_code, _body(http, stream)
        except _LOST as error:
            raise Unreachable(str(error) or type(error).__name__) from error


async def _next_event(http: h11.Connection, stream: trio.abc.ReceiveStream) -> h11.Event | type[h11.PAUSED]:
    while True:
        event = http.next_event()
        if event is not h11.NEED_DATA:
            return event  # type: ignore[return-value]  # h11 types its sentinels as classes; NEED_DATA is excluded here
        http.receive_data(bytes(await stream.receive_some(_CHUNK)))


async def _body(http: h11.Connection, stream: trio.abc.ReceiveStream) -> AsyncIterator[bytes]:
    while isinstance(event := await _next_event(http, stream), h11.Data):
        yield bytes(event.data)
