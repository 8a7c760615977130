"""Prologue and frames: however the bytes arrive, the same comes out."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whatisup.errors import LocalProtocolError, RemoteProtocolError
from whatisup.wire import MAX_FRAME, WA_HEADER, FrameDecoder, Prologue, PrologueDecoder, encode_frame, encode_prologue
from whatisup.wire.frame import MAX_BUFFERED, MAX_ROUTING_INFO

NOISE = json.loads((Path(__file__).parents[3] / "vectors" / "transport.json").read_text("utf-8"))["noise"]
PLAIN = bytes.fromhex(NOISE["first_client_bytes_on_wire_hex"])
ROUTED = bytes.fromhex(NOISE["first_client_bytes_with_routing_info_0802080c_hex"])
HELLO = bytes.fromhex(NOISE["client_hello_hex"])


def frames(*chunks):
    decoder, out = FrameDecoder(), []
    for chunk in chunks:
        decoder.receive_data(chunk)
        while (frame := decoder.next_frame()) is not None:
            out.append(frame)
    return out


def singly(data):
    return [bytes([byte]) for byte in data]


def test_frame_has_a_big_endian_length():
    assert encode_frame(b"abc") == b"\0\0\3abc"
    assert encode_frame(bytes(0x010203))[:3] == b"\1\2\3"


def test_frame_length_is_bounded():
    assert encode_frame(bytes(MAX_FRAME))[:3] == b"\xff\xff\xff"
    with pytest.raises(LocalProtocolError):
        encode_frame(bytes(MAX_FRAME + 1))


def test_frames_match_the_vectors():
    for name in ("server_hello", "client_finish"):
        payload, wire = bytes.fromhex(NOISE[f"{name}_hex"]), bytes.fromhex(NOISE[f"{name}_on_wire_hex"])
        assert encode_frame(payload) == wire
        assert frames(wire) == [payload]


def test_frame_decoder_counts_what_it_holds():
    decoder = FrameDecoder()
    decoder.receive_data(encode_frame(b"abc") + b"\0\0")
    assert decoder.buffered == 8
    assert decoder.next_frame() == b"abc"
    assert decoder.buffered == 2
    assert decoder.next_frame() is None


def test_frame_decoder_takes_the_largest_frame():
    assert [len(frame) for frame in frames(b"\xff\xff\xff" + bytes(MAX_FRAME))] == [MAX_FRAME]


def test_frame_decoder_is_bounded():
    decoder = FrameDecoder()
    decoder.receive_data(bytes(MAX_BUFFERED))
    with pytest.raises(RemoteProtocolError):
        decoder.receive_data(b"\0")


def test_frame_decoder_stays_linear_over_many_frames():
    # Quadratic would mean moving some 10**12 bytes.
    started_at = time.perf_counter()
    assert len(frames(encode_frame(b"") * 1_000_000)) == 1_000_000
    assert time.perf_counter() - started_at < 20


@given(st.lists(st.binary(max_size=20), max_size=6), st.binary(max_size=2))
@settings(max_examples=100, deadline=None)
def test_frames_byte_by_byte_equal_whole(payloads, rest):
    data = b"".join(map(encode_frame, payloads)) + rest
    assert frames(data) == payloads
    assert frames(*singly(data)) == payloads


@given(st.lists(st.binary(max_size=40), max_size=5))
@settings(max_examples=100, deadline=None)
def test_frame_decoder_takes_anything(chunks):
    out, data = frames(*chunks), b"".join(chunks)
    assert data.startswith(b"".join(map(encode_frame, out)))


# The prologue


def test_prologue_is_the_header_and_perhaps_routing_info():
    assert encode_prologue() == encode_prologue(None) == encode_prologue(b"") == WA_HEADER == bytes.fromhex("57410603")
    assert encode_prologue(None) + encode_frame(HELLO) == PLAIN
    assert encode_prologue(bytes.fromhex("0802080c")) + encode_frame(HELLO) == ROUTED


def test_prologue_routing_info_is_bounded():
    longest = bytes(MAX_ROUTING_INFO)
    assert PrologueDecoder().feed(encode_prologue(longest)) == (Prologue(WA_HEADER, longest), b"")
    with pytest.raises(LocalProtocolError):
        encode_prologue(longest + b"\0")
    with pytest.raises(RemoteProtocolError):
        PrologueDecoder().feed(b"ED\0\1\1\0\0")


@pytest.mark.parametrize(
    ("data", "info"), [(PLAIN, None), (ROUTED, bytes.fromhex("0802080c"))], ids=["plain", "routed"]
)
def test_prologue_decoder_gives_the_rest_back(data, info):
    assert PrologueDecoder().feed(data) == (Prologue(WA_HEADER, info), encode_frame(HELLO))


@pytest.mark.parametrize("data", [encode_prologue(), encode_prologue(b"routing")], ids=["plain", "routed"])
def test_prologue_byte_by_byte_equals_whole(data):
    decoder = PrologueDecoder()
    *early, last = [decoder.feed(byte) for byte in singly(data)]
    assert early == [None] * len(early)
    assert last == PrologueDecoder().feed(data)


@pytest.mark.parametrize(
    "data",
    [
        b"X",
        b"WX",
        b"WA\5",
        b"WA\6\2",
        b"WA\6\4",
        b"EX",
        b"ED\0\2",
        b"ED\1",
        b"ED\0\1\0\0\1aX",
        b"ED\0\1\0\0\0E",
        b"G",
    ],
)
def test_prologue_decoder_refuses_at_the_first_wrong_byte(data):
    decoder = PrologueDecoder()
    assert decoder.feed(data[:-1]) is None
    with pytest.raises(RemoteProtocolError):
        decoder.feed(data[-1:])


def outcome(chunks):
    decoder = PrologueDecoder()
    for number, chunk in enumerate(chunks):
        try:
            result = decoder.feed(chunk)
        except RemoteProtocolError:
            return "refused"
        if result is not None:
            return result[0], result[1] + b"".join(chunks[number + 1 :])
    return None


@st.composite
def openings(draw):
    """A client's first bytes with a few of them replaced."""
    data = draw(st.sampled_from([PLAIN, ROUTED]))
    start, patch = draw(st.integers(0, 20)), draw(st.binary(max_size=3))
    return data[:start] + patch + data[start + len(patch) :]


@given(st.one_of(st.binary(max_size=20), openings()))
@settings(max_examples=300, deadline=None)
def test_prologue_decoder_takes_anything_the_same_way_in_pieces(data):
    assert outcome([data]) == outcome(singly(data))
