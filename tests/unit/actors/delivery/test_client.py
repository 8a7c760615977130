"""The table of outcomes, by real sockets on loopback: whatever a receiver does, an attempt ends, small and clean."""

from __future__ import annotations

import gzip
import tracemalloc

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import actors.delivery.client as client_module
from actors.delivery.client import Outcome
from tests.unit.actors.delivery.receivers import (
    BODY,
    CHUNKED,
    LONG,
    OK,
    SHORT_S,
    Receiver,
    Script,
    Stream,
    answer,
    drip,
    flood,
    opened,
    serving,
    status,
)

pytestmark = pytest.mark.usefixtures("no_socket_is_left")


async def outcome_of(script: Script, timeout_s: float = 5.0) -> Outcome:
    async with serving(script) as receiver:
        async with opened(timeout_s=timeout_s) as client:
            outcome = await client.post(receiver.url, {"X-A": "b"}, BODY, is_live=False)
        with trio.fail_after(2):
            while receiver.ended < receiver.accepted:
                await trio.sleep(0.01)
    return outcome


@pytest.mark.parametrize(
    ("script", "expected_status", "error"),
    [
        pytest.param(answer(OK), 200, None, id="200"),
        pytest.param(answer(status("201 Created")), 201, None, id="201"),
        pytest.param(answer(b"HTTP/1.1 204 No Content\r\n\r\n"), 204, None, id="204"),
        pytest.param(answer(b"HTTP/1.0 200 OK\r\n\r\nold", then="close"), 200, None, id="HTTP/1.0"),
        pytest.param(answer(b"HTTP/1.1 100 Continue\r\n\r\n", OK), 200, None, id="100-continue"),
        pytest.param(answer(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", OK), 200, None, id="103"),
        pytest.param(answer(status("500 Oh")), 500, "http_500", id="500"),
        pytest.param(answer(status("404 No")), 404, "http_404", id="404"),
        pytest.param(answer(status("410 Gone")), 410, "http_410", id="410"),
        pytest.param(answer(status("429 Slow", "Retry-After: 1")), 429, "http_429", id="429"),
        pytest.param(answer(status("999 Odd")), 999, "http_999", id="999"),
        pytest.param(answer(b"HTTP/1.1 304 Same\r\n\r\n"), 304, "redirect", id="304"),
        pytest.param(
            answer(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhal", then="close"), 200, None, id="in body"
        ),
        pytest.param(answer(CHUNKED + b"zzz\r\n"), 200, None, id="chunked garbage"),
        pytest.param(answer(CHUNKED + b"3\r\nabc\r\nFFFFFFFFFFFFFFFFFFFFFFFFF\r\n"), 200, None, id="chunk without end"),
        pytest.param(answer(b"not HTTP at all\r\n\r\n"), None, "bad_response", id="garbage"),
        pytest.param(answer(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), None, "bad_response", id="binary"),
        pytest.param(answer(b"SSH-2.0-OpenSSH_9.6\r\n", then="close"), None, "closed", id="another protocol"),
        pytest.param(answer(b"HTTP/1.1 20 OK\r\n\r\n"), None, "bad_response", id="short status"),
        pytest.param(answer(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n"), None, "bad_response", id="101"),
        pytest.param(
            answer(b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n"),
            None,
            "bad_response",
            id="length",
        ),
        pytest.param(answer(status("200 OK", "Content-Length: 5")), None, "bad_response", id="two lengths"),
        pytest.param(answer(b"", then="close"), None, "closed", id="closes at once"),
        pytest.param(answer(b"HTTP/1.1 200 OK\r\nContent-Le", then="close"), None, "closed", id="closes mid-headers"),
        pytest.param(answer(b"HTTP/1.1 100 Continue\r\n\r\n", then="close"), None, "closed", id="closes after 100"),
        pytest.param(flood(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n" * 500), None, "response_too_large", id="more headers"),
        pytest.param(flood(b"HTTP/1.1 200 OK\r\nX: ", b"a" * 4096), None, "response_too_large", id="endless header"),
        pytest.param(flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 99), None, "response_too_large", id="1xx flood"),
        pytest.param(flood(LONG, b"x" * 65536), 200, None, id="endless body"),
        pytest.param(flood(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536), 200, None, id="endless body without length"),
        pytest.param(flood(CHUNKED, b"1\r\nx\r\n" * 999), 200, None, id="endless little chunks"),
        pytest.param(flood(CHUNKED + b"1;", b"a" * 999), 200, None, id="endless chunk extension"),
        pytest.param(flood(CHUNKED + b"0\r\n", b"X: y\r\n" * 99), 200, None, id="endless trailers"),
    ],
)
async def test_outcome(script: Script, expected_status: int | None, error: str | None) -> None:
    outcome = await outcome_of(script)
    assert (outcome.status, outcome.error) == (expected_status, error)
    assert outcome.is_delivered == (error is None)
    assert len(outcome.response) <= 1024


@pytest.mark.parametrize(
    ("script", "expected_status", "error"),
    [
        pytest.param(answer(then="hang"), None, "timeout", id="before headers"),
        pytest.param(answer(b"HTTP/1.1 200 OK\r\nCont", then="hang"), None, "timeout", id="in headers"),
        pytest.param(drip(OK, 0.05), None, "timeout", id="slow drip of headers"),
        pytest.param(answer(LONG + b"some", then="hang"), 200, None, id="in body"),
        pytest.param(answer(LONG.replace(b"200", b"503") + b"some", then="hang"), 503, "http_503", id="in body of 503"),
        pytest.param(answer(CHUNKED, then="hang"), 200, None, id="in chunks"),
    ],
)
async def test_hanging_receiver_is_left_in_time(script: Script, expected_status: int | None, error: str | None) -> None:
    began = trio.current_time()
    outcome = await outcome_of(script, timeout_s=SHORT_S)
    assert (outcome.status, outcome.error) == (expected_status, error)
    assert trio.current_time() - began < SHORT_S + 1
    assert abs(outcome.duration_ms - SHORT_S * 1000) < 300


async def test_body_that_hangs_costs_less_than_the_whole_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "BODY_TIMEOUT_S", 0.2)
    outcome = await outcome_of(answer(LONG + b"some", then="hang"), timeout_s=30)
    assert (outcome.status, outcome.error, outcome.response) == (200, None, b"some")
    assert outcome.duration_ms < 2000


async def test_receiver_that_reads_nothing_is_left_in_time() -> None:
    async def script(receiver: Receiver, stream: Stream) -> None:
        await trio.sleep_forever()

    async with serving(script) as receiver, opened(timeout_s=SHORT_S) as client:
        outcome = await client.post(receiver.url, {}, bytes(32 << 20), is_live=False)
    assert (outcome.status, outcome.error) == (None, "timeout")


async def test_receiver_that_answers_before_it_has_read_is_heard() -> None:
    async def script(receiver: Receiver, stream: Stream) -> None:
        await stream.receive_some(100)
        await stream.send_all(status("413 Too large"))
        await trio.sleep(0.2)

    async with serving(script) as receiver, opened() as client:
        outcome = await client.post(receiver.url, {}, bytes(32 << 20), is_live=False)
    assert outcome.status in (413, None)
    assert outcome.error in ("http_413", "closed")


@pytest.mark.parametrize(("size", "error"), [(30 * 1024, None), (40 * 1024, "response_too_large")])
async def test_headers_have_32_kib(size: int, error: str | None) -> None:
    outcome = await outcome_of(answer(status("200 OK", "X: " + "a" * size)))
    assert outcome.error == error


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_redirect_is_not_followed(code: int) -> None:
    async with serving(answer(OK)) as inside:
        outcome = await outcome_of(answer(status(f"{code} Over there", f"Location: {inside.url}")))
        assert (outcome.status, outcome.error) == (code, "redirect")
        assert inside.accepted == 0


async def test_what_is_sent() -> None:
    async with serving(answer(OK)) as receiver, opened() as client:
        framing = {"Host": "evil", "Content-Length": "1", "transfer-encoding": "chunked", "X-A": "b"}
        outcome = await client.post(receiver.url, framing, BODY, is_live=False)
    [(head, body)] = receiver.requests
    assert outcome.response == b"ok"
    assert body == BODY
    assert sorted(head.decode().split("\r\n")) == [
        "Accept-Encoding: identity",
        "Accept: */*",
        f"Content-Length: {len(BODY)}",
        f"Host: 127.0.0.1:{receiver.port}",
        "POST /hook?token=s3cret HTTP/1.1",
        "X-A: b",
    ]


async def test_no_cookie_is_kept() -> None:
    async with serving(answer(status("200 OK", "Set-Cookie: a=b"))) as receiver, opened() as client:
        for _ in range(2):
            await client.post(receiver.url, {}, BODY, is_live=False)
    assert all(b"ookie" not in head for head, _ in receiver.requests)
    assert len(receiver.requests) == 2


@pytest.mark.parametrize("headers", [{"X": "a\r\nHost: b"}, {"X\r\nY": "a"}, {"X": "a\0"}, {"X": "ü"}, {"": "a"}])
async def test_headers_that_http_cannot_carry_are_not_sent(headers: dict[str, str]) -> None:
    async with serving(answer(OK)) as receiver, opened() as client:
        outcome = await client.post(receiver.url, headers, BODY, is_live=False)
        assert (outcome.status, outcome.error) == (None, "request_refused")
        assert receiver.requests == []


async def test_nobody_listens() -> None:
    async with serving(answer(OK)) as receiver:
        pass
    async with opened() as client:
        outcome = await client.post(receiver.url, {}, BODY, is_live=False)
    assert (outcome.status, outcome.error, outcome.response) == (None, "connect_failed", b"")


async def test_compressed_bodies_are_not_opened() -> None:
    bomb = gzip.compress(bytes(10 << 20))
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n".encode()
    outcome = await outcome_of(answer(head + bomb))
    assert outcome.response == bomb[:1024]


async def test_memory_stays_bounded_against_floods() -> None:
    async with serving(flood(LONG, b"x" * 65536)) as receiver, opened(max_connections=16) as client:

        async def attempt() -> None:
            await client.post(receiver.url, {}, BODY, is_live=False)

        tracemalloc.start()
        async with trio.open_nursery() as nursery:
            for _ in range(16):
                nursery.start_soon(attempt)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 16 * 256 * 1024


async def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(answer(OK)) as proxy, serving(answer(OK)) as receiver, opened() as client:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert (await client.post(receiver.url, {}, BODY, is_live=False)).is_delivered
    assert (proxy.accepted, receiver.accepted) == (0, 1)


LINES = st.sampled_from(
    (
        b"HTTP/1.1 200 OK|HTTP/1.1 100 C|HTTP/1.0 500|Content-Length: 3|Transfer-Encoding: chunked|Content-Length: -1|"
        b"Transfer-Encoding: gzip|Connection: upgrade||3|0|abc| x|:"
    ).split(b"|")
)
MESS = st.one_of(
    st.binary(max_size=80), st.lists(st.one_of(LINES, st.binary(max_size=6)), max_size=12).map(b"\r\n".join)
)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.lists(MESS, max_size=4), min_size=10, max_size=10))
def test_any_bytes_are_an_outcome(answers: list[list[bytes]]) -> None:
    async def main() -> None:
        async with opened() as client:
            for parts in answers:
                async with serving(answer(*parts, then="close")) as receiver:
                    outcome = await client.post(receiver.url, {}, BODY, is_live=False)
                assert outcome.error != "internal_error"
                assert (outcome.status is None) == (outcome.error in ("bad_response", "closed"))

    trio.run(main)


async def test_what_nobody_thought_of_is_an_outcome_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def surprise(status: int) -> str:
        raise LookupError("a bug")

    monkeypatch.setattr(client_module, "_verdict", surprise)
    outcome = await outcome_of(answer(OK))
    assert (outcome.status, outcome.error) == (None, "internal_error")
    printed = "".join(capsys.readouterr())
    assert "127.0.0.1" in printed
    assert "s3cret" not in printed
