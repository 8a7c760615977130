"""The websocket adapter against a scripted peer: whatever that does, one `TransportError` and no socket is left."""

from __future__ import annotations

import gc
import socket
import struct
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    Pong,
    RejectConnection,
    Request,
    TextMessage,
)

from actors import transport
from actors.transport import SippedStream, WebSocketTransport, open_transport
from tests.unit.whatisup.sandbox.loopback import Handset, open_loopback
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


async def test_pings_are_answered_by_who_reads_while_another_sends() -> None:
    answered = trio.Event()

    async def script(stream: trio.SocketStream, ws: WSConnection) -> None:
        await accept(stream, ws)
        await stream.send_all(ws.send(Ping(b"old")) + ws.send(Ping(b"alive")))
        size, pongs = 0, []
        while size < 40 << 20 or not pongs:
            ws.receive_data(await stream.receive_some(1 << 20))
            for event in ws.events():
                if isinstance(event, Pong):
                    pongs.append(event.payload)
                elif isinstance(event, BytesMessage):
                    size += len(event.data)
        assert pongs == [b"alive"]  # the RFC wants an answer to the last one alone
        answered.set()
        await trio.sleep_forever()

    with trio.fail_after(10):
        async with peer(script) as url, open_transport(url, tls=None) as connection, trio.open_nursery() as nursery:
            nursery.start_soon(connection.receive)
            for _ in range(40):
                await connection.send(bytes(1 << 20))
            await answered.wait()
            nursery.cancel_scope.cancel()


class Deaf(trio.abc.Stream):
    """A peer that pings and takes nothing."""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.sleep_forever()

    async def wait_send_all_might_not_block(self) -> None:
        await trio.sleep_forever()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return b"\x89\x00"

    async def aclose(self) -> None:
        pass


async def test_a_peer_that_pings_and_takes_no_pong_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "SEND_TIMEOUT_S", 0.1)
    with trio.fail_after(5), pytest.raises(TransportError, match="took nothing"):
        await WebSocketTransport(Deaf()).receive()


async def test_tls_gets_small_portions_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenSSL's buffers keep the size of the largest portion for as long as the connection lives."""
    taken: list[int] = []
    send_all, receive_some = SippedStream.send_all, SippedStream.receive_some

    async def spied_send(stream: SippedStream, data: bytes | bytearray | memoryview) -> None:
        taken.append(len(data))
        await send_all(stream, data)

    async def spied_receive(stream: SippedStream, max_bytes: int | None = None) -> bytes | bytearray:
        data = await receive_some(stream, max_bytes)
        taken.append(len(data))
        return data

    monkeypatch.setattr(SippedStream, "send_all", spied_send)
    monkeypatch.setattr(SippedStream, "receive_some", spied_receive)
    with trio.fail_after(10):
        async with open_loopback(seed=1, use_tls=True) as loopback:
            await loopback.create("999000000001")
            await Handset.new(loopback).pair("999000000001")
            async with open_transport(loopback.ready.url, tls=loopback.tls) as connection:
                await connection.send(bytes(100_000))
    assert sum(taken) > 100_000
    assert max(taken) <= 8192


async def test_a_connection_that_ended_leaves_nothing_to_the_collector() -> None:
    with trio.fail_after(15):
        async with open_loopback(seed=1, use_tls=True) as loopback:
            gc.collect()
            gc.disable()
            try:
                async with open_transport(loopback.ready.url, tls=loopback.tls) as connection:
                    held = [weakref.ref(connection._stream), weakref.ref(vars(connection._stream)["_ssl_object"])]
                with suppress(TransportError):
                    await connection.send(b"late")
                    pytest.fail("it was sent")
                del connection
                await trio.lowlevel.checkpoint()
                assert [ref() for ref in held] == [None, None]
            finally:
                gc.enable()


async def test_messages_that_came_together_are_handed_over_together() -> None:
    async def script(stream: trio.SocketStream, ws: WSConnection) -> None:
        await accept(stream, ws)
        fragments = ws.send(BytesMessage(b"c", message_finished=False)) + ws.send(BytesMessage(b"d"))
        await stream.send_all(ws.send(BytesMessage(b"a")) + ws.send(BytesMessage(b"b")) + fragments)
        await trio.sleep_forever()

    with trio.fail_after(5):
        async with peer(script) as url, open_transport(url, tls=None) as connection:
            data = b""
            while len(data) < 4:
                data += await connection.receive()
            assert data == b"abcd"


async def never_answer(stream: trio.SocketStream, ws: WSConnection) -> None:
    await stream.receive_some(65536)
    await trio.sleep_forever()


async def answer_without_end(stream: trio.SocketStream, ws: WSConnection) -> None:
    await stream.send_all(b"HTTP/1.1 101 Switching Protocols\r\n")
    while True:
        await stream.send_all(b"x: " + bytes(65536).replace(b"\0", b"y") + b"\r\n")


@pytest.mark.parametrize("script", [never_answer, answer_without_end])
async def test_an_upgrade_without_end_is_bounded(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "CONNECT_TIMEOUT_S", 0.3)
    with trio.fail_after(5):
        async with peer(script) as url:
            with pytest.raises(TransportError):
                await talk(url)


async def test_leaving_says_goodbye_and_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "DISCONNECT_TIMEOUT_S", 0.3)
    heard = trio.Event()

    async def script(stream: trio.SocketStream, ws: WSConnection) -> None:
        await accept(stream, ws)
        while data := await stream.receive_some(65536):
            ws.receive_data(data)
            if any(isinstance(event, CloseConnection) and event.code == 1000 for event in ws.events()):
                heard.set()
        await trio.sleep_forever()

    with trio.fail_after(5):
        async with peer(script) as url:
            async with open_transport(url, tls=None):
                pass
            await heard.wait()


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
    await trio.sleep(0.1)


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
