"""A webhook receiver as a customer would run one, but for its temper: it refuses what comes first.

Rule: a webhook counts when its signature holds; what was seen before is known by its event id.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from dataclasses import dataclass, field
from typing import Final

import h11
import trio
from msgspec import json

from api.demo.client import Json
from api.demo.gateway import HOST

TOLERANCE_S: Final = 300
_CHUNK: Final = 65536


@dataclass(slots=True)
class WebhookReceiver:
    """Listens on loopback; `refusals` says how many deliveries are answered with 500 before any is taken."""

    secret: str = field(default="", repr=False)
    refusals: int = 2
    url: str = ""
    events: list[Json] = field(default_factory=list)
    """Each event once, in the order in which they first came."""
    refused: int = 0
    repeated: int = 0
    forged: int = 0

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        listeners = await trio.open_tcp_listeners(0, host=HOST)
        self.url = f"http://{HOST}:{listeners[0].socket.getsockname()[1]}/hook"
        task_status.started()
        await trio.serve_listeners(self._serve, listeners)

    async def _serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            peer = h11.Connection(h11.SERVER)
            try:
                while await self._answer(peer, stream):
                    peer.start_next_cycle()
            except (trio.BrokenResourceError, h11.RemoteProtocolError):
                return  # the gateway was killed in the middle

    async def _answer(self, peer: h11.Connection, stream: trio.SocketStream) -> bool:
        headers: dict[str, str] = {}
        body = b""
        while True:
            event = peer.next_event()
            if event is h11.NEED_DATA:
                peer.receive_data(await stream.receive_some(_CHUNK))
            elif isinstance(event, h11.Request):
                headers = {name.decode(): value.decode() for name, value in event.headers}
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                return False
        status = self._take(headers, body)
        await stream.send_all(
            peer.send(h11.Response(status_code=status, headers=[("Content-Length", "0")]))
            + peer.send(h11.EndOfMessage())
        )
        return True

    def _take(self, headers: dict[str, str], body: bytes) -> int:
        if not verify(self.secret, headers.get("x-whatisup-signature", ""), body, time.time()):
            self.forged += 1
            return 401
        if self.refused < self.refusals:
            self.refused += 1
            return 500
        event: Json = json.decode(body)
        if any(seen["event_id"] == event["event_id"] for seen in self.events):
            self.repeated += 1
        else:
            self.events.append(event)
        return 200


def verify(secret: str, signature: str, body: bytes, now: float) -> bool:
    """Whether one of the signatures in the header `X-WhatIsUp-Signature` is the secret's, and fresh."""
    parts = [part.partition("=")[::2] for part in signature.split(",")]
    t = next((value for name, value in parts if name == "t"), "")
    expected = hmac.new(secret.encode(), f"{t}.".encode() + body, hashlib.sha256).hexdigest()
    is_ours = any(hmac.compare_digest(value, expected) for name, value in parts if name == "v1")
    return is_ours and t.isdigit() and abs(now - int(t)) <= TOLERANCE_S
