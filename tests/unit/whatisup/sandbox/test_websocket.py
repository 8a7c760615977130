"""The faults that need a real socket, and the ways it ends."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Callable

import pytest
import trio
import trio.testing
from wsproto.connection import Connection, ConnectionType
from wsproto.events import Ping, Pong, TextMessage

from tests.unit.whatisup.sandbox.loopback import Handset, Loopback, open_loopback
from whatisup.control import FaultParams, Scope
from whatisup.errors import TransportError
from whatisup.protocol.events import Closed, Connected, QrIssued
from whatisup.sandbox.hub import Clock
from whatisup.sandbox.people.bursts import GRID_S
from whatisup.sandbox.websocket import LINGER_S, MAX_MESSAGE, Pulse, reset

NUMBER = "999000000001"


@pytest.fixture
async def loopback() -> AsyncIterator[Loopback]:
    async with open_loopback(seed=1) as running:
        yield running


@pytest.fixture
async def handset(loopback: Loopback) -> Handset:
    await loopback.create(NUMBER)
    handset = Handset.new(loopback)
    await handset.pair(NUMBER)
    return handset


async def raw_upgrade(loopback: Loopback, path: str = "/ws/chat", *, extra: str = "") -> tuple[trio.abc.Stream, bytes]:
    """Ask for a websocket by hand; return the stream and the answer's head."""
    stream = await loopback.stream()
    head = (
        f"GET {path} HTTP/1.1\r\nHost: sandbox\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{extra}\r\n"
    )
    await stream.send_all(head.encode())
    answer = b""
    with trio.fail_after(5):
        while b"\r\n\r\n" not in answer:
            answer += bytes(await stream.receive_some(4096))
    return stream, answer


async def test_upgrade_works_with_a_query_and_declines_compression(loopback: Loopback) -> None:
    stream, answer = await raw_upgrade(
        loopback, "/ws/chat?ED=abc", extra="Sec-WebSocket-Extensions: permessage-deflate\r\n"
    )
    async with stream:
        assert answer.startswith(b"HTTP/1.1 101")
        assert b"permessage-deflate" not in answer.lower()


@pytest.mark.parametrize(
    ("path", "extra", "status"),
    [("/elsewhere", "", b"404"), ("//[", "", b"404"), ("/ws/chat", "Sec-WebSocket-Version: 8\r\n", b"400")],
)
async def test_upgrade_that_cannot_be_is_refused(loopback: Loopback, path: str, extra: str, status: bytes) -> None:
    stream, answer = await raw_upgrade(loopback, path, extra=extra)
    async with stream:
        assert answer.split(b" ")[1] == status


async def test_drop_ends_the_connection_without_a_word_and_the_device_may_come_back(
    loopback: Loopback, handset: Handset
) -> None:
    async with handset.connected():
        await handset.until(Connected)
        await loopback.arm("drop", scope=Scope(NUMBER, 1))
        with pytest.raises(TransportError, match=r"reset|hung up"):
            await handset.until(Closed)
    async with handset.connected():
        await handset.until(Connected)


async def test_reset_reaches_the_peer_as_one() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        client = await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1])
        server = await listener.accept()
        reset(server)
        with pytest.raises(trio.BrokenResourceError):
            await client.receive_some(1)
        await client.aclose()


async def test_half_open_keeps_the_socket_and_says_nothing(loopback: Loopback, handset: Handset) -> None:
    async with handset.connected():
        await handset.until(Connected)
        await loopback.arm("half-open", scope=Scope(NUMBER, 1))
        assert handset.connection is not None
        while not await handset.silence(0.2):
            pass  # answers that were on their way
        handset.connection.handle_timer(trio.current_time() + 31)  # a ping is due
        await handset.flush()
        assert await handset.silence(0.4)
        _, body = await loopback.call("GET", f"/sandbox/accounts/{NUMBER}/devices/1")
        assert b'"is_half_open":true' in body


async def test_half_open_connection_ends_when_the_device_is_back(loopback: Loopback, handset: Handset) -> None:
    again = Handset(loopback, handset.credentials, handset.account)
    async with handset.connected():
        await handset.until(Connected)
        await loopback.arm("half-open", scope=Scope(NUMBER, 1))
        async with again.connected():
            await again.until(Connected)
            with pytest.raises(TransportError):
                await handset.until(Closed)


async def test_slow_delays_what_the_server_says(loopback: Loopback, handset: Handset) -> None:
    async with handset.connected():
        await handset.until(Connected)
        await loopback.arm("slow", scope=Scope(NUMBER, 1), params=FaultParams(latency_ms=300))
        await loopback.arm("stream-503", scope=Scope(NUMBER, 1))
        began = trio.current_time()
        await handset.until(Closed)
        assert trio.current_time() - began >= 0.3


async def test_close_follows_the_last_word_after_a_moment(loopback: Loopback, handset: Handset) -> None:
    async with handset.connected():
        await handset.until(Connected)
        began = trio.current_time()  # when we hear of it depends on how busy we are
        await loopback.arm("stream-515", scope=Scope(NUMBER, 1))
        await handset.until(Closed)
        with pytest.raises(TransportError, match="1000"), trio.fail_after(5):
            await handset.receive()
        assert trio.current_time() - began >= LINGER_S


async def test_client_that_closes_is_gone_at_once(loopback: Loopback, handset: Handset) -> None:
    async with handset.connected():
        await handset.until(Connected)
    with trio.fail_after(5):
        while True:
            _, body = await loopback.call("GET", f"/sandbox/accounts/{NUMBER}")
            if b'"is_connected":false' in body:
                break
            await trio.sleep(0.01)


async def test_message_beyond_all_measure_ends_the_connection(loopback: Loopback) -> None:
    stream, _ = await raw_upgrade(loopback)
    async with stream:
        # An unmasked length is enough to see that the bound is on the message and not on what is buffered.
        size = MAX_MESSAGE + 1
        await stream.send_all(b"\x82\xff" + struct.pack(">Q", size) + b"\0\0\0\0")
        chunk = b"WA\x06\x03" + b"\xff\xff\xff" + bytes(2**20 - 7)
        with trio.fail_after(20):
            try:
                for _ in range(size // len(chunk) + 1):
                    await stream.send_all(chunk)
                answer = bytes(await stream.receive_some(100))
            except trio.BrokenResourceError:
                return
        assert answer[:2] == b"\x88\x02" or answer == b""


async def test_text_messages_are_ignored(loopback: Loopback) -> None:
    stream, _ = await raw_upgrade(loopback)
    async with stream:
        ws = Connection(ConnectionType.CLIENT)
        await stream.send_all(ws.send(TextMessage("hello")) + ws.send(Ping(b"still there?")))
        with trio.fail_after(5):
            ws.receive_data(bytes(await stream.receive_some(100)))
        assert [type(event) for event in ws.events()] == [Pong]


async def test_frames_may_be_split_over_messages(loopback: Loopback) -> None:
    handset = Handset.new(loopback)
    async with handset.connected():
        assert handset.connection is not None
        data = handset.connection.data_to_send()
        for start in range(0, len(data), 10):
            await handset.send(data[start : start + 10])
        await handset.until(QrIssued)


async def test_one_broken_peer_disturbs_nobody(loopback: Loopback, handset: Handset) -> None:
    async with handset.connected():
        await handset.until(Connected)
        for garbage in (b"\x16\x03\x01", b"GET\r\n\r\n", b"\x00" * 100):
            async with await loopback.stream() as stream:
                await stream.send_all(garbage)
        stream, _ = await raw_upgrade(loopback)
        async with stream:
            await stream.send_all(b"\xff" * 100)
        assert handset.connection is not None
        assert handset.connection.is_logged_in
        await loopback.arm("stream-515", scope=Scope(NUMBER, 1))
        await handset.until(Closed)


async def test_tls_serves_both_on_one_port() -> None:
    async with open_loopback(use_tls=True, seed=1) as loopback:
        assert loopback.ready.url.startswith("wss://")
        await loopback.create(NUMBER)
        handset = Handset.new(loopback)
        await handset.pair(NUMBER)
        async with handset.connected():
            await handset.until(Connected)
            await loopback.arm("drop", scope=Scope(NUMBER, 1))
            with pytest.raises(TransportError):
                await handset.until(Closed)


async def test_client_that_pings_and_reads_nothing_is_dropped(loopback: Loopback) -> None:
    """Its pongs must not pile up in our memory."""
    stream, _ = await raw_upgrade(loopback)
    ws = Connection(ConnectionType.CLIENT)
    pings = b"".join(ws.send(Ping(bytes(125))) for _ in range(2000))

    async def flood() -> None:
        while True:
            await stream.send_all(pings)

    async with stream:
        with trio.fail_after(30), pytest.raises(trio.BrokenResourceError):
            await flood()


async def test_pulse_rings_all_who_asked_once_and_together(autojump_clock: trio.testing.MockClock) -> None:
    rung: list[tuple[str, float]] = []
    pulse = Pulse(Clock(monotonic=trio.current_time))

    def ring(name: str) -> Callable[[], None]:
        return lambda: rung.append((name, trio.current_time()))

    ada, bob = ring("ada"), ring("bob")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pulse.run)
        await trio.sleep(GRID_S / 4)
        pulse.add(ada)
        pulse.add(ada)
        await trio.sleep(GRID_S / 4)
        pulse.add(bob)
        await trio.sleep(10 * GRID_S)
        assert sorted(name for name, _ in rung) == ["ada", "bob"]
        assert len({at for _, at in rung}) == 1
        assert rung[0][1] % GRID_S == pytest.approx(0, abs=1e-6) or rung[0][1] % GRID_S == pytest.approx(GRID_S)
        pulse.add(ada)
        await trio.sleep(2 * GRID_S)
        assert [name for name, _ in rung][2:] == ["ada"]
        nursery.cancel_scope.cancel()
