"""What becomes of connections: an answer that was to be the last one, and clients that say nothing more."""

from __future__ import annotations

import gc
import weakref

import pytest
import trio

from api.bootstrap.connections import Connection
from api.bootstrap.server import ServerConfig
from tests.integration.api.front import Front
from tests.integration.api.test_http import Served, connect, serving

IDLE_S = 0.3


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let idle connections live for a moment only."""
    make = ServerConfig.__init__

    def init(self: ServerConfig, settings: object) -> None:
        make(self, settings)  # type: ignore[arg-type]  # passed on as it came
        self.keep_alive_timeout = IDLE_S

    monkeypatch.setattr(ServerConfig, "__init__", init)


async def said(served: Served, *requests: bytes) -> bytes:
    """Everything the server says to these requests until it closes the connection."""
    text = b""
    async with await connect(served) as connection:
        with trio.fail_after(10):
            for request in requests:
                await connection.send_all(request)
                text += await connection.receive_some(65536)
            async for chunk in connection:
                text += chunk
    return text


@pytest.mark.parametrize("path", [b"/healthz", b"/openapi.json", b"/nowhere"])
async def test_connection_is_closed_where_the_client_asked_for_it(front: Front, path: bytes) -> None:
    async with serving(front) as served:
        text = await said(served, b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert text.startswith(b"HTTP/1.1 ")
        assert (await said(served, b"GET " + path + b" HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 ")


async def test_connection_that_ended_leaves_nothing_to_the_collector(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[weakref.ref[object]] = []
    run = Connection.run

    async def watched(connection: Connection) -> None:
        await run(connection)
        ended.append(weakref.ref(connection))

    monkeypatch.setattr(Connection, "run", watched)
    async with serving(front) as served:
        gc.collect()
        gc.disable()
        try:
            await said(served, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            with trio.fail_after(5):
                while not ended or ended[0]() is not None:
                    await trio.sleep(0.01)
        finally:
            gc.enable()


@pytest.mark.usefixtures("impatient")
async def test_connection_that_falls_silent_is_closed(front: Front) -> None:
    """Before its first request, between two of them, and in the middle of a head."""
    whole, half = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /healthz HTTP/1.1\r\nHo"
    async with serving(front) as served:
        assert await said(served) == b""
        assert (await said(served, whole, whole)).count(b"200") == 2
        async with await connect(served) as connection:
            await connection.send_all(whole + half)
            with trio.fail_after(10):
                assert b"".join([chunk async for chunk in connection]).count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("host", [b"a" * 5000, b"a..b", b"[::1", b"\xff", b""])
async def test_host_of_any_kind_changes_no_answer(front: Front, host: bytes) -> None:
    async with serving(front) as served:
        text = await said(served, b"GET /healthz HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n")
        assert text.startswith(b"HTTP/1.1 200 ")


async def test_body_of_two_lengths_is_refused_with_all_that_follows(front: Front) -> None:
    smuggled = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    head = b"POST /v1/instances HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with serving(front) as served:
        text = await said(served, head + b"0\r\n\r\n" + smuggled)
    assert text.startswith(b"HTTP/1.1 400 ")
    assert b"bad_request" in text
    assert text.count(b"HTTP/1.1") == 1


async def test_websocket_is_refused_without_a_word_in_the_log(front: Front, caplog: pytest.LogCaptureFixture) -> None:
    upgrade = (
        b"GET /v1/events HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    async with serving(front) as served:
        assert (await said(served, upgrade)).startswith(b"HTTP/1.1 403 ")
    assert not caplog.records


async def test_answer_comes_in_one_piece(front: Front) -> None:
    async with serving(front) as served, await connect(served) as connection:
        for _ in range(3):
            await connection.send_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            with trio.fail_after(10):
                assert (await connection.receive_some(65536)).endswith(b'\r\n\r\n{"status":"ok"}')


async def test_requests_sent_together_are_answered_in_order(front: Front) -> None:
    paths = [b"/healthz", b"/nowhere", b"/v1/limits", b"/v1/events", b"/healthz"]
    whole = b"".join(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n" for path in paths)
    async with serving(front) as served, await connect(served) as connection:
        text = b""
        with trio.fail_after(10):
            await connection.send_all(whole)
            while text.count(b"HTTP/1.1 ") < len(paths):
                text += await connection.receive_some(65536)
    assert [part[:3] for part in text.split(b"HTTP/1.1 ")[1:]] == [b"200", b"404", b"401", b"401", b"200"]


async def test_body_in_many_pieces_is_read_whole(front: Front) -> None:
    alice, body = await front.holder(), b'{"name":"piece by piece"}'
    head = f"POST /v1/instances HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {alice.key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    async with serving(front) as served, await connect(served) as connection:
        with trio.fail_after(10):
            await connection.send_all(head.encode())
            assert (await connection.receive_some(65536)).startswith(b"HTTP/1.1 100 ")
            for at in range(len(body)):
                await connection.send_all(body[at : at + 1])
            answer = await connection.receive_some(65536)
    assert answer.startswith(b"HTTP/1.1 201 ")
    assert b"piece by piece" in answer


async def test_head_is_answered_without_a_body(front: Front) -> None:
    async with serving(front) as served:
        text = await said(served, b"HEAD /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert text.startswith(b"HTTP/1.1 200 ")
    assert b"content-length: 15" in text.lower()
    assert text.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("last", [b"", b"Connection: close\r\n"])
async def test_answer_without_content_names_no_length(front: Front, last: bytes) -> None:
    """Whichever way it takes: some clients, and proxies, take it for a mistake and hang up."""
    alice = await front.holder()
    instance_id = await alice.create()
    head = f"DELETE /v1/instances/{instance_id} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {alice.key}\r\n"
    async with serving(front) as served, await connect(served) as connection:
        with trio.fail_after(10):
            await connection.send_all(head.encode() + last + b"\r\n")
            text = (await connection.receive_some(65536)).lower()
    assert text.startswith(b"http/1.1 204 ")
    assert text.endswith(b"\r\n\r\n")
    assert b"content-length" not in text
    assert b"transfer-encoding" not in text


async def test_silent_connections_are_hung_up_on_when_we_go_down(front: Front) -> None:
    async with serving(front) as served, await connect(served) as silent, await connect(served) as asked:
        with trio.fail_after(2):
            await asked.send_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert await asked.receive_some(65536)
            served.closing.set()
            for connection in (silent, asked):
                assert await connection.receive_some(65536) == b""
            await served.ended.wait()


async def test_client_that_leaves_ends_its_request(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, cancelled = trio.Event(), trio.Event()

    async def dawdle(*_: object) -> None:
        begun.set()
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    monkeypatch.setattr(front.edge.census, "count", dawdle)
    async with serving(front) as served:
        connection = await connect(served)
        await connection.send_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        with trio.fail_after(10):
            await begun.wait()
            await connection.aclose()
            await cancelled.wait()


async def test_what_comes_while_a_request_is_under_way_waits_for_it(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = trio.Event(), trio.Event()

    async def dawdle(*_: object) -> None:
        begun.set()
        await go_on.wait()

    monkeypatch.setattr(front.edge.census, "count", dawdle)
    async with serving(front) as served, await connect(served) as connection:
        with trio.fail_after(10):
            await connection.send_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            await begun.wait()
            await connection.send_all(
                b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n"
            )
            with trio.move_on_after(0.1) as early:
                await connection.receive_some(65536)
            assert early.cancelled_caught
            go_on.set()
            text = b""
            while text.count(b"HTTP/1.1 ") < 3:
                text += await connection.receive_some(65536)
    assert [part[:3] for part in text.split(b"HTTP/1.1 ")[1:]] == [b"200", b"200", b"404"]


async def test_application_that_fails_costs_its_connection(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError

    monkeypatch.setattr(front.edge.metrics, "count", fail)
    asked = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    async with serving(front) as served:
        text = await said(served, asked)
        assert text.startswith(b"HTTP/1.1 500 ")
        assert b"connection: close" in text
        monkeypatch.undo()
        assert (await said(served, asked.replace(b"x\r", b"x\r\nConnection: close\r"))).startswith(b"HTTP/1.1 200 ")


async def test_connection_serves_as_many_requests_as_it_may(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ServerConfig, "keep_alive_max_requests", 3)
    asked = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    async with serving(front) as served:
        text = await said(served, asked, asked, asked)
    assert text.count(b"HTTP/1.1 200 ") == 3
    assert text.count(b"connection: close") == 1
