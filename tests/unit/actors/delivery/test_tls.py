"""Certificates are checked on the name, at whatever address the connection goes to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
import trio

from actors.delivery.client import WebhookClient
from tests.unit.actors.delivery.receivers import (
    BODY,
    OK,
    Authority,
    Receiver,
    Stream,
    answer,
    opened,
    serving,
    to,
)

pytestmark = pytest.mark.usefixtures("no_socket_is_left")


@asynccontextmanager
async def trusting(authority: Authority) -> AsyncIterator[WebhookClient]:
    async with opened(ca_file=str(authority.file), resolver=to("127.0.0.1"), timeout_s=2) as client:
        yield client


@pytest.mark.parametrize("host", ["hooks.example", "127.0.0.1"])
async def test_certificate_is_checked_on_the_name_at_the_address(authority: Authority, host: str) -> None:
    async with serving(answer(OK), authority.serve_as(host)) as receiver, trusting(authority) as client:
        for _ in range(2):
            outcome = await client.post(f"https://{host}:{receiver.port}/", {}, BODY, is_live=True)
            assert (outcome.status, outcome.error, outcome.response) == (200, None, b"ok")
    assert receiver.accepted == 1


async def test_final_dot_and_case_mean_the_same(authority: Authority) -> None:
    async with (
        serving(answer(OK), authority.serve_as("hooks.example")) as receiver,
        trusting(authority) as client,
    ):
        assert (await client.post(f"https://HOOKS.example.:{receiver.port}/", {}, BODY, is_live=True)).is_delivered


@pytest.mark.parametrize(
    ("host", "lives", "is_ours"),
    [
        pytest.param("other.example", timedelta(days=1), True, id="another name"),
        pytest.param("127.0.0.1", timedelta(days=1), True, id="the address"),
        pytest.param("hooks.example", timedelta(days=-1), True, id="expired"),
        pytest.param("hooks.example", timedelta(days=1), False, id="signed by itself"),
    ],
)
async def test_certificate_is_refused(authority: Authority, host: str, lives: timedelta, is_ours: bool) -> None:
    context = authority.serve_as(host, lives=lives, is_ours=is_ours)
    async with serving(answer(OK), context) as receiver, trusting(authority) as client:
        outcome = await client.post(f"https://hooks.example:{receiver.port}/", {}, BODY, is_live=True)
    assert (outcome.status, outcome.error) == (None, "tls_failed")
    assert receiver.requests == []


async def test_private_authority_is_trusted_only_where_it_is_named(authority: Authority) -> None:
    async with (
        serving(answer(OK), authority.serve_as("hooks.example")) as receiver,
        opened(resolver=to("127.0.0.1")) as client,
    ):
        outcome = await client.post(f"https://hooks.example:{receiver.port}/", {}, BODY, is_live=True)
    assert outcome.error == "tls_failed"


@pytest.mark.parametrize("words", [b"220 mail.example ESMTP\r\n", b"HTTP/1.1 400 Plain\r\n\r\n", b""])
async def test_no_tls_there(authority: Authority, words: bytes) -> None:
    async def script(receiver: Receiver, stream: Stream) -> None:
        await stream.receive_some(4096)
        await stream.send_all(words)

    async with serving(script) as receiver, trusting(authority) as client:
        outcome = await client.post(f"https://hooks.example:{receiver.port}/", {}, BODY, is_live=True)
    assert outcome.error == "tls_failed"


async def test_handshake_that_hangs(authority: Authority) -> None:
    async def script(receiver: Receiver, stream: Stream) -> None:
        await trio.sleep_forever()

    async with serving(script) as receiver, trusting(authority) as client:
        outcome = await client.post(f"https://hooks.example:{receiver.port}/", {}, BODY, is_live=True)
    assert outcome.error == "timeout"
    assert 1500 < outcome.duration_ms < 4000


async def test_http2_is_not_offered(authority: Authority) -> None:
    context = authority.serve_as("hooks.example")
    context.set_alpn_protocols(["h2", "http/1.1"])
    async with serving(answer(OK), context) as receiver, trusting(authority) as client:
        assert (await client.post(f"https://hooks.example:{receiver.port}/", {}, BODY, is_live=True)).is_delivered
    assert receiver.requests[0][0].startswith(b"POST / HTTP/1.1")


async def test_tls_at_a_plain_url(authority: Authority) -> None:
    async with serving(answer(OK), authority.serve_as("127.0.0.1")) as receiver, trusting(authority) as client:
        outcome = await client.post(receiver.url, {}, BODY, is_live=False)
    assert outcome.status is None
    assert outcome.error in ("closed", "bad_response")


async def test_cut_off_without_farewell(authority: Authority) -> None:
    script = answer(b"HTTP/1.1 200 OK\r\n\r\nall", then="close")
    async with serving(script, authority.serve_as("hooks.example")) as receiver, trusting(authority) as client:
        outcome = await client.post(f"https://hooks.example:{receiver.port}/", {}, BODY, is_live=True)
    assert (outcome.status, outcome.error, outcome.response) == (200, None, b"all")


@pytest.mark.parametrize("host", ["xn--zz--9.example", "a_b.example", f"{'a' * 63}.example"])
async def test_odd_names_are_an_outcome(authority: Authority, host: str) -> None:
    async with serving(answer(OK), authority.serve_as("hooks.example")) as receiver, trusting(authority) as client:
        outcome = await client.post(f"https://{host}:{receiver.port}/", {}, BODY, is_live=True)
    assert (outcome.status, outcome.error) == (None, "tls_failed")
