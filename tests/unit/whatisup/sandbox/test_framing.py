"""The server's half of RFC 6455 against the rules, against another implementation, and against anything at all."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

from whatisup.sandbox.framing import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    BrokenFrames,
    ClientFrames,
    TooLarge,
    encode,
    encode_close,
)

BOUND = 200_000
SIZES = st.one_of(st.integers(0, 300), st.sampled_from([125, 126, 127, 65535, 65536, 65537]))
EVENTS = st.one_of(
    st.builds(lambda size, is_last: BytesMessage(b"x" * size, message_finished=is_last), SIZES, st.booleans()),
    st.builds(lambda body: Ping(body), st.binary(max_size=125)),
    st.builds(lambda body: Pong(body), st.binary(max_size=125)),
)
KEY = b"\0\0\0\0"


def read(data: bytes, cuts: list[int]) -> tuple[list[tuple[int, bytes]], type[Exception] | None]:
    """Feed `data` in pieces: the frames, and the refusal."""
    reader, frames = ClientFrames(BOUND), []
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    try:
        for begin, end in itertools.pairwise(edges):
            reader.receive_data(data[begin:end])
            while (frame := reader.next()) is not None:
                frames.append(frame)
    except (BrokenFrames, TooLarge) as error:
        return frames, type(error)
    return frames, None


@given(st.lists(EVENTS, max_size=8), st.lists(st.integers(0, 1 << 20), max_size=20))
def test_what_another_client_sends_is_read_in_any_pieces(
    events: list[BytesMessage | Ping | Pong], cuts: list[int]
) -> None:
    client, sent = Connection(ConnectionType.CLIENT), []
    for event in events:
        match event:
            case BytesMessage():
                sent.append((BINARY, bytes(event.data)))
            case Ping():
                sent.append((PING, bytes(event.payload)))
            case Pong():
                sent.append((PONG, bytes(event.payload)))
    frames, refusal = read(b"".join(client.send(event) for event in events), cuts)
    if refusal is TooLarge:  # fragments that together are more than a message may be
        assert sum(len(body) for kind, body in sent if kind == BINARY) > BOUND
    else:
        assert (frames, refusal) == (sent, None)


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=20))
def test_garbage_is_refused_or_waited_for_alike_in_any_pieces(data: bytes, cuts: list[int]) -> None:
    assert read(data, cuts) == read(data, [])


@given(st.lists(st.tuples(st.sampled_from([BINARY, PING, PONG]), st.integers(0, 125)), max_size=5), SIZES)
def test_another_client_reads_what_we_write(frames: list[tuple[int, int]], size: int) -> None:
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(b"".join(encode(kind, bytes(length)) for kind, length in frames))
    client.receive_data(encode(BINARY, bytes(size)) + encode_close(1009))
    *events, last = client.events()
    assert isinstance(last, CloseConnection)
    assert last.code == 1009
    kinds = {BINARY: BytesMessage, PING: Ping, PONG: Pong}
    assert [type(event) for event in events] == [kinds[kind] for kind, _ in frames] + [BytesMessage]
    assert sum(len(event.data) for event in events if isinstance(event, BytesMessage)) == size + sum(
        length for kind, length in frames if kind == BINARY
    )


@pytest.mark.parametrize(
    "data",
    [
        b"\x82\x01a",  # not masked
        b"\xc2\x80" + KEY,  # a reserved bit
        b"\x83\x80" + KEY,  # no such kind
        b"\x8b\x80" + KEY,  # no such kind of control frame
        b"\x09\x80" + KEY,  # a control frame in fragments
        b"\x89\xfe\x00\x7e" + KEY,  # a control frame that is too long
        b"\x82\xfe\x00\x7d" + KEY,  # a length longer than it need be
        b"\x82\xff" + (65535).to_bytes(8, "big") + KEY,
        b"\x80\x80" + KEY,  # the continuation of nothing
        b"\x02\x80" + KEY + b"\x82\x80" + KEY,  # a message within another
        b"\x88\x81" + KEY + b"a",  # half a code
    ],
)
def test_what_no_client_may_send_is_refused(data: bytes) -> None:
    assert read(data, [])[1] is BrokenFrames


def test_message_is_bounded_with_all_its_fragments_and_before_its_body() -> None:
    head = b"\x82\xff" + (BOUND + 1).to_bytes(8, "big")
    assert read(head, [])[1] is TooLarge
    client = Connection(ConnectionType.CLIENT)
    parts = [client.send(BytesMessage(bytes(BOUND // 2), message_finished=is_last)) for is_last in (False, False, True)]
    assert read(parts[0] + parts[1], [])[1] is None
    assert read(b"".join(parts), [])[1] is TooLarge


def test_text_is_told_apart_in_all_its_fragments() -> None:
    client = Connection(ConnectionType.CLIENT)
    data = client.send(TextMessage("a", message_finished=False)) + client.send(TextMessage("b"))
    assert read(data + client.send(CloseConnection(1000)), [])[0] == [
        (TEXT, b"a"),
        (TEXT, b"b"),
        (CLOSE, b"\x03\xe8"),
    ]
