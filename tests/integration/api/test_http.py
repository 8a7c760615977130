"""Through hypercorn and real sockets: streams that resume, readers that are slow or gone, and the way down."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h11
import pytest
import trio

from api.app import create_app
from api.bootstrap.server import ServerConfig, serve
from tests.integration.actors.house import open_sandbox
from tests.integration.api.front import Front, Holder, open_front
from whatisup.store import Tx

STATUS = "instance.status"


@dataclass
class Served:
    """A front behind hypercorn on a free port."""

    front: Front
    port: int
    closing: trio.Event = field(default_factory=trio.Event)
    ended: trio.Event = field(default_factory=trio.Event)

    async def append(self, instance_id: str, count: int, *, size: int = 0) -> list[int]:
        """Append numbered events; their numbers."""

        def write(tx: Tx) -> None:
            for number in range(count):
                tx.append_event(instance_id, STATUS, {"n": number, "fill": "x" * size})

        await self.front.write(write)
        return list(range(count))


@asynccontextmanager
async def serving(front: Front) -> AsyncIterator[Served]:
    served = Served(front, 0)

    async def run(task_status: trio.TaskStatus[list[str]]) -> None:
        config = ServerConfig(front.edge.settings)
        await serve(create_app(front.edge), config, shutdown_trigger=served.closing.wait, task_status=task_status)
        served.ended.set()

    async with trio.open_nursery() as nursery:
        urls = await nursery.start(run)
        served.port = int(urls[0].rsplit(":", 1)[1])
        yield served
        front.edge.drain()
        served.closing.set()
        with trio.fail_after(15):
            await served.ended.wait()


class Stream:
    """An open event stream, read frame by frame."""

    def __init__(self, connection: trio.SocketStream) -> None:
        self.connection = connection
        self.http = h11.Connection(h11.CLIENT)
        self.status = 0
        self.text = b""
        self.is_over = False

    async def open(self, holder: Holder | None, query: str = "", **headers: str) -> Stream:
        fields = [("Host", "localhost"), *headers.items()]
        if holder is not None:
            fields.append(("Authorization", f"Bearer {holder.key}"))
        request = h11.Request(method="GET", target=f"/v1/events{query}", headers=fields)
        await self.connection.send_all((self.http.send(request) or b"") + (self.http.send(h11.EndOfMessage()) or b""))
        while not self.status:
            await self._turn()
        return self

    async def _turn(self) -> None:
        event = self.http.next_event()
        if event is h11.NEED_DATA:
            self.http.receive_data(bytes(await self.connection.receive_some(65536)))
        elif isinstance(event, h11.Response):
            self.status = event.status_code
        elif isinstance(event, h11.Data):
            self.text += event.data
        elif isinstance(event, (h11.EndOfMessage, h11.ConnectionClosed)):
            self.is_over = True

    async def frame(self) -> str:
        """The next frame, comments and `retry:` included; "" at the end."""
        with trio.fail_after(10):
            while b"\n\n" not in self.text and not self.is_over:
                await self._turn()
        frame, _, self.text = self.text.partition(b"\n\n")
        return frame.decode()

    async def events(self, count: int) -> list[tuple[str, Any]]:
        """The next events as (id, envelope)."""
        found: list[tuple[str, Any]] = []
        while len(found) < count:
            frame = await self.frame()
            assert frame, f"the stream ended after {len(found)} events"
            if frame.startswith("id: "):
                first, second = frame.split("\n")
                found.append((first.removeprefix("id: "), json.loads(second.removeprefix("data: "))))
        return found

    async def close(self) -> None:
        await self.connection.aclose()


async def connect(served: Served, *, buffer: int | None = None) -> trio.SocketStream:
    raw = trio.socket.socket()
    if buffer is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    await raw.connect(("127.0.0.1", served.port))
    return trio.SocketStream(raw)


async def answer_on(connection: trio.SocketStream) -> bytes:
    """Head and body of the one answer on a connection, whichever end closes it."""
    http, text = h11.Connection(h11.CLIENT), b""
    http.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    with trio.fail_after(10):
        while (event := http.next_event()) is not h11.PAUSED and not isinstance(event, h11.EndOfMessage):
            if event is h11.NEED_DATA:
                http.receive_data(bytes(await connection.receive_some(65536)))
            elif isinstance(event, h11.Response):
                text += b"%d " % event.status_code
            elif isinstance(event, h11.Data):
                text += event.data
    return text


async def stream(served: Served, holder: Holder, query: str = "", **headers: str) -> Stream:
    return await Stream(await connect(served)).open(holder, query, **headers)


async def test_stream_shows_what_happens_as_it_happens(front: Front) -> None:
    async with serving(front) as served:
        alice = await front.holder()
        instance_id = await alice.create()
        await served.append(instance_id, 3)
        live = await stream(served, alice)
        assert await live.frame() == "retry: 2000"
        await served.append(instance_id, 2)
        first, second = await live.events(2)
        assert [first[1]["data"]["n"], second[1]["data"]["n"]] == [0, 1]
        assert first[1]["event_id"] == first[0]
        await live.close()


async def test_stream_resumes_without_gap_or_duplicate(front: Front) -> None:
    """Cut again and again while events keep coming; what was seen in all is the log."""
    async with serving(front) as served:
        alice = await front.holder()
        instance_id = await alice.create()
        total, seen = 260, [(await _first_id(served, alice, instance_id), {"data": {"n": -1}})]

        async def write() -> None:
            for number in range(total):
                await front.write(_append, instance_id, number)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            cut_after = [1, 7, 40, 3, 109, 100]
            assert sum(cut_after) == total
            for index, count in enumerate(cut_after):
                if index % 2:
                    live = await stream(served, alice, **{"Last-Event-ID": seen[-1][0]})
                else:
                    live = await stream(served, alice, f"?after={seen[-1][0]}")
                seen += await live.events(count)
                await live.close()
        assert [envelope["data"]["n"] for _, envelope in seen] == list(range(-1, total))


async def _first_id(served: Served, holder: Holder, instance_id: str) -> str:
    await served.append(instance_id, 1)
    page = await holder.call("GET", "/v1/events", Accept="application/json")
    return str(page["data"][0]["event_id"])


def _append(tx: Tx, instance_id: str, number: int) -> None:
    tx.append_event(instance_id, STATUS, {"n": number})


async def test_stream_takes_the_key_as_a_token(front: Front) -> None:
    async with serving(front) as served:
        alice = await front.holder()
        nobody = Holder(alice.client, "", "x")
        connection = Stream(await connect(served))
        connection.http = h11.Connection(h11.CLIENT)
        request = h11.Request(method="GET", target=f"/v1/events?token={alice.key}", headers=[("Host", "x")])
        await connection.connection.send_all(connection.http.send(request) or b"")
        connection.http.send(h11.EndOfMessage())
        assert await connection.frame() == "retry: 2000"
        refused = await stream(served, nobody)
        assert refused.status == 401
        await connection.close()
        await refused.close()


async def test_stream_is_kept_alive_although_other_events_pass(folder: Path) -> None:
    """Events that the filter hides must not silence the keepalive."""
    async with open_front(folder, keepalive_s=0.3) as front, serving(front) as served:
        alice = await front.holder()
        instance_id = await alice.create()
        live = await stream(served, alice, "?events=qr.updated")
        assert await live.frame() == "retry: 2000"

        async def chatter() -> None:
            while True:
                await served.append(instance_id, 1)
                await trio.sleep(0.02)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(chatter)
            for _ in range(3):
                assert await live.frame() == ": keepalive"
            nursery.cancel_scope.cancel()
        await live.close()


async def test_stream_ends_when_its_key_is_revoked(folder: Path) -> None:
    async with open_front(folder, keepalive_s=0.2) as front, serving(front) as served:
        expiring = await front.holder(expires_at=front.edge.now() + 700)
        live = await stream(served, expiring)
        frames = []
        while frame := await live.frame():
            frames.append(frame)
        assert frames[0] == "retry: 2000"
        assert frames[-1].startswith("event: cut\ndata: ")
        assert set(frames[1:-1]) <= {": keepalive"}
        await live.close()


async def test_stream_ends_with_a_retry_line_when_we_drain(front: Front) -> None:
    async with serving(front) as served:
        live = await stream(served, await front.holder())
        assert await live.frame() == "retry: 2000"
        front.edge.drain()
        assert await live.frame() == "retry: 2000"
        assert await live.frame() == ""
        refused = await stream(served, await front.holder())
        assert refused.status == 503
        await live.close()
        await refused.close()


async def test_streams_are_bounded_and_forgotten_when_their_clients_leave(folder: Path) -> None:
    async with open_front(folder, EVENT_STREAMS_PER_CUSTOMER="2") as front, serving(front) as served:
        alice = await front.holder()
        first, second = await stream(served, alice), await stream(served, alice)
        for opened in (first, second):
            await opened.frame()
        third = await stream(served, alice)
        assert third.status == 503
        for opened in (first, second, third):
            await opened.close()
        with trio.fail_after(5):
            while len(front.edge.streams) or front.edge.streams.by_customer or front.edge.system.bus.subscribers:
                await trio.sleep(0.01)


async def test_slow_reader_delays_nobody_and_does_not_hold_the_shutdown(folder: Path) -> None:
    async with open_front(folder, WHATISUP_SHUTDOWN_S="6") as front, serving(front) as served:
        alice = await front.holder()
        instance_id = await alice.create()
        slow = await Stream(await connect(served, buffer=4096)).open(alice)
        quick = await stream(served, alice)
        for _ in range(40):
            await served.append(instance_id, 20, size=10_000)
        with trio.fail_after(10):
            seen = await quick.events(800)
        assert len(seen) == 800
        assert list(front.edge.streams.by_customer) == [alice.customer_id]
        assert (await alice.call("GET", "/v1/instances"))["data"]
        await quick.close()
        front.edge.drain()
        served.closing.set()
        with trio.fail_after(10):
            await served.ended.wait()
        await slow.close()


async def test_stalled_body_is_cut(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.app.BODY_TIMEOUT_S", 0.3)
    async with serving(front) as served:
        alice = await front.holder()
        connection = await connect(served)
        head = f"POST /v1/instances HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {alice.key}\r\n"
        await connection.send_all(f"{head}Content-Type: application/json\r\nContent-Length: 20\r\n\r\n{{".encode())
        answer = await answer_on(connection)
        assert answer.startswith(b"408")
        assert b"request_timeout" in answer
        await connection.aclose()


async def test_chunked_body_beyond_the_limit_is_413(front: Front) -> None:
    async with serving(front) as served:
        alice = await front.holder()
        connection = await connect(served)
        head = f"POST /v1/instances HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {alice.key}\r\n"
        await connection.send_all(
            f"{head}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )
        for _ in range(5):
            await connection.send_all(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        answer = await answer_on(connection)
        assert answer.startswith(b"413")
        assert b"body_too_large" in answer
        await connection.aclose()


async def test_client_that_hangs_up_does_not_undo_a_deletion(folder: Path) -> None:
    async with open_sandbox(folder) as ready, open_front(folder, ready) as front, serving(front) as served:
        alice = await front.holder()
        instance_id, _ = await alice.pair()
        asked, ask = trio.Event(), front.edge.system.ask

        async def watched(*words: Any) -> Any:
            asked.set()
            return await ask(*words)

        front.edge.system.ask = watched  # type: ignore[method-assign]  # to hang up at the worst moment
        connection = await connect(served)
        head = f"DELETE /v1/instances/{instance_id} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {alice.key}\r\n\r\n"
        await connection.send_all(head.encode())
        await asked.wait()
        await connection.aclose()
        with trio.fail_after(10):
            while (await alice.call("GET", "/v1/instances"))["data"]:
                await trio.sleep(0.02)
        assert (await alice.ask("GET", f"/v1/instances/{instance_id}")).status_code == 404


async def test_request_in_flight_is_answered_while_we_drain(front: Front) -> None:
    async with serving(front) as served:
        alice = await front.holder()
        connection = await connect(served)
        body = b'{"name":"last"}'
        head = f"POST /v1/instances HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {alice.key}\r\n"
        await connection.send_all(
            f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body[:4]
        )
        await trio.sleep(0.1)
        front.edge.drain()
        served.closing.set()
        await trio.sleep(0.1)
        await connection.send_all(body[4:])
        assert (await answer_on(connection)).startswith(b"201")
        await connection.aclose()
