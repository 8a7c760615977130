"""Unmodified Baileys accepts the sandbox: it pairs, restarts, opens, survives, and hears why it is closed.

It ignores what its signature checks say, so this proves the flow and not our cryptography; the vectors do that.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import h11
import pytest
import trio

from actors.sandbox import SandboxClient, SandboxRefused
from tests.interop.baileys import PATIENCE_S, Baileys, open_baileys, require_baileys
from tests.unit.whatisup.sandbox.loopback import Loopback, exchange, open_loopback
from whatisup import control
from whatisup.sandbox.session import Compression

NUMBER = "999000000077"
OWN = control.Scope(NUMBER, 1)


@pytest.fixture(scope="session")
def node() -> str:
    return require_baileys()


@pytest.fixture
async def loopback() -> AsyncIterator[Loopback]:
    async with open_loopback(seed=1) as running:
        yield running


@pytest.fixture
async def phone(loopback: Loopback) -> SandboxClient:
    client = SandboxClient(loopback.ready.control_url, loopback.ready.token)
    await client.create_account(NUMBER, "Ada")
    return client


@pytest.fixture
async def baileys(node: str, loopback: Loopback) -> AsyncIterator[Baileys]:
    async with open_baileys(node, loopback.ready.url) as client:
        yield client


@pytest.fixture
async def opened(baileys: Baileys, phone: SandboxClient) -> Baileys:
    """A client that is paired and open, and has read its phone's greeting: one that reads hears no last words."""
    await pair(baileys, phone)
    with trio.fail_after(PATIENCE_S):
        while (await phone.device(NUMBER, 1)).queued:
            await trio.sleep(0.02)
    return baileys


async def pair(baileys: Baileys, phone: SandboxClient) -> None:
    await baileys.do("connect")
    qr = await baileys.until("qr")
    assert await phone.scan(NUMBER, qr["qr"]) == control.Linked(NUMBER, 1)
    await baileys.until("open")


async def fault(phone: SandboxClient, name: str) -> None:
    await phone.arm(control.FaultRequest(name, OWN))


async def test_baileys_pairs_by_qr_restarts_and_opens(baileys: Baileys, phone: SandboxClient) -> None:
    await pair(baileys, phone)
    (account,) = await phone.accounts()
    opened = baileys.seen[-1]
    assert opened["jid"] == f"{NUMBER}:1@s.whatsapp.net"
    assert opened["lid"] == f"{account.lid}:1@lid"
    kinds = [event["event"] for event in baileys.seen if event["event"] not in ("idle", "message")]
    assert kinds == ["qr", "linked", "close", "open"]
    assert baileys.seen[2] == {"event": "close", "code": 515}
    assert account.devices[0].prekeys in (811, 812), "the phone's greeting takes one"


async def test_baileys_pairs_by_linking_code(baileys: Baileys, phone: SandboxClient) -> None:
    await baileys.do("connect")
    await baileys.until("qr")
    await baileys.do("pair_code", phone=NUMBER)
    code = (await baileys.until("code"))["code"]
    assert await phone.enter_link_code(NUMBER, f"{code[:4]}-{code[4:]}") == control.Linked(NUMBER, 1)
    await baileys.until("close", code=515)
    assert (await baileys.until("open"))["jid"] == f"{NUMBER}:1@s.whatsapp.net"


async def test_baileys_hears_nothing_of_a_wrong_linking_code(baileys: Baileys, phone: SandboxClient) -> None:
    await baileys.do("connect")
    await baileys.until("qr")
    await baileys.do("pair_code", phone=NUMBER)
    await baileys.until("code")
    with pytest.raises(SandboxRefused) as caught:
        await phone.enter_link_code(NUMBER, "ZZZZ-ZZZZ")
    assert caught.value.code == "wrong_code"
    assert (await phone.account(NUMBER)).devices == []


async def test_baileys_that_never_finished_a_linking_code_is_refused(baileys: Baileys, phone: SandboxClient) -> None:
    # It takes itself for logged in from the moment it asks for a code, and logs in without a device number.
    await baileys.do("connect")
    await baileys.until("qr")
    await baileys.do("pair_code", phone=NUMBER)
    await baileys.until("code")
    await baileys.do("cut")
    await baileys.until("close", code=401)


async def test_baileys_survives_drop_and_returns_its_routing_info(opened: Baileys, phone: SandboxClient) -> None:
    await fault(phone, "drop")
    lost = await opened.until("close")
    assert lost["code"] not in (401, 440, 405)
    await opened.until("open")
    connection = (await phone.device(NUMBER, 1)).connection
    assert connection is not None
    assert connection.routing_info_returned
    assert (await phone.account(NUMBER)).devices[0].prekeys == 811, "one for the greeting; the digest spares five more"


@pytest.mark.parametrize(("name", "code"), [("stream-515", 515), ("stream-503", 503)])
async def test_baileys_restarts_after_a_stream_error(
    opened: Baileys, phone: SandboxClient, name: str, code: int
) -> None:
    await fault(phone, name)
    await opened.until("close", code=code)
    await opened.until("open")


async def test_baileys_hears_that_it_was_removed(opened: Baileys, phone: SandboxClient) -> None:
    await fault(phone, "device-removed")
    await opened.until("close", code=401)
    await opened.do("connect")
    await opened.until("close", code=401)


async def test_baileys_hears_that_its_phone_unlinked_it(opened: Baileys, phone: SandboxClient) -> None:
    await phone.unlink(NUMBER, 1)
    await opened.until("close", code=401)


async def test_baileys_hears_that_it_was_replaced(opened: Baileys, phone: SandboxClient) -> None:
    await fault(phone, "conflict-replaced")
    await opened.until("close", code=440)
    await opened.do("connect")
    await opened.until("open")


async def test_baileys_hears_of_a_real_double_login(opened: Baileys, phone: SandboxClient) -> None:
    await opened.do("connect")
    # Two sockets, so either may be heard of first.
    await opened.until_each({"event": "open"}, {"event": "close", "code": 440})
    shown = await phone.device(NUMBER, 1)
    assert shown.logins == 2
    assert shown.connection is not None, "the newer one stays"


async def test_baileys_hears_that_it_is_outdated(opened: Baileys, phone: SandboxClient) -> None:
    await fault(phone, "failure-405")
    await fault(phone, "drop")
    await opened.until("close", code=405)
    await opened.do("connect")
    await opened.until("open")


async def test_baileys_shrugs_off_an_unknown_tag(opened: Baileys, phone: SandboxClient) -> None:
    await fault(phone, "unknown-tag")
    await fault(phone, "stream-515")
    await opened.until("close", code=515)
    await opened.until("open")


async def test_baileys_logs_out(opened: Baileys, phone: SandboxClient) -> None:
    await opened.do("logout")
    await opened.until("close", code=401)
    with trio.fail_after(5):
        while (await phone.account(NUMBER)).devices:
            await trio.sleep(0.02)


async def test_baileys_reads_a_server_that_compresses_everything(node: str) -> None:
    async with open_loopback(seed=1, compression=Compression.ALL) as loopback:
        phone = SandboxClient(loopback.ready.control_url, loopback.ready.token)
        await phone.create_account(NUMBER)
        async with open_baileys(node, loopback.ready.url) as baileys:
            await pair(baileys, phone)
            await fault(phone, "device-removed")
            await baileys.until("close", code=401)


async def test_baileys_pairs_over_tls_with_the_mock_phone(node: str) -> None:
    # As its own end-to-end suite does: a self-signed certificate, and a phone chosen by the push name.
    async with open_loopback(seed=1, use_tls=True) as loopback:
        environment = {"NODE_TLS_REJECT_UNAUTHORIZED": "0", "NODE_NO_WARNINGS": "1"}
        async with open_baileys(node, loopback.ready.url, environment) as baileys:
            await baileys.do("connect")
            qr = await baileys.until("qr")
            assert urlsplit(loopback.ready.url).scheme == "wss"
            async with await loopback.stream() as stream:
                http = h11.Connection(h11.CLIENT)
                status, _ = await exchange(stream, http, "POST", control.ADMIN_SCAN_PATH, qr["qr"].encode(), "none")
            assert status == 204
            await baileys.until("open")
