"""The client of the control API against a running sandbox, and the child that is kept running."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from actors import sandbox as sandbox_module
from actors.sandbox import SandboxChild, SandboxClient, SandboxRefused, SandboxUnavailable
from tests.unit.whatisup.sandbox.loopback import Handset, Loopback, open_loopback
from whatisup import control
from whatisup.protocol.events import Closed, Connected, LinkingCodeAccepted, PrimaryHelloReceived, QrIssued
from whatisup.protocol.linking_code import LinkingSecret, derive_key

NUMBER = "999000000001"


@pytest.fixture
async def loopback() -> AsyncIterator[Loopback]:
    async with open_loopback(seed=1) as running:
        yield running


@pytest.fixture
def client(loopback: Loopback) -> SandboxClient:
    return SandboxClient(loopback.ready.control_url, loopback.ready.token)


# the client


async def test_client_creates_lists_and_shows_accounts(client: SandboxClient) -> None:
    account = await client.create_account(NUMBER, "Ada")
    minted = await client.create_account()
    assert (account.number, account.name) == (NUMBER, "Ada")
    assert {listed.number for listed in await client.accounts()} == {NUMBER, minted.number}
    assert await client.account(NUMBER) == account


async def test_client_scans_unlinks_and_looks(loopback: Loopback, client: SandboxClient) -> None:
    await client.create_account(NUMBER)
    handset = Handset.new(loopback)
    linked: list[control.Linked] = []
    async with handset.connected(), trio.open_nursery() as nursery:
        qr = await handset.until(QrIssued)
        assert isinstance(qr, QrIssued)

        async def scan() -> None:
            linked.append(await client.scan(NUMBER, qr.code))

        nursery.start_soon(scan)
        await handset.until(Closed)
    assert linked == [control.Linked(NUMBER, 1)]
    async with handset.connected():
        await handset.until(Connected)
        shown = await client.device(NUMBER, 1)
        assert shown.connection is not None
        assert shown.connection.is_active
        await client.unlink(NUMBER, 1)
        await handset.until(Closed)
    assert (await client.account(NUMBER)).devices == []


async def test_client_enters_a_linking_code(loopback: Loopback, client: SandboxClient) -> None:
    await client.create_account(NUMBER)
    handset = Handset.new(loopback)
    async with handset.connected(), trio.open_nursery() as nursery:
        await handset.until(QrIssued)
        assert handset.connection is not None
        secret = LinkingSecret.derive("ABCD1234", os.urandom)
        handset.connection.request_linking_code(NUMBER, secret, trio.current_time())
        await handset.until(LinkingCodeAccepted)
        nursery.start_soon(client.enter_link_code, NUMBER, "abcd-1234")
        hello = await handset.until(PrimaryHelloReceived)
        assert isinstance(hello, PrimaryHelloReceived)
        handset.connection.finish_linking(derive_key("ABCD1234", hello.salt), trio.current_time())
        await handset.until(Closed)
    assert handset.account is not None
    assert handset.account.phone_number == NUMBER


async def test_client_arms_and_disarms_faults(client: SandboxClient) -> None:
    armed = await client.arm(control.FaultRequest("failure-403", control.Scope(NUMBER)))
    assert [fault.id for fault in await client.faults()] == [armed.id]
    await client.disarm(armed.id)
    await client.arm(control.FaultRequest("failure-403", control.Scope(NUMBER)))
    await client.disarm_all(NUMBER)
    assert await client.faults() == []


async def test_client_passes_a_refusal_on(client: SandboxClient) -> None:
    with pytest.raises(SandboxRefused) as caught:
        await client.account(NUMBER)
    assert (caught.value.status, caught.value.code) == (404, "unknown_number")
    await client.create_account(NUMBER)
    with pytest.raises(SandboxRefused) as caught:
        await client.scan(NUMBER, "nothing")
    assert (caught.value.status, caught.value.code) == (400, "bad_qr")


async def test_client_quotes_what_goes_into_a_path(client: SandboxClient) -> None:
    with pytest.raises(SandboxRefused) as caught:
        await client.account("../faults?x=1#y")
    assert caught.value.code == "unknown_path"


async def test_client_says_when_nobody_listens() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    with pytest.raises(SandboxUnavailable):
        await SandboxClient(f"http://127.0.0.1:{port}", "t").accounts()


@pytest.mark.parametrize("answer", [b"", b"HELLO\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]"])
async def test_client_says_when_the_answer_is_none(answer: bytes) -> None:
    async with fake_server(answer) as url:
        with pytest.raises(SandboxUnavailable):
            await SandboxClient(url, "t").accounts()


async def test_client_says_when_an_error_is_not_the_sandboxs() -> None:
    async with fake_server(b"HTTP/1.1 502 Bad\r\ncontent-length: 0\r\n\r\n") as url:
        with pytest.raises(SandboxUnavailable, match="502"):
            await SandboxClient(url, "t").accounts()


async def test_client_bounds_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox_module, "MAX_REPLY", 1000)
    async with fake_server(b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n" + b" " * 5000) as url:
        with pytest.raises(SandboxUnavailable):
            await SandboxClient(url, "t").accounts()


async def test_client_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fake_server(None) as url:
        client = SandboxClient(url, "t")
        with pytest.raises(SandboxUnavailable, match="did not answer"):
            await client._call("GET", "/sandbox/accounts", timeout_s=0.1)


async def test_client_speaks_tls_with_the_certificate_it_was_given() -> None:
    async with open_loopback(use_tls=True) as loopback:
        ready = loopback.ready
        assert await SandboxClient(ready.control_url, ready.token, tls=loopback.tls).accounts() == []
        with pytest.raises(SandboxUnavailable):
            await SandboxClient(ready.control_url, ready.token).accounts()


async def test_client_leaves_nothing_of_its_tls_to_the_collector() -> None:
    async with open_loopback(use_tls=True) as loopback:
        ready = loopback.ready
        gc.collect()
        gc.disable()
        try:
            await SandboxClient(ready.control_url, ready.token, tls=loopback.tls).accounts()
            await trio.lowlevel.checkpoint()
            streams = [one for one in gc.get_objects() if isinstance(one, trio.SSLStream)]
            assert [one for one in streams if not one.server_side] == []
        finally:
            gc.enable()


@pytest.mark.parametrize("url", ["ftp://127.0.0.1:1", "127.0.0.1:1", "http://"])
def test_client_refuses_a_url_that_is_none(url: str) -> None:
    with pytest.raises(ValueError, match="control URL"):
        SandboxClient(url, "t")


@asynccontextmanager
async def fake_server(answer: bytes | None) -> AsyncIterator[str]:
    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some(4096)
            if answer is None:
                await trio.sleep_forever()
            else:
                await stream.send_all(answer)

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        yield f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


# the child


def command(*more: str) -> Sequence[str]:
    return [sys.executable, "-m", "whatisup.sandbox", "--child", "--json", *more]


@asynccontextmanager
async def running(child: SandboxChild) -> AsyncIterator[trio.Nursery]:
    async with trio.open_nursery() as nursery:
        await nursery.start(child.run)
        with trio.fail_after(20):
            await child.ready.wait()
        yield nursery
        nursery.cancel_scope.cancel()


async def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_child_starts_with_the_token_and_ends_with_us() -> None:
    child = SandboxChild(lambda port: command("--port", str(port)), "the-token")
    async with running(child):
        assert child.is_up
        assert child.announced.token == "the-token"
        assert len(child.root_public) == 32
        assert await SandboxClient(child.announced.control_url, "the-token").accounts() == []
        pid = child.pid
        assert pid is not None
        began = trio.current_time()
    assert await is_gone(pid)
    assert trio.current_time() - began < 2, "closing stdin is enough"
    assert (child.pid, child.is_up) == (None, False)


async def test_child_is_started_again_in_place(tmp_path: Path) -> None:
    state = str(tmp_path / "sandbox.db")
    child = SandboxChild(lambda port: command("--port", str(port), "--state", state), "the-token")
    async with running(child):
        before, url, root = child.pid, child.url, child.root_public
        assert before is not None
        await SandboxClient(child.announced.control_url, "the-token").create_account(NUMBER)
        os.kill(before, signal.SIGKILL)
        with trio.fail_after(20):
            while child.pid in (before, None) or not child.is_up:
                await trio.sleep(0.02)
        assert (child.url, child.root_public, child.restarts) == (url, root, 1)
        accounts = await SandboxClient(child.announced.control_url, "the-token").accounts()
        assert [account.number for account in accounts] == [NUMBER]


async def test_child_gets_no_secret_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SECRETS_KEY", "hush")
    seen = tmp_path / "seen"
    script = f"import os; open({str(seen)!r}, 'w').write('\\n'.join(os.environ)); raise SystemExit(1)"
    child = SandboxChild(lambda _port: [sys.executable, "-c", script], "the-token")
    async with trio.open_nursery() as nursery:
        await nursery.start(child.run)
        with trio.fail_after(10):
            while not (seen.exists() and "PATH" in seen.read_text()):
                await trio.sleep(0.02)
        nursery.cancel_scope.cancel()
    assert control.TOKEN_VARIABLE in seen.read_text()
    assert "SECRETS_KEY" not in seen.read_text()


async def test_child_that_does_not_start_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox_module, "BACKOFF_S", (0.01,))
    tries: list[int] = []

    def fail(port: int) -> Sequence[str]:
        tries.append(port)
        return ["/nonexistent/program"]

    child = SandboxChild(fail, "the-token")
    async with trio.open_nursery() as nursery:
        await nursery.start(child.run)
        with trio.fail_after(10):
            while len(tries) < 3:
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert not child.ready.is_set()
    with pytest.raises(SandboxUnavailable):
        child.url  # noqa: B018 -- reading it is what must fail


async def test_child_that_does_not_listen_is_ended_within_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox_module, "STOP_S", 0.1)
    monkeypatch.setattr(sandbox_module, "_KILL_S", 0.1)
    # Deaf to the end of stdin and to SIGTERM.
    script = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    )
    child = SandboxChild(lambda _port: [sys.executable, "-c", script], "the-token")
    async with trio.open_nursery() as nursery:
        await nursery.start(child.run)
        with trio.fail_after(10):
            while child.pid is None:
                await trio.sleep(0.01)
        pid = child.pid
        await trio.sleep(0.3)
        nursery.cancel_scope.cancel()
        began = trio.current_time()
    assert await is_gone(pid)
    assert trio.current_time() - began < 2
