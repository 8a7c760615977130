from __future__ import annotations

import pytest

from tests.unit.whatisup.sandbox.bench import Raw, make_bench
from whatisup.errors import RemoteProtocolError
from whatisup.protocol.outcomes import build_stream_error
from whatisup.sandbox.hub import Ending
from whatisup.sandbox.session import LARGE, Compression
from whatisup.wire import Node, decode_node, encode_frame

SMALL = Node("ib", {}, (Node("thread_metadata"),))
BIG = Node("ib", {}, (Node("thread_metadata", {}, b"x" * LARGE),))


def compressed(compression: Compression, node: Node) -> bool:
    raw = Raw.registering(make_bench(compression=compression))
    raw.plaintexts()
    raw.client.session.send(node)
    (plaintext,) = raw.plaintexts()
    assert decode_node(plaintext) == node
    return bool(plaintext[0] & 2)


@pytest.mark.parametrize(
    ("compression", "small", "big"),
    [(Compression.LARGE, False, True), (Compression.ALL, True, True), (Compression.NONE, False, False)],
)
def test_session_compresses_as_told(compression: Compression, small: bool, big: bool) -> None:
    assert compressed(compression, SMALL) is small
    assert compressed(compression, BIG) is big


@pytest.mark.parametrize("tag", ["stream:error", "failure", "success"])
def test_session_never_compresses_what_a_close_may_follow(tag: str) -> None:
    assert not compressed(Compression.ALL, Node(tag, {}, b"x" * LARGE))


def test_session_reads_bytes_one_by_one_as_a_whole() -> None:
    bench = make_bench()
    device = bench.device()
    device.plug()
    assert device.connection is not None
    assert device.client is not None
    for byte in device.connection.data_to_send():
        bench.server.receive(device.client, bytes([byte]))
    assert device.client.session.data_to_send()


def test_session_refuses_a_prologue_that_is_none() -> None:
    bench = make_bench()
    client = bench.server.connect(lambda: None)
    bench.server.receive(client, b"GET / HTTP/1.1\r\n")
    assert client.ending is Ending.CLOSE


def test_session_refuses_a_resumed_handshake() -> None:
    bench = make_bench()
    client = bench.server.connect(lambda: None)
    # ClientHello { ephemeral, static }
    hello = b"\x12\x44" + b"\x0a\x20" + b"e" * 32 + b"\x12\x20" + b"s" * 32
    bench.server.receive(client, b"WA\x06\x03" + encode_frame(hello))
    assert client.ending is Ending.CLOSE
    assert client.session.data_to_send() == b""


def test_session_ends_when_a_frame_does_not_decrypt() -> None:
    bench = make_bench()
    raw = Raw.registering(bench)
    raw.received()
    bench.server.receive(raw.client, encode_frame(b"garbage" * 8))
    assert raw.client.ending is Ending.CLOSE
    assert raw.received() == []


def test_session_garbage_cannot_be_decrypted() -> None:
    raw = Raw.registering(make_bench())
    raw.received()
    raw.client.session.send_garbage()
    with pytest.raises(RemoteProtocolError):
        raw.received()


def test_session_answers_a_malformed_stanza_with_a_stream_error() -> None:
    raw = Raw.registering(make_bench())
    raw.received()
    raw.send_plaintext(b"\x00\xf8\x05\x03")
    assert raw.received() == [build_stream_error(child=Node("xml-not-well-formed"))]
    assert raw.client.ending is Ending.CLOSE
