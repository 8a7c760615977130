from __future__ import annotations

import time

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.bootstrap.plain import MAX_HEAD, read_plain, write_answer

POST = b"POST /v1/x?a=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nX-A:  b \r\n\r\n{}"
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def test_plain_request_is_read_whole() -> None:
    plain = read_plain(POST)
    assert plain is not None
    assert (plain.method, plain.target, plain.body) == ("POST", "/v1/x?a=1", b"{}")
    assert plain.fields == {"host": "x", "content-length": "2", "x-a": "b"}
    assert "x" not in repr(plain).removeprefix("Plain")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        GET[:-2],
        POST[:-1],
        POST + b"x",
        GET + GET,
        GET.replace(b"GET", b"get"),
        GET.replace(b"GET", b"HEAD"),
        GET.replace(b" / ", b" http://x/ "),
        GET.replace(b" / ", b"  / "),
        GET.replace(b"1.1", b"1.0"),
        GET.replace(b"Host: x\r\n", b""),
        GET.replace(b"Host: x", b"Host: x\r\nHost: y"),
        GET.replace(b"Host: x", b"Host: x\r\n folded: y"),
        GET.replace(b"Host: x", b"Host : x"),
        GET.replace(b"Host: x", b"Host: x\nContent-Length: 0"),
        GET.replace(b"Host: x", b"Host: x\0"),
        GET.replace(b"Host: x", b"Host: \xff"),
        GET.replace(b"Host: x", b"Host: x\r\nConnection: close"),
        GET.replace(b"Host: x", b"Host: x\r\nConnection: keep-alive\r\nConnection: close"),
        GET.replace(b"Host: x", b"Host: x\r\nTransfer-Encoding: chunked"),
        GET.replace(b"Host: x", b"Host: x\r\nExpect: 100-continue"),
        GET.replace(b"Host: x", b"Host: x\r\nUpgrade: h2c"),
        GET.replace(b"Host: x", b"Host: x\r\nHTTP2-Settings: a"),
        GET.replace(b"Host: x", b"Host: " + b"x" * MAX_HEAD),
        POST.replace(b": 2", b": +2"),
        POST.replace(b": 2", b": 2, 2"),
        POST.replace(b": 2", b": \xb2"),
        POST.replace(b": 2", b": 2\r\nContent-Length: 2"),
        POST.replace(b": 2", b": 0000000002"),
        POST.replace(b": 2", b":"),
    ],
)
def test_whatever_is_not_plain_is_left_to_h11(data: bytes) -> None:
    assert read_plain(data) is None


@pytest.mark.parametrize(
    "line",
    [
        b"a:" + b" " * (MAX_HEAD - 100) + b"\xff",
        b"a:" + b"\t " * (MAX_HEAD // 2 - 100) + b"\x01",
        b"a: b" + b" " * (MAX_HEAD - 100) + b"\xff",
        b"a: " + b"b " * (MAX_HEAD // 2 - 100) + b"\xff",
        b"a" * (MAX_HEAD - 100),
    ],
)
def test_head_costs_no_more_than_its_length(line: bytes) -> None:
    """Whoever can connect can send it, and everybody waits meanwhile."""
    data = GET.replace(b"Host: x", b"Host: x\r\n" + line)
    began_at = time.thread_time()
    assert read_plain(data) is None
    assert time.thread_time() - began_at < 0.1


_PIECES = st.sampled_from(
    [b"GET / HTTP/1.1", b"POST /a%20b?c HTTP/1.1", b"\r\n", b"\r\n\r\n", b"\n", b"\r", b" ", b"\t", b":", b"Host: x",
     b"Host:x", b"Content-Length: 2", b"content-length:0", b"Connection: Keep-Alive", b"Connection: close", b"a: b c",
     b"\x0b", b"{}", b"\xff", b"Transfer-Encoding: chunked"]
)  # fmt: skip


@given(st.lists(_PIECES, max_size=12), st.booleans())
def test_what_is_read_is_what_h11_reads(pieces: list[bytes], is_framed: bool) -> None:
    data = b"".join(pieces)
    if is_framed:
        data = b"GET / HTTP/1.1\r\nHost: x\r\n" + b"\r\n".join(pieces) + b"\r\n\r\n"
    plain = read_plain(data)
    if plain is None:
        return
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    request = connection.next_event()
    assert isinstance(request, h11.Request)
    assert (request.method.decode(), request.target.decode()) == (plain.method, plain.target)
    first = {name.decode(): value.decode() for name, value in reversed(list(request.headers))}
    assert first == plain.fields
    body, event = b"", connection.next_event()
    while isinstance(event, h11.Data):
        body, event = body + event.data, connection.next_event()
    assert isinstance(event, h11.EndOfMessage)
    assert body == plain.body
    assert connection.trailing_data == (b"", False)
    assert connection.our_state is h11.SEND_RESPONSE


def test_answer_is_one_that_h11_reads() -> None:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    client.send(h11.EndOfMessage())
    client.receive_data(write_answer(202, {"X-A": "b"}, b"{}"))
    head = client.next_event()
    assert isinstance(head, h11.Response)
    assert (head.status_code, list(head.headers)) == (202, [(b"x-a", b"b"), (b"content-length", b"2")])
    body = client.next_event()
    assert isinstance(body, h11.Data)
    assert body.data == b"{}"
    assert isinstance(client.next_event(), h11.EndOfMessage)


def test_answer_without_a_body_names_no_length() -> None:
    assert write_answer(204, {"X-A": "b"}, b"") == b"HTTP/1.1 204 \r\nx-a: b\r\n\r\n"


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "a\rb", "a\0", "\u20ac"])
def test_header_that_is_no_line_is_not_written(value: str) -> None:
    with pytest.raises(ValueError, match=r"line|latin-1"):
        write_answer(200, {"X-A": value}, b"")
