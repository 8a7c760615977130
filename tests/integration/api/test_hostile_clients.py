"""Words of a client that break the libraries below us: they end its connection, and nothing else."""

from __future__ import annotations

import struct

import h2.config
import h2.connection
import h2.events
import pytest
import trio

from tests.integration.api.front import Front
from tests.integration.api.test_connections import impatient as impatient
from tests.integration.api.test_http import Served, connect, serving

WHOLE = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


def http2() -> h2.connection.H2Connection:
    config = h2.config.H2Configuration(header_encoding=None, validate_outbound_headers=False)
    client = h2.connection.H2Connection(config)
    client.initiate_connection()
    return client


def asking(method: bytes, path: bytes, *, body: bytes = b"") -> bytes:
    client = http2()
    head = [(b":method", method), (b":path", path), (b":scheme", b"http"), (b":authority", b"x")]
    client.send_headers(1, head, end_stream=not body)
    if body:
        client.send_data(1, body)
    return client.data_to_send()


def taken_back() -> bytes:
    """A question that is taken back at once."""
    client = http2()
    head = [(b":method", b"GET"), (b":path", b"/healthz"), (b":scheme", b"http"), (b":authority", b"x")]
    client.send_headers(1, head)
    client.reset_stream(1)
    return client.data_to_send()


def priorities(count: int) -> bytes:
    frames = (b"\0\0\5\2\0" + struct.pack(">IIB", 2 * at + 1, 0, 15) for at in range(count))
    return http2().data_to_send() + b"".join(frames)


async def speak(served: Served, *words: bytes) -> bytes:
    """Say these things, each after an answer to the one before; everything that comes back within a moment."""
    text = b""
    async with await connect(served) as connection:
        for word in words:
            try:
                await connection.send_all(word)
                with trio.move_on_after(0.5):
                    async for chunk in connection:
                        text += chunk
            except trio.BrokenResourceError:
                break
    return text


HOSTILE = {
    "path that is not ASCII": (asking(b"GET", b"/\xff"),),
    "method that is not ASCII": (asking(b"G\xff", b"/"),),
    "a thousand priorities": (priorities(1100),),
    "bytes behind a websocket's request": (UPGRADE + b"\r\n" + b"\x81\x05hello" * 10,),
    "fields of a websocket that are not ASCII": (UPGRADE + b"Sec-WebSocket-Protocol: \xff\r\n\r\n",),
    "body behind an answer": (asking(b"POST", b"/v1/instances", body=b"{"), b"\0\0\1\0\0\0\0\0\1{" * 3),
    "h2c of nonsense": (b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nHTTP2-Settings: \xff!\r\n\r\n",),
}


@pytest.mark.parametrize("words", HOSTILE.values(), ids=HOSTILE)
async def test_client_ends_its_own_connection_at_most(front: Front, words: tuple[bytes, ...]) -> None:
    async with serving(front) as served, await connect(served) as other:
        await speak(served, *words)
        await other.send_all(WHOLE)
        with trio.fail_after(5):
            assert (await other.receive_some(65536)).startswith(b"HTTP/1.1 200 ")
        assert (await speak(served, WHOLE)).startswith(b"HTTP/1.1 200 ")


SILENT = {
    "HTTP/2 without a question": http2().data_to_send(),
    "a question taken back": taken_back(),
    "a websocket of another version": UPGRADE.replace(b"Version: 13", b"Version: 12") + b"\r\n",
}


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("words", SILENT.values(), ids=SILENT)
async def test_connection_on_which_nothing_is_under_way_is_closed(front: Front, words: bytes) -> None:
    async with serving(front) as served, await connect(served) as connection:
        await connection.send_all(words)
        with trio.fail_after(5):
            async for _ in connection:
                pass


async def test_query_of_any_bytes_is_no_fault_of_ours(front: Front) -> None:
    async with serving(front) as served:
        text = await speak(served, asking(b"GET", b"/v1/instances?limit=\xff"))
        client = http2()
        client.send_headers(1, [(b":method", b"GET"), (b":path", b"/"), (b":scheme", b"http"), (b":authority", b"x")])
        statuses = [
            dict(event.headers)[b":status"]
            for event in client.receive_data(text)
            if isinstance(event, h2.events.ResponseReceived)
        ]
    assert statuses == [b"401"]
