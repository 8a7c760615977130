"""The sandbox as a process: what it prints, what survives its death, how it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio

from tests.unit.whatisup.sandbox.loopback import Handset, Loopback, open_loopback
from whatisup import control
from whatisup.errors import StoreUnavailable
from whatisup.protocol.events import Closed, Connected
from whatisup.sandbox import Options, serve_sandbox
from whatisup.sandbox.certificate import TlsIdentity
from whatisup.sandbox.entropy import Seed

NUMBER = "999000000001"


@asynccontextmanager
async def process(
    *arguments: str, stdin: int = subprocess.DEVNULL
) -> AsyncIterator[tuple[trio.Process, control.Ready]]:
    """A sandbox process that listens; killed at the end."""
    running = await trio.lowlevel.open_process(
        [sys.executable, "-m", "whatisup.sandbox", "--json", *arguments], stdin=stdin, stdout=subprocess.PIPE
    )
    try:
        assert running.stdout is not None
        line = b""
        with trio.fail_after(20):
            while not line.endswith(b"\n"):
                chunk = await running.stdout.receive_some(4096)
                assert chunk, "it ended before it listened"
                line += bytes(chunk)
        yield running, msgspec.json.decode(line, type=control.Ready)
    finally:
        with trio.CancelScope(shield=True):
            if running.returncode is None:
                running.kill()
            await running.wait()
            for stream in (running.stdin, running.stdout):
                if stream is not None:
                    await stream.aclose()


async def test_state_survives_sigkill(tmp_path: Path) -> None:
    state = str(tmp_path / "sandbox.db")
    async with process("--state", state) as (running, ready):
        loopback = Loopback(ready)
        await loopback.create(NUMBER)
        handset = Handset.new(loopback)
        await handset.pair(NUMBER)
        async with handset.connected():
            await handset.until(Connected)
            _, before = await loopback.call("GET", "/sandbox/accounts")
            running.send_signal(signal.SIGKILL)
            await running.wait()
    port = ready.control_url.rpartition(":")[2]
    async with process("--state", state, "--port", port) as (_, again):
        assert (again.root_public_key, again.url) == (ready.root_public_key, ready.url)
        loopback.ready = again
        async with handset.connected():
            await handset.until(Connected)
            _, after = await loopback.call("GET", "/sandbox/accounts")
    assert msgspec.json.decode(after, type=control.Accounts).data[0].devices[0].prekeys == 812
    assert after == before


async def test_seed_fixes_root_numbers_and_references() -> None:
    readies, numbers = [], []
    for seed in (4, 4, 5):
        async with open_loopback(seed=seed) as loopback:
            readies.append(loopback.ready.root_public_key)
            _, body = await loopback.call("POST", "/sandbox/accounts")
            numbers.append(msgspec.json.decode(body, type=control.Account).number)
    assert readies[0] == readies[1] != readies[2]
    assert numbers[0] == numbers[1] != numbers[2]


async def test_token_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(control.TOKEN_VARIABLE, "from-the-environment")
    async with process() as (_, ready):
        assert ready.token == "from-the-environment"


async def test_token_is_minted_without_one() -> None:
    async with open_loopback() as one, open_loopback() as two:
        assert len(one.ready.token) >= 32
        assert one.ready.token != two.ready.token


async def test_child_ends_when_its_stdin_closes() -> None:
    async with process("--child", stdin=subprocess.PIPE) as (running, _):
        assert running.stdin is not None
        await running.stdin.aclose()
        with trio.fail_after(5):
            assert await running.wait() == 0


async def test_sandbox_ends_on_sigterm() -> None:
    async with process() as (running, _):
        running.terminate()
        with trio.fail_after(5):
            assert await running.wait() == 0


async def test_announcement_for_people_names_everything() -> None:
    command = [sys.executable, "-m", "whatisup.sandbox", "--seed", "1", "--tls"]
    running = await trio.lowlevel.open_process(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert running.stdout is not None
    text = b""
    with trio.fail_after(20):
        while b"END CERTIFICATE" not in text:
            text += bytes(await running.stdout.receive_some(4096))
    running.terminate()
    await running.wait()
    await running.stdout.aclose()
    for word in (b"wss://127.0.0.1:", b"https://127.0.0.1:", b"token", b"root key"):
        assert word in text


async def test_state_file_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable):
        await serve_sandbox(Options(state=str(tmp_path / "nowhere" / "sandbox.db")))


async def test_restart_ends_old_connections_and_links_stay(tmp_path: Path) -> None:
    state = str(tmp_path / "sandbox.db")
    async with open_loopback(state=state, seed=1) as loopback:
        await loopback.create(NUMBER)
        handset = Handset.new(loopback)
        await handset.pair(NUMBER)
    async with open_loopback(state=state, seed=1) as loopback:
        handset.loopback = loopback
        async with handset.connected():
            await handset.until(Connected)
            await loopback.arm("stream-515", scope=control.Scope(NUMBER, 1))
            await handset.until(Closed)


async def test_tls_certificate_survives_a_restart(tmp_path: Path) -> None:
    state = str(tmp_path / "sandbox.db")
    certificates = []
    for _ in range(2):
        async with open_loopback(state=state, use_tls=True) as loopback:
            certificates.append(loopback.ready.tls_certificate)
            assert (await loopback.call("GET", "/"))[0] == 200
    assert certificates[0] == certificates[1]


def test_tls_certificate_is_renewed_when_it_no_longer_fits() -> None:
    now = 1_700_000_000.0
    identity = TlsIdentity.generate(("localhost", "127.0.0.1"), now, Seed.of(1).stream("tls"))
    assert identity.fits(("localhost",), now)
    assert TlsIdentity.decode(identity.encode()) == identity
    assert not identity.fits(("localhost", "sandbox.test"), now)
    assert not identity.fits(("localhost",), now + 3650 * 86_400)


def test_options_and_identities_hide_their_secrets() -> None:
    assert "hush" not in repr(Options(token="hush"))
    assert "PRIVATE" not in repr(TlsIdentity.generate(("localhost",), 1_700_000_000.0, Seed.of(1).stream("tls")))


async def test_main_says_why_it_cannot_start(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "whatisup.sandbox", "--state", str(tmp_path / "nowhere" / "sandbox.db")]
    done = await trio.run_process(command, stdin=subprocess.DEVNULL, capture_stderr=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(b"the sandbox cannot start: ")
    assert b"Traceback" not in done.stderr


def test_a_traceback_in_the_log_shows_no_local_variables() -> None:
    program = """
import structlog
from whatisup.sandbox.run import _configure_logging
_configure_logging()
def fail(body):
    raise ValueError("a defect")
try:
    fail("what a person" + " wrote")
except ValueError:
    structlog.get_logger().exception("failed")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert "a defect" in done.stderr
    assert "what a person wrote" not in done.stderr
