"""The control API over HTTP: what it does, and every way it says no."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import h11
import msgspec
import pytest
import trio
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.unit.whatisup.sandbox.loopback import Handset, Loopback, exchange, open_loopback
from whatisup import control
from whatisup.protocol.events import Closed, Connected, QrIssued
from whatisup.sandbox.control_api import ROUTES

NUMBER = "999000000001"
ACCOUNT = f"/sandbox/accounts/{NUMBER}"


@pytest.fixture
async def loopback() -> AsyncIterator[Loopback]:
    async with open_loopback(seed=1, token="t0ken") as running:
        yield running


async def get(loopback: Loopback, path: str) -> Any:
    status, body = await loopback.call("GET", path)
    assert status == 200, body
    return msgspec.json.decode(body)


async def refusal(
    loopback: Loopback, method: str, path: str, body: bytes | msgspec.Struct = b"", **more: Any
) -> tuple[int, str]:
    """The status and slug of a call that must be refused."""
    status, reply = await loopback.call(method, path, body, **more)
    error = msgspec.json.decode(reply, type=control.Error).error
    assert error.message
    return status, error.code


# accounts and phones


async def test_account_is_created_listed_and_shown(loopback: Loopback) -> None:
    status, body = await loopback.call("POST", "/sandbox/accounts", control.AccountRequest(NUMBER, "Ada"))
    account = msgspec.json.decode(body, type=control.Account)
    assert status == 201
    assert (account.number, account.name, account.devices) == (NUMBER, "Ada", [])
    assert await get(loopback, ACCOUNT) == msgspec.to_builtins(account)
    assert (await get(loopback, "/sandbox/accounts"))["data"] == [msgspec.to_builtins(account)]


async def test_account_without_a_number_gets_one_of_the_seed(loopback: Loopback) -> None:
    status, body = await loopback.call("POST", "/sandbox/accounts")
    number = msgspec.json.decode(body, type=control.Account).number
    assert status == 201
    assert number.startswith("999")
    assert len(number) == 12
    async with open_loopback(seed=1) as again:
        _, body = await again.call("POST", "/sandbox/accounts", b"{}")
        assert msgspec.json.decode(body, type=control.Account).number == number


async def test_account_number_is_taken_once(loopback: Loopback) -> None:
    await loopback.create(NUMBER)
    assert await refusal(loopback, "POST", "/sandbox/accounts", control.AccountRequest(NUMBER)) == (409, "number_taken")


async def test_scan_answers_when_the_companion_is_linked(loopback: Loopback) -> None:
    await loopback.create(NUMBER)
    handset = Handset.new(loopback)
    replies: list[tuple[int, bytes]] = []
    async with handset.connected(), trio.open_nursery() as nursery:
        qr = await handset.until(QrIssued)
        assert isinstance(qr, QrIssued)

        async def scan() -> None:
            replies.append(await loopback.call("POST", f"{ACCOUNT}/scan", control.ScanRequest(qr.code)))

        nursery.start_soon(scan)
        await handset.until(Closed)
    assert replies == [(200, b'{"number":"999000000001","device":1}')]


async def test_connection_of_a_device_is_shown_without_contents(loopback: Loopback) -> None:
    await loopback.create(NUMBER)
    handset = Handset.new(loopback)
    await handset.pair(NUMBER)
    async with handset.connected():
        await handset.until(Connected)
        shown = await get(loopback, f"{ACCOUNT}/devices/1")
        assert shown["connection"]["is_active"] is True
        assert (shown["logins"], shown["queued"]) == (1, 0)
        assert {"iq"} <= {stanza["tag"] for stanza in shown["stanzas"]}
        assert {frozenset(stanza) for stanza in shown["stanzas"]} == {frozenset({"at", "is_sent", "tag", "attrs"})}
        (device,) = (await get(loopback, ACCOUNT))["devices"]
        assert (device["device"], device["prekeys"], device["is_connected"]) == (1, 812, True)
    async with handset.connected():
        await handset.until(Connected)
        assert (await get(loopback, f"{ACCOUNT}/devices/1"))["connection"]["routing_info_returned"] is True


async def test_unlink_ends_the_device(loopback: Loopback) -> None:
    await loopback.create(NUMBER)
    handset = Handset.new(loopback)
    await handset.pair(NUMBER)
    async with handset.connected():
        await handset.until(Connected)
        assert await loopback.call("POST", f"{ACCOUNT}/unlink", control.UnlinkRequest(1)) == (204, b"")
        closed = await handset.until(Closed)
        assert isinstance(closed, Closed)
        assert closed.code == 401
    assert (await get(loopback, ACCOUNT))["devices"] == []


async def test_mock_phone_links_by_push_name_without_a_token(loopback: Loopback) -> None:
    handset = Handset.new(loopback)
    async with handset.connected():
        qr = await handset.until(QrIssued)
        assert isinstance(qr, QrIssued)
        status, _ = await loopback.call("POST", control.ADMIN_SCAN_PATH, qr.code.encode(), token="none")
        assert status == 204
        await handset.until(Closed)
    assert handset.account is not None
    assert handset.account.phone_number.startswith("999")


async def test_mock_phone_knows_no_stale_qr(loopback: Loopback) -> None:
    qr = "ref,{0},{0},{0}".format("A" * 43 + "=").encode()
    assert await refusal(loopback, "POST", control.ADMIN_SCAN_PATH, qr) == (404, "unknown_ref")


async def test_mock_phone_is_absent_in_child_mode() -> None:
    async with open_loopback(is_child=True) as child:
        assert await refusal(child, "POST", control.ADMIN_SCAN_PATH, b"x") == (404, "unknown_path")


# faults


async def test_fault_is_armed_listed_and_disarmed(loopback: Loopback) -> None:
    armed = await loopback.arm("failure-403", scope=control.Scope(NUMBER), times=3)
    assert (armed.times_left, armed.hits) == (3, 0)
    assert [fault["id"] for fault in (await get(loopback, "/sandbox/faults"))["data"]] == [armed.id]
    assert await loopback.call("DELETE", f"/sandbox/faults/{armed.id}") == (204, b"")
    assert await refusal(loopback, "DELETE", f"/sandbox/faults/{armed.id}") == (404, "unknown_fault")


async def test_faults_of_one_number_are_disarmed_alone(loopback: Loopback) -> None:
    for number in (NUMBER, "999000000002"):
        await loopback.arm("failure-403", scope=control.Scope(number))
    assert await loopback.call("DELETE", f"/sandbox/faults?number={NUMBER}") == (204, b"")
    assert [f["scope"]["number"] for f in (await get(loopback, "/sandbox/faults"))["data"]] == ["999000000002"]
    assert await refusal(loopback, "DELETE", "/sandbox/faults?number=all") == (400, "bad_request")
    assert await loopback.call("DELETE", "/sandbox/faults") == (204, b"")
    assert (await get(loopback, "/sandbox/faults"))["data"] == []


# refusals


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/sandbox/accounts/999000000009", 404, "unknown_number"),
        ("GET", f"{ACCOUNT}/devices/1", 404, "unknown_device"),
        ("GET", f"{ACCOUNT}/devices/x", 404, "unknown_device"),
        ("GET", "/sandbox/nothing", 404, "unknown_path"),
        ("GET", "/elsewhere", 404, "unknown_path"),
        ("GET", "//[", 404, "unknown_path"),
        ("PUT", "/sandbox/accounts", 405, "wrong_method"),
        ("GET", control.ADMIN_SCAN_PATH, 405, "wrong_method"),
    ],
)
async def test_what_does_not_exist_is_refused(
    loopback: Loopback, method: str, path: str, status: int, code: str
) -> None:
    await loopback.create(NUMBER)
    assert await refusal(loopback, method, path) == (status, code)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/sandbox/accounts", b"{"),
        ("/sandbox/accounts", b"\xff"),
        ("/sandbox/accounts", b"[]"),
        ("/sandbox/accounts", b'{"number": 5}'),
        ("/sandbox/accounts", b'{"number": "12"}'),
        ("/sandbox/accounts", b'{"unheard_of": 1}'),
        (f"{ACCOUNT}/scan", b"{}"),
        (f"{ACCOUNT}/scan", b'{"qr": "nothing"}'),
        (f"{ACCOUNT}/link-code", b'{"code": "!!!!!!!!"}'),
        (f"{ACCOUNT}/unlink", b'{"device": 99}'),
        ("/sandbox/faults", b'{"name": "unheard-of"}'),
        ("/sandbox/faults", b'{"name": "drop", "times": 0}'),
        ("/sandbox/faults", b'{"name": "drop", "times": 1, "seconds": 1}'),
        ("/sandbox/faults", b'{"name": "drop", "scope": {"device": 1}}'),
        ("/sandbox/faults", b'{"name": "bad-certificate", "params": {"variant": "purple"}}'),
        ("/sandbox/faults", b'{"name": "failure-405", "params": {"below_version": "new"}}'),
    ],
)
async def test_what_cannot_be_read_is_refused(loopback: Loopback, path: str, body: bytes) -> None:
    await loopback.create(NUMBER)
    status, _ = await refusal(loopback, "POST", path, body)
    assert status == 400


async def test_linking_code_that_nobody_shows_is_refused(loopback: Loopback) -> None:
    await loopback.create(NUMBER)
    assert await refusal(loopback, "POST", f"{ACCOUNT}/link-code", control.LinkCodeRequest("ABCD-1234")) == (
        404,
        "no_code_expected",
    )


@pytest.mark.parametrize("token", ["wrong", "t0ken2", "t0ke"])
async def test_token_is_needed(loopback: Loopback, token: str) -> None:
    async with await loopback.stream() as stream:
        status, _ = await exchange(stream, h11.Connection(h11.CLIENT), "GET", "/sandbox/accounts", b"", token)
    assert status == 401


async def test_body_beyond_measure_is_refused(loopback: Loopback) -> None:
    body = b" " * (control.MAX_BODY + 1)
    assert await refusal(loopback, "POST", "/sandbox/accounts", body) == (413, "body_too_large")


async def test_head_that_is_no_http_is_answered_with_400(loopback: Loopback) -> None:
    async with await loopback.stream() as stream:
        await stream.send_all(b"HELLO\r\n\r\n")
        assert bytes(await stream.receive_some(100)).startswith(b"HTTP/1.1 400")


async def test_head_beyond_measure_is_answered_with_431(loopback: Loopback) -> None:
    async with await loopback.stream() as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\nX: " + b"x" * 40_000)
        assert bytes(await stream.receive_some(100)).startswith(b"HTTP/1.1 431")


async def test_connection_is_kept_alive(loopback: Loopback) -> None:
    async with await loopback.stream() as stream:
        http = h11.Connection(h11.CLIENT)
        for _ in range(3):
            assert (await exchange(stream, http, "GET", "/sandbox/accounts", b"", "t0ken"))[0] == 200
            http.start_next_cycle()


async def test_root_path_says_that_it_is_there(loopback: Loopback) -> None:
    status, _ = await loopback.call("GET", "/", token="none")
    assert status == 200


# the document


async def test_openapi_document_is_valid_and_complete(loopback: Loopback) -> None:
    document = await get(loopback, "/sandbox/openapi.json")
    OpenAPIV31SpecValidator(document).validate()
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described == {(route.method, route.path) for route in ROUTES}
    for methods in document["paths"].values():
        for operation in methods.values():
            assert operation["summary"]
            assert operation["security"] in ([{"token": []}], [])
