"""Our half of RFC 6455 against the rules, against another implementation, and against anything at all."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

from actors.transport.framing import MAX_MESSAGE_BYTES, FrameReader, Opcode, encode, encode_close, mask
from whatisup.errors import TransportError

SIZES = st.one_of(st.integers(0, 300), st.sampled_from([125, 126, 127, 65535, 65536, 65537]))
EVENTS = st.one_of(
    st.builds(lambda size, is_last: BytesMessage(bytes(size), message_finished=is_last), SIZES, st.booleans()),
    st.builds(lambda body: Ping(body), st.binary(max_size=125)),
    st.builds(lambda body: Pong(body), st.binary(max_size=125)),
)


def read(data: bytes, cuts: list[int]) -> tuple[bytes, list[bytes], int | None, str]:
    """Feed `data` in pieces: what came out, the pings, the close, and the refusal."""
    reader, out, pings, refusal = FrameReader(), b"", [], ""
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    try:
        for begin, end in itertools.pairwise(edges):
            reader.receive_data(data[begin:end])
            out += reader.take()
            if reader.ping is not None:
                pings.append(reader.ping)
                reader.ping = None
    except TransportError as error:
        refusal = str(error)
    return out, pings, reader.close_code, refusal


@given(st.lists(EVENTS, max_size=8), st.lists(st.integers(0, 1 << 20), max_size=20))
def test_what_another_server_sends_is_read_in_any_pieces(
    events: list[BytesMessage | Ping | Pong], cuts: list[int]
) -> None:
    server = Connection(ConnectionType.SERVER)
    data = b"".join(server.send(event) for event in events) + server.send(BytesMessage(b"end"))
    sent = b"".join(bytes(event.data) for event in events if isinstance(event, BytesMessage)) + b"end"
    assert read(data, cuts)[::3] == (sent, "")


@given(st.lists(EVENTS, max_size=4))
def test_byte_by_byte_is_as_the_whole(events: list[BytesMessage | Ping | Pong]) -> None:
    server = Connection(ConnectionType.SERVER)
    data = b"".join(server.send(event) for event in events)
    data = (data + server.send(BytesMessage(b"end")))[:4000]
    assert read(data, list(range(len(data))))[0] == read(data, [])[0]


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=20))
def test_garbage_is_refused_or_waited_for_alike_in_any_pieces(data: bytes, cuts: list[int]) -> None:
    whole, pieces = read(data, []), read(data, cuts)
    if not whole[3]:  # up to a refusal, pieces may have handed out what came before
        assert (whole[0], whole[2]) == (pieces[0], pieces[2])
    assert whole[3] == pieces[3]


@given(st.sampled_from([Opcode.BINARY, Opcode.TEXT]), SIZES)
def test_what_we_send_another_server_reads(opcode: Opcode, size: int) -> None:
    server = Connection(ConnectionType.SERVER)
    body = (b"body of a message " * (size // 18 + 1))[:size]
    server.receive_data(encode(opcode, body))
    events = list(server.events())
    assert all(isinstance(event, BytesMessage | TextMessage) for event in events)
    parts = [event.data for event in events if isinstance(event, BytesMessage | TextMessage)]
    assert b"".join(part.encode() if isinstance(part, str) else bytes(part) for part in parts) == body


def test_our_close_is_one() -> None:
    server = Connection(ConnectionType.SERVER)
    server.receive_data(encode_close(1000))
    (close,) = server.events()
    assert isinstance(close, CloseConnection)
    assert close.code == 1000


@given(st.binary(max_size=70), st.binary(min_size=4, max_size=4))
def test_masking_is_byte_by_byte(payload: bytes, key: bytes) -> None:
    assert mask(payload, key) == bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))


def test_every_frame_has_a_mask_of_its_own() -> None:
    assert len({encode(Opcode.BINARY, bytes(8)) for _ in range(8)}) == 8


@pytest.mark.parametrize(
    "frame",
    [
        b"\xc2\x00",  # a reserved bit: compression was not agreed on
        b"\x82\x81",  # masked
        b"\x83\x00",  # opcodes that mean nothing
        b"\x8b\x00",
        b"\x80\x00",  # a continuation of nothing
        b"\x02\x00\x82\x00",  # a message within a message
        b"\x09\x00",  # a fragmented ping
        b"\x89\x7e\x00\x80",  # a large ping
        b"\x82\x7e\x00\x05",  # lengths longer than need be
        b"\x82\x7f" + (65535).to_bytes(8, "big"),
        b"\x82\x7f\x80" + bytes(7),
        b"\x88\x01\x03",  # half a close code
        b"\x82\x7f" + (MAX_MESSAGE_BYTES + 1).to_bytes(8, "big"),
    ],
)
def test_what_no_server_may_send_is_refused_by_its_head(frame: bytes) -> None:
    reader = FrameReader()
    reader.receive_data(frame)
    with pytest.raises(TransportError):
        reader.take()


def test_fragments_are_bounded_together() -> None:
    reader, size = FrameReader(), 1 << 20
    part = b"\x00\x7f" + size.to_bytes(8, "big") + bytes(size)
    reader.receive_data(b"\x02" + part[1:])
    assert reader.take() == b""
    refused = False
    for _ in range(MAX_MESSAGE_BYTES // size):
        reader.receive_data(part)
        try:
            assert reader.take() == b""
        except TransportError:
            refused = True
    assert refused


def test_the_largest_message_passes() -> None:
    reader = FrameReader()
    head = b"\x82\x7f" + MAX_MESSAGE_BYTES.to_bytes(8, "big")
    body = bytes(MAX_MESSAGE_BYTES)
    for begin in range(0, len(body), 1 << 20):
        reader.receive_data((head if begin == 0 else b"") + body[begin : begin + (1 << 20)])
        data = reader.take()
    assert data == body


def test_text_is_skipped_also_in_fragments_and_a_close_ends_it() -> None:
    reader = FrameReader()
    reader.receive_data(b"\x81\x01a\x01\x01b\x80\x01\xff\x82\x01c\x88\x02\x03\xe9\x82\x01d")
    assert reader.take() == b"c"
    assert reader.close_code == 1001
    assert reader.take() == b""
