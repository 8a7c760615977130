"""The upgrade: what we ask, and which answers count as a websocket server's."""

from __future__ import annotations

import contextlib

import pytest
import wsproto
from hypothesis import given
from hypothesis import strategies as st
from wsproto.events import AcceptConnection, Request
from wsproto.handshake import H11Handshake

from actors.transport.upgrade import MAX_HEAD_BYTES, ORIGIN, build_request, read_answer
from whatisup.errors import TransportError, UpgradeRefused

KEY = bytes(range(16))
URL = "wss://user:secret@web.whatsapp.com:5222/ws/chat?ED=abc"


def good() -> bytes:
    server = H11Handshake(wsproto.ConnectionType.SERVER)
    server.receive_data(build_request(URL, KEY))
    next(server.events())
    return server.send(AcceptConnection())


def test_another_server_reads_our_request() -> None:
    server = H11Handshake(wsproto.ConnectionType.SERVER)
    server.receive_data(build_request(URL, KEY))
    request = next(server.events())
    assert isinstance(request, Request)
    assert (request.host, request.target) == ("web.whatsapp.com:5222", "/ws/chat?ED=abc")
    assert (b"origin", ORIGIN.encode()) in [(name.lower(), value) for name, value in request.extra_headers]


@pytest.mark.parametrize("url", ["ws://host/a b", "ws://host/\r\nX: y", "ws://h\u00f6st/"])
def test_a_url_cannot_smuggle_a_header(url: str) -> None:
    with contextlib.suppress(TransportError):
        assert build_request(url, KEY).count(b"\r\n") == 8


def test_the_answer_may_come_in_any_pieces() -> None:
    answer = good()
    for end in range(len(answer)):
        assert read_answer(answer[:end], KEY) is None
    assert read_answer(answer, KEY) == b""
    assert read_answer(answer + b"\x82\x01a", KEY) == b"\x82\x01a"


@pytest.mark.parametrize("status", [200, 301, 403, 503])
def test_another_status_is_told(status: int) -> None:
    with pytest.raises(UpgradeRefused) as refused:
        read_answer(b"HTTP/1.1 %d Any thing\r\n\r\n" % status, KEY)
    assert refused.value.status == status


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"HTTP/1.1 101", b"HTTP/1.0 101"),
        (b"HTTP/1.1 101", b"HTTP/1.1 101x"),
        (b"HTTP/1.1 101", b"SSH-2.0-OpenSSH"),
        (b"Upgrade: websocket", b"Upgrade: h2c"),
        (b"Connection: Upgrade", b"Connection: close"),
        (b"\r\n\r\n", b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"),
        (b"\r\n\r\n", b"\r\nSec-WebSocket-Protocol: chat\r\n\r\n"),
        (b"\r\n\r\n", b"\r\n folded: no\r\n\r\n"),
        (b"\r\n\r\n", b"\r\nno colon\r\n\r\n"),
        (b"\r\n\r\n", b"\r\nx: " + b"y" * MAX_HEAD_BYTES + b"\r\n\r\n"),
    ],
)
def test_what_is_no_websocket_server_is_refused(old: bytes, new: bytes) -> None:
    changed = good().replace(old, new)
    assert changed != good()
    with pytest.raises(TransportError):
        read_answer(changed, KEY)


def test_an_answer_for_another_key_is_refused() -> None:
    with pytest.raises(TransportError):
        read_answer(good(), bytes(16))


@given(st.binary(max_size=300))
def test_anything_else_is_refused_or_waited_for(data: bytes) -> None:
    for answer in (data, b"HTTP/1.1 101 ok\r\n" + data, good()[:40] + data):
        with contextlib.suppress(TransportError):
            assert read_answer(answer, KEY) is None
