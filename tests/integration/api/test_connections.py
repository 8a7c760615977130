"""What becomes of connections: an answer that was to be the last one, and clients that say nothing more."""

from __future__ import annotations

import pytest
import trio

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
