"""HTTP/1.1 on a trio stream through h11: the listener's first words, and all of the control API's.

Rule: head, body and waiting are bounded; a peer that breaks HTTP gets an answer if one can still be given, and is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import h11
import trio

from whatisup.control import MAX_BODY

Headers: TypeAlias = list[tuple[str, str]]

IDLE_S: Final = 75.0
"""How long a kept-alive connection may be silent between requests, and a begun one may take."""

_READ: Final = 16 * 1024


class BodyTooLarge(Exception):
    """The request's body is larger than `MAX_BODY`."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: status, body, and the body's content type."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


class HttpPeer:
    """One connection of an HTTP client; `settle` puts on disk what an answer may tell of."""

    def __init__(self, stream: trio.abc.Stream, settle: Callable[[], None]) -> None:
        self._stream = stream
        self._settle = settle
        self._h11 = h11.Connection(h11.SERVER)

    async def request(self) -> h11.Request | None:
        """Return the next request's head, `None` when there is none any more. Raises `h11.RemoteProtocolError`."""
        event = await self._next()
        return event if isinstance(event, h11.Request) else None

    async def body(self) -> bytes:
        """Read the body of the request whose head was read. Raises `BodyTooLarge`, `h11.RemoteProtocolError`."""
        body = bytearray()
        while True:
            if self._h11.they_are_waiting_for_100_continue:
                await self._send(h11.InformationalResponse(status_code=100, headers=[]))
            event = await self._next()
            if not isinstance(event, h11.Data):
                return bytes(body)
            body += event.data
            if len(body) > MAX_BODY:
                raise BodyTooLarge

    async def answer(self, reply: Reply) -> bool:
        """Send an answer; whether another request may follow on this connection."""
        headers: Headers = [
            ("content-type", reply.content_type),
            ("content-length", str(len(reply.body))),
            ("cache-control", "no-store"),
            *reply.headers,
        ]
        if self._h11.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return False
        await self._send(h11.Response(status_code=reply.status, headers=headers), h11.Data(data=reply.body))
        await self._send(h11.EndOfMessage())
        try:
            self._h11.start_next_cycle()
        except h11.LocalProtocolError:
            return False  # either side wants to close, or the request's body was not read
        return True

    def trailing(self) -> bytes:
        """Return the bytes behind an upgrade request."""
        return bytes(self._h11.trailing_data[0])

    async def _send(self, *events: h11.Event) -> None:
        data = b"".join(self._h11.send(event) or b"" for event in events)
        self._settle()
        with trio.fail_after(IDLE_S):
            await self._stream.send_all(data)

    async def _next(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        with trio.fail_after(IDLE_S):
            while True:
                event = self._h11.next_event()
                if event is not h11.NEED_DATA:
                    return event
                self._h11.receive_data(bytes(await self._stream.receive_some(_READ)))
