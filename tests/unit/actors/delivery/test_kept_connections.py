"""Connections that are used again: when they may be, and what becomes of those that are not."""

from __future__ import annotations

from typing import Any

import pytest
import trio

import actors.delivery.client as client_module
import actors.delivery.net as net_module
from actors.delivery.client import DRAINED_BYTES, Outcome, WebhookClient
from tests.unit.actors.delivery.receivers import (
    BODY,
    OK,
    SHORT_S,
    Receiver,
    Stream,
    answer,
    opened,
    serving,
    status,
    to,
)

pytestmark = pytest.mark.usefixtures("no_socket_is_left")


async def test_connection_is_used_again() -> None:
    async with serving(answer(OK)) as receiver, opened() as client:
        for _ in range(5):
            assert (await client.post(receiver.url, {}, BODY, is_live=False)).is_delivered
        assert client.connections == (0, 1)
    assert (receiver.accepted, len(receiver.requests)) == (1, 5)


async def test_old_connection_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(answer(OK)) as receiver, opened() as client:
        await client.post(receiver.url, {}, BODY, is_live=False)
        monkeypatch.setattr(client_module, "MAX_AGE_S", -1.0)
        await client.post(receiver.url, {}, BODY, is_live=False)
    assert receiver.accepted == 2


async def test_long_body_costs_the_connection() -> None:
    long = status("200 OK").replace(b"0\r\n\r\n", b"%d\r\n\r\n" % (DRAINED_BYTES + 1)) + bytes(DRAINED_BYTES + 1)
    async with serving(answer(long)) as receiver, opened() as client:
        for _ in range(2):
            assert (await client.post(receiver.url, {}, BODY, is_live=False)).is_delivered
    assert receiver.accepted == 2


async def test_connection_that_the_receiver_dropped_meanwhile_costs_no_failure() -> None:
    """It reads the second request and closes: the same words again, on a new connection."""

    async def script(receiver: Receiver, stream: Stream) -> None:
        if await receiver.read_request(stream):
            await stream.send_all(OK)
            await receiver.read_request(stream)

    async with serving(script) as receiver, opened() as client:
        for _ in range(2):
            assert (await client.post(receiver.url, {}, BODY, is_live=False)).is_delivered
    assert receiver.accepted == 2


async def test_connection_that_breaks_off_in_an_answer_is_not_tried_again() -> None:
    async def script(receiver: Receiver, stream: Stream) -> None:
        if await receiver.read_request(stream):
            await stream.send_all(OK)
        if await receiver.read_request(stream):
            await stream.send_all(b"HTTP")

    async with serving(script) as receiver, opened() as client:
        assert (await client.post(receiver.url, {}, BODY, is_live=False)).is_delivered
        assert (await client.post(receiver.url, {}, BODY, is_live=False)).error == "closed"
    assert receiver.accepted == 1


async def test_answer_that_came_before_its_request_is_none() -> None:
    async with serving(answer(OK + OK)) as receiver, opened() as client:
        assert (await client.post(receiver.url, {}, BODY, is_live=False)).is_delivered
        outcome = await client.post(receiver.url, {}, BODY, is_live=False)
        assert client.connections == (0, 0)
    assert (outcome.status, outcome.error) == (None, "bad_response")
    assert len(receiver.requests) == 1


async def test_attempts_beyond_the_pool_wait_and_time_out() -> None:
    outcomes: list[Outcome] = []

    async def attempt(client: WebhookClient, receiver: Receiver) -> None:
        outcomes.append(await client.post(receiver.url, {}, BODY, is_live=False))

    async with (
        serving(answer(then="hang")) as receiver,
        opened(timeout_s=SHORT_S, max_connections=2) as client,
        trio.open_nursery() as nursery,
    ):
        for _ in range(6):
            nursery.start_soon(attempt, client, receiver)
    assert [outcome.error for outcome in outcomes] == ["timeout"] * 6
    assert receiver.accepted <= 4


async def test_cancelled_attempts_leave_nothing_behind() -> None:
    """Cancelled after any number of steps, from before the name is resolved to after the answer."""

    async def cancelled_after(steps: int, client: WebhookClient, url: str) -> None:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(count_down, steps, scope)
                await client.post(url, {}, BODY, is_live=False)
                nursery.cancel_scope.cancel()

    async def count_down(steps: int, scope: trio.CancelScope) -> None:
        for _ in range(steps):
            await trio.lowlevel.checkpoint()
        scope.cancel()

    async with serving(answer(OK)) as receiver, opened(resolver=to("127.0.0.1")) as client:
        url = f"http://hooks.example:{receiver.port}/"
        for steps in range(60):
            await cancelled_after(steps, client, url)
            assert client.connections[0] == 0
        assert (await client.post(url, {}, BODY, is_live=False)).is_delivered


async def test_attempt_that_is_cancelled_as_it_connects_leaves_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between connecting and sending the library would keep it, in use for good."""
    scope, connect = trio.CancelScope(), net_module._connect

    async def connect_too_late(*args: Any) -> Any:
        stream = await connect(*args)
        scope.cancel()
        return stream

    monkeypatch.setattr(net_module, "_connect", connect_too_late)
    async with serving(answer(OK)) as receiver, opened() as client:
        with scope:
            await client.post(receiver.url, {}, BODY, is_live=False)
        assert scope.cancelled_caught
        assert client.connections == (0, 0)


async def test_haste_over_a_body_ends_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "BODY_TIMEOUT_S", 0.05)

    async def script(receiver: Receiver, stream: Stream) -> None:
        while await receiver.read_request(stream):
            await trio.sleep(0.1)
            await stream.send_all(OK)

    async with serving(script) as receiver, opened() as client:
        for _ in range(2):
            outcome = await client.post(receiver.url, {}, BODY, is_live=False)
            assert (outcome.status, outcome.error) == (200, None)
    assert receiver.accepted == 1
