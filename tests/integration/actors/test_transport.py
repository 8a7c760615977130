"""The websocket adapter against a scripted peer: whatever that does, one `TransportError` and no socket is left."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)

from actors import transport
from actors.transport import open_transport
from whatisup.errors import TransportError, UpgradeRefused

Script = Callable[[trio.SocketStream, WSConnection], Awaitable[None]]


async def accept(stream: trio.SocketStream, ws: WSConnection) -> None:
    """Read the upgrade and accept it."""
    while True:
        ws.receive_data(await stream.receive_some(65536))
        if any(isinstance(event, Request) for event in ws.events()):
            await stream.send_all(ws.send(AcceptConnection()))
            return


def reset(stream: trio.SocketStream) -> None:
    """Close so that the peer sees a reset, not an end."""
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


@asynccontextmanager
async def peer(script: Script) -> AsyncIterator[str]:
    """Serve every connection by `script`; the URL to connect to."""

    async def handle(stream: trio.SocketStream) -> None:
        try:
            await script(stream, WSConnection(ConnectionType.SERVER))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(
            lambda task_status: trio.serve_tcp(handle, 0, host="127.0.0.1", task_status=task_status)
        )
        yield f"ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}/ws/chat"
        nursery.cancel_scope.cancel()


async def talk(url: str) -> bytes:
    async with open_transport(url, tls=None) as connection:
        return await connection.receive()


async def test_a_binary_message_arrives_and_text_is_skipped() -> None:
    async def script(stream: trio.SocketStream, ws: WSConnection) -> None:
        await accept(stream, ws)
        await stream.send_all(ws.send(TextMessage("hello")) + ws.send(BytesMessage(b"frame")))
        await trio.sleep_forever()

    with trio.fail_after(5):
        async with peer(script) as url, open_transport(url, tls=None) as connection:
            assert await connection.receive() == b"frame"


async def test_a_ping_that_crosses_our_close_is_no_crash() -> None:
    async def script(stream: trio.SocketStream, ws: WSConnection) -> None:
        await accept(stream, ws)
        while True:
            ws.receive_data(await stream.receive_some(65536))
            if any(isinstance(event, CloseConnection) for event in ws.events()):
                # What a peer does that had already written its ping when our close came.
                await stream.send_all(b"\x89\x00" * 3)
                await stream.send_all(ws.send(CloseConnection(1000)))
                await trio.sleep(0.1)
                return

    with trio.fail_after(5):
        async with peer(script) as url, open_transport(url, tls=None):
            pass


async def test_pings_are_answered_while_we_do_not_read() -> None:
    answered = trio.Event()

    async def script(stream: trio.SocketStream, ws: WSConnection) -> None:
        await accept(stream, ws)
        await stream.send_all(ws.send(BytesMessage(b"x")) * 4 + ws.send(Ping(b"alive")))
        while b"\x8a" not in await stream.receive_some(65536):
            pass
        answered.set()
        await trio.sleep_forever()

    with trio.fail_after(5):
        async with peer(script) as url, open_transport(url, tls=None):
            await answered.wait()


@pytest.mark.parametrize("status", [403, 503])
async def test_a_refused_upgrade_carries_its_status(status: int) -> None:
    async def script(stream: trio.SocketStream, ws: WSConnection) -> None:
        while True:
            ws.receive_data(await stream.receive_some(65536))
            if any(isinstance(event, Request) for event in ws.events()):
                await stream.send_all(ws.send(RejectConnection(status_code=status)))
                return

    with trio.fail_after(5):
        async with peer(script) as url:
            with pytest.raises(UpgradeRefused) as refused:
                await talk(url)
    assert refused.value.status == status


async def hang_up_at_once(stream: trio.SocketStream, ws: WSConnection) -> None:
    await stream.aclose()


async def reset_at_once(stream: trio.SocketStream, ws: WSConnection) -> None:
    await stream.receive_some(65536)
    reset(stream)


async def talk_nonsense(stream: trio.SocketStream, ws: WSConnection) -> None:
    await stream.send_all(b"SSH-2.0-OpenSSH\r\n\r\n")
    await stream.aclose()


async def accept_then_reset(stream: trio.SocketStream, ws: WSConnection) -> None:
    await accept(stream, ws)
    reset(stream)


async def accept_then_end(stream: trio.SocketStream, ws: WSConnection) -> None:
    await accept(stream, ws)
    await stream.aclose()


async def accept_then_close(stream: trio.SocketStream, ws: WSConnection) -> None:
    await accept(stream, ws)
    await stream.send_all(ws.send(CloseConnection(1001)))
    await trio.sleep(0.1)


async def accept_then_break_the_protocol(stream: trio.SocketStream, ws: WSConnection) -> None:
    await accept(stream, ws)
    await stream.send_all(b"\xff\xff\xff\xff\xff\xff")
    await trio.sleep(0.1)


async def accept_then_announce_too_much(stream: trio.SocketStream, ws: WSConnection) -> None:
    await accept(stream, ws)
    header = b"\x82\x7f" + (1 << 25).to_bytes(8, "big")
    await stream.send_all(header)
    for _ in range((1 << 25) >> 20):
        await stream.send_all(bytes(1 << 20))


@pytest.mark.parametrize(
    "script",
    [
        hang_up_at_once,
        reset_at_once,
        talk_nonsense,
        accept_then_reset,
        accept_then_end,
        accept_then_close,
        accept_then_break_the_protocol,
        accept_then_announce_too_much,
    ],
)
async def test_every_way_to_lose_a_socket_is_one_transport_error(script: Script) -> None:
    with trio.fail_after(5):
        async with peer(script) as url:
            with pytest.raises(TransportError):
                await talk(url)


async def test_nobody_listening_is_a_transport_error() -> None:
    async with peer(hang_up_at_once) as url:
        pass
    with trio.fail_after(5), pytest.raises(TransportError):
        await talk(url)


async def pour(url: str) -> None:
    async with open_transport(url, tls=None) as connection:
        for _ in range(64):
            await connection.send(bytes(1 << 20))


async def test_a_peer_that_takes_nothing_does_not_hold_us(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "SEND_TIMEOUT_S", 0.2)

    async def script(stream: trio.SocketStream, ws: WSConnection) -> None:
        await accept(stream, ws)
        await trio.sleep_forever()

    with trio.fail_after(10):
        async with peer(script) as url:
            with pytest.raises(TransportError, match="took nothing"):
                await pour(url)


async def test_cancelling_closes_the_socket_within_bounds() -> None:
    gone = trio.Event()

    async def script(stream: trio.SocketStream, ws: WSConnection) -> None:
        await accept(stream, ws)
        try:
            while await stream.receive_some(65536):
                pass
        finally:
            gone.set()

    with trio.fail_after(5):
        async with peer(script) as url:
            with trio.move_on_after(0.2):
                await talk(url)
            await gone.wait()


async def test_a_wss_url_without_a_context_is_refused() -> None:
    with pytest.raises(TransportError, match="TLS context"):
        await talk("wss://127.0.0.1:1/ws/chat")


def test_messages_that_nobody_reads_take_bounded_memory() -> None:
    """A peer may send the largest there are while the actor is busy."""
    assert transport.MESSAGE_QUEUE * transport.MAX_MESSAGE_BYTES <= 65 << 20
