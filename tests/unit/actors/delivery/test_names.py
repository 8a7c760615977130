"""DNS that lies, changes, hangs or says two things."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest
import trio

import actors.delivery.net as net_module
from actors.delivery.net import SystemResolver
from tests.unit.actors.delivery.receivers import (
    BODY,
    OK,
    SHORT_S,
    answer,
    opened,
    serving,
    to,
)
from whatisup.webhooks.refusals import UrlRefused
from whatisup.webhooks.targets import Policy

pytestmark = pytest.mark.usefixtures("no_socket_is_left")


async def test_name_with_public_and_private_addresses_goes_to_what_is_allowed() -> None:
    async with serving(answer(OK)) as receiver:
        async with opened(resolver=to("10.0.0.1", "169.254.169.254", "127.0.0.1", "::1")) as client:
            url = f"http://mixed.example:{receiver.port}/"
            began = trio.current_time()
            assert (await client.post(url, {}, BODY, is_live=False)).is_delivered
            await client.check(url, is_live=False)
        assert trio.current_time() - began < 1
    assert b"Host: mixed.example:" in receiver.requests[0][0]


@pytest.mark.parametrize(
    "addresses",
    [["10.0.0.1"], ["169.254.169.254", "fd00::1"], ["::ffff:10.0.0.1"], ["fe80::1%1"], ["0.0.0.0"]],
)
async def test_name_with_private_addresses_only(addresses: list[str]) -> None:
    async with opened(resolver=to(*addresses)) as client:
        outcome = await client.post("http://inside.example/", {}, BODY, is_live=False)
        assert (outcome.status, outcome.error) == (None, "address_refused")
        with pytest.raises(UrlRefused):
            await client.check("http://inside.example/", is_live=False)


async def test_loopback_is_refused_unless_it_was_opened() -> None:
    async with serving(answer(OK)) as receiver:
        async with opened(policy=Policy(allow_http=True), resolver=to("127.0.0.1")) as client:
            outcome = await client.post(f"http://rebind.example:{receiver.port}/", {}, BODY, is_live=False)
        assert outcome.error == "address_refused"
        assert receiver.accepted == 0


async def test_answer_that_changes_between_check_and_connect() -> None:
    """It is asked once for a connection: the second answer is for the next one, and judged again."""
    answers = [["127.0.0.1"], ["10.0.0.1"], ["127.0.0.1"]]
    asked: list[str] = []

    async def changing(host: str, port: int) -> list[str]:
        await trio.lowlevel.checkpoint()
        asked.append(host)
        return answers[(len(asked) - 1) % 3]

    async with serving(answer(OK, then="close")) as receiver, opened(resolver=changing) as client:
        url = f"http://rebind.example:{receiver.port}/"
        await client.check(url, is_live=False)
        assert (await client.post(url, {}, BODY, is_live=False)).error == "address_refused"
        assert (await client.post(url, {}, BODY, is_live=False)).is_delivered
    assert (len(asked), receiver.accepted) == (3, 1)


@pytest.mark.parametrize("error", [OSError("no such name"), ValueError("nonsense"), None])
async def test_name_without_address(error: Exception | None) -> None:
    async def fail(host: str, port: int) -> list[str]:
        await trio.lowlevel.checkpoint()
        if error is not None:
            raise error
        return []

    async with opened(resolver=fail) as client:
        assert (await client.post("https://gone.example/", {}, BODY, is_live=True)).error == "dns_failed"
        with pytest.raises(UrlRefused, match="DNS"):
            await client.check("https://gone.example/", is_live=True)


async def test_dns_that_hangs() -> None:
    async def hang(host: str, port: int) -> list[str]:
        await trio.sleep_forever()
        return []

    async with opened(resolver=hang, timeout_s=SHORT_S) as client:
        outcome = await client.post("https://slow.example/", {}, BODY, is_live=True)
        assert outcome.error == "dns_failed"
        assert outcome.duration_ms < 1500


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.3"])
async def test_connection_goes_to_the_address_that_was_judged(host: str) -> None:
    async with serving(answer(OK), host=host) as receiver, opened(resolver=to(host)) as client:
        assert (await client.post(f"http://there.example:{receiver.port}/", {}, BODY, is_live=False)).is_delivered


async def test_address_that_takes_no_connection_leads_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its queue of connections is full, so that it says neither yes nor no."""
    monkeypatch.setattr(net_module, "ADDRESS_TIMEOUT_S", 0.2)
    async with serving(answer(OK)) as receiver, opened(resolver=to("127.0.0.2", "127.0.0.1")) as client:
        with socket.socket() as deaf, ExitStack() as fillers:
            deaf.bind(("127.0.0.2", receiver.port))
            deaf.listen(0)
            for _ in range(4):
                filler = fillers.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.2", receiver.port))
            outcome = await client.post(f"http://two.example:{receiver.port}/", {}, BODY, is_live=False)
    assert outcome.is_delivered
    assert 200 <= outcome.duration_ms < 2000


async def test_address_that_refuses_leads_to_the_next() -> None:
    async with serving(answer(OK)) as receiver, opened(resolver=to("127.0.0.2", "127.0.0.1")) as client:
        assert (await client.post(f"http://two.example:{receiver.port}/", {}, BODY, is_live=False)).is_delivered


async def test_system_resolver_finds_localhost_and_not_nonsense() -> None:
    async with serving(answer(OK)) as receiver, opened() as client:
        assert (await client.post(f"http://localhost:{receiver.port}/", {}, BODY, is_live=False)).is_delivered
        assert (await client.post("http://nowhere.invalid/", {}, BODY, is_live=False)).error == "dns_failed"


async def test_url_that_is_not_taken_any_more() -> None:
    async with opened() as client:
        for url in ("http://example.com/", "https://10.0.0.1/", "nonsense"):
            assert (await client.post(url, {}, BODY, is_live=True)).error == "url_refused"
            with pytest.raises(UrlRefused):
                await client.check(url, is_live=True)


async def test_names_that_hang_leave_threads_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts that gave up on a name still hold its thread, more of them than there may be attempts at once."""
    released, look_up = threading.Event(), socket.getaddrinfo

    def hang(host: Any, *args: Any, **kwargs: Any) -> Any:
        if ".slow.example" in str(host):
            released.wait(10)
            raise socket.gaierror
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr("actors.delivery.net.socket.getaddrinfo", hang)
    monkeypatch.setattr(net_module, "DNS_TIMEOUT_S", 0.1)
    async with opened(max_connections=32) as client, serving(answer(OK)) as receiver:
        try:
            for _ in range(3):
                async with trio.open_nursery() as nursery:
                    for number in range(32):
                        url = f"https://n{number}.slow.example/"
                        nursery.start_soon(partial(client.post, url, {}, BODY, is_live=True))
            assert (await client.post(f"http://localhost:{receiver.port}/", {}, BODY, is_live=False)).is_delivered
        finally:
            released.set()


async def test_name_server_that_hangs_holds_its_thread_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lookup cannot be interrupted: who gave up on it goes on, who needs its thread waits, but not for long."""
    released = threading.Event()

    def hang(*args: object, **kwargs: object) -> list[object]:
        released.wait(10)
        return []

    monkeypatch.setattr("actors.delivery.net.socket.getaddrinfo", hang)
    async with opened(resolver=SystemResolver(threads=1), timeout_s=SHORT_S) as client:
        for _ in range(2):
            outcome = await client.post("https://slow.example/", {}, BODY, is_live=True)
            assert (outcome.error, outcome.duration_ms < 2000) == ("dns_failed", True)
        monkeypatch.undo()
        released.set()
        with trio.fail_after(5):
            while (await client.post("http://localhost:1/", {}, BODY, is_live=False)).error == "dns_failed":
                await trio.sleep(0.01)
