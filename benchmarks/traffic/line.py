"""A kept-alive HTTP connection to the gateway, as a customer's HTTP library holds one, and a pool of them.

Rule: one request at a time on a line; a line that breaks is an error, not a retry: a measurement must not hide one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import h11
import trio

from api.demo.client import Client, Json

IDLE_S = 2.0
"""How long a line is kept for the next request; the gateway itself ends idle ones later."""
_CHUNK = 64 * 1024


@dataclass(slots=True)
class Line:
    """One connection; opened by its first request."""

    client: Client
    _stream: trio.SocketStream | None = None
    _http: h11.Connection = field(default_factory=lambda: h11.Connection(h11.CLIENT))

    async def post(self, path: str, body: Json, key: str) -> tuple[int, Json]:
        """POST with an Idempotency-Key; the status and the answer's JSON."""
        content = json.dumps(body).encode()
        headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(content))),
            ("Idempotency-Key", key),
        ]
        return await self._ask("POST", path, headers, content)

    async def get(self, path: str) -> tuple[int, Json]:
        """GET; the status and the answer's JSON."""
        return await self._ask("GET", path, [("Accept", "application/json")], b"")

    async def _ask(self, method: str, path: str, headers: list[tuple[str, str]], content: bytes) -> tuple[int, Json]:
        if self._stream is None:
            self._stream = await trio.open_tcp_stream(self.client.host, self.client.port)
        whose = [
            ("Host", f"{self.client.host}:{self.client.port}"),
            ("Authorization", f"Bearer {self.client.key}"),
        ]
        request = h11.Request(method=method, target=path, headers=[*whose, *headers])
        events = (request, h11.Data(content), h11.EndOfMessage())
        await self._stream.send_all(b"".join(self._http.send(event) or b"" for event in events))
        answer = await self._read(self._stream)
        if self._http.our_state is h11.MUST_CLOSE:  # it has served as many requests as the gateway allows
            self.cut()
        else:
            self._http.start_next_cycle()
        return answer

    async def _read(self, stream: trio.SocketStream) -> tuple[int, Json]:
        status, body = 0, b""
        while True:
            event: Any = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(bytes(await stream.receive_some(_CHUNK)))
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return status, json.loads(body or b"{}")
            else:
                raise RuntimeError("the gateway closed a line in the middle of an answer")

    def cut(self) -> None:
        """Hang up, whatever was under way; the next request opens another connection."""
        if self._stream is not None:
            self._stream.socket.close()
            self._stream, self._http = None, h11.Connection(h11.CLIENT)


@dataclass(slots=True)
class Lines:
    """As many lines as are busy at once: the one that was idle for the shortest time is taken again first."""

    client: Client
    _idle: list[tuple[float, Line]] = field(default_factory=list)

    async def post(self, path: str, body: Json, key: str) -> tuple[int, Json]:
        """See `Line.post`."""
        self._hang_up(trio.current_time() - IDLE_S)
        line = self._idle.pop()[1] if self._idle else Line(self.client)
        try:
            answer = await line.post(path, body, key)
        except BaseException:
            line.cut()
            raise
        self._idle.append((trio.current_time(), line))
        return answer

    def _hang_up(self, since: float) -> None:
        """End what has been idle since then: the gateway is about to."""
        while self._idle and self._idle[0][0] < since:
            self._idle.pop(0)[1].cut()

    def close(self) -> None:
        """Hang up all that are idle."""
        self._hang_up(float("inf"))
