"""The whole graph, started and taken down in this process: ownership, first keys, order, and what cannot start."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from actors.supervisor import leaves
from api.bootstrap import Options, Started, hand_out, lines_to_try, run_gateway
from api.bootstrap.run import LockLost, _guard_lock
from api.bootstrap.server import CannotListen
from api.demo.client import Client
from tests.integration.api.front import settings_for
from whatisup.errors import SecretsError
from whatisup.settings import Settings
from whatisup.store import ApiKey, Store, customers, keys, load_secrets

ALONE = Options(has_sandbox=False)


@asynccontextmanager
async def running(settings: Settings, options: Options = ALONE) -> AsyncIterator[Started]:
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        with trio.fail_after(30):
            started: Started = await nursery.start(partial(run_gateway, settings, options, stop))
        yield started
        stop.set()


def client(started: Started, key: str | None = None) -> Client:
    return Client("127.0.0.1", int(started.urls[0].rsplit(":", 1)[1]), key)


def read_keys(settings: Settings) -> list[ApiKey]:
    secrets = load_secrets(settings.database_url, settings.secrets_key, None, settings.api_key_pepper)
    with Store.open(settings.database_url, secrets) as store:
        return [
            key for customer in store.read(customers.list_all) for key in store.read(keys.list_by_customer, customer.id)
        ]


async def test_first_start_makes_keys_that_work_and_the_next_makes_none(folder: Path) -> None:
    settings = settings_for(folder)
    async with running(settings) as started:
        assert started.first_keys is not None
        for key, mode in ((started.first_keys.live, "live"), (started.first_keys.test, "test")):
            row = await client(started, key).call("POST", "/v1/instances", {"name": "a"})
            assert row["mode"] == mode
        assert (await client(started).ask("GET", "/readyz")).status == 200
    assert all(key.last_used_at is not None for key in read_keys(settings))
    async with running(settings) as again:
        assert again.first_keys is None


async def test_second_gateway_waits_for_the_first_and_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = settings_for(folder)
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        async with running(settings):
            nursery.start_soon(partial(run_gateway, settings, ALONE, stop))
            with trio.fail_after(10):
                while "lock.waiting" not in capsys.readouterr().out:
                    await trio.sleep(0.05)
        stop.set()  # one that still waits gives up at once


async def test_address_in_use_is_said_and_costs_no_keys(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = settings_for(folder, WHATISUP_PORT=str(taken.getsockname()[1]))
        with pytest.raises(BaseExceptionGroup) as failed:
            async with running(settings):
                pass
    assert [type(leaf) for leaf in leaves(failed.value)] == [CannotListen]
    assert read_keys(settings) == []


async def test_wrong_key_refuses_to_start(folder: Path) -> None:
    with pytest.raises(BaseExceptionGroup) as failed:
        async with running(settings_for(folder, SECRETS_KEY="another key, of thirty-two letters")):
            pass
    assert [type(leaf) for leaf in leaves(failed.value)] == [SecretsError]


async def test_drain_says_so_before_the_listener_closes(folder: Path) -> None:
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        started: Started = await nursery.start(partial(run_gateway, settings_for(folder), ALONE, stop))
        stop.set()
        await started.graph.edge.draining.wait()
        reply = await client(started).ask("GET", "/readyz")
        assert (reply.status, reply.json()["status"]) == (503, "draining")


class Lock:
    """A database lock that was lost to somebody else."""

    def is_held(self) -> bool:
        return False

    def try_acquire(self) -> bool:
        return False

    def holder(self) -> str | None:
        return None

    def release(self) -> None:
        return None


async def test_lock_that_somebody_else_took_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.bootstrap.run.LOCK_CHECK_EVERY_S", 0.01)
    with pytest.raises(LockLost), trio.fail_after(5):
        await _guard_lock(Lock())


class HangingLock(Lock):
    """A lock whose server has stopped answering; it counts the questions."""

    def __init__(self) -> None:
        self.questions = 0
        self.freed = threading.Event()

    def is_held(self) -> bool:
        self.questions += 1
        return self.freed.wait(30)


async def test_lock_whose_server_hangs_is_asked_once_and_holds_up_no_shutdown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.bootstrap.run.LOCK_CHECK_EVERY_S", 0.01)
    monkeypatch.setattr("api.bootstrap.run.LOCK_ANSWER_S", 0.05)
    lock = HangingLock()
    with trio.fail_after(5), trio.move_on_after(0.5) as shutdown:
        await _guard_lock(lock)
    lock.freed.set()
    assert shutdown.cancelled_caught
    assert lock.questions == 1


@pytest.mark.skipif(shutil.which("curl") is None, reason="the lines are curl's")
async def test_lines_to_try_work_as_they_stand(folder: Path) -> None:
    async with running(settings_for(folder), Options()) as started:
        assert started.first_keys is not None
        path = hand_out({"live": started.first_keys.live, "test": started.first_keys.test}, folder / "keys")
        assert path is not None
        assert path.stat().st_mode & 0o777 == 0o600
        key = f"$(sed -n 's/^test  //p' '{path}' | tail -n 1)"
        script = lines_to_try(started.urls[0], key, has_sandbox=True)
        run = partial(subprocess.run, ["sh", "-euc", script], capture_output=True, text=True, check=True, timeout=30)
        shown = (await trio.to_thread.run_sync(run)).stdout
        assert "▄▄▄▄▄" in shown
        assert '"method":"qr"' in shown
        assert started.first_keys.test not in shown


def test_keys_on_a_terminal_are_shown_and_written_nowhere(tmp_path: Path) -> None:
    import io

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    assert hand_out({"test": "zpk_test_x"}, tmp_path / "keys", out) is None
    assert out.getvalue() == "test  zpk_test_x\n"
    assert not (tmp_path / "keys").exists()


def test_key_file_keeps_older_keys_and_tightens_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("live  old\n")
    path.chmod(0o644)
    hand_out({"test": "new"}, path)
    assert path.read_text() == "live  old\ntest  new\n"
    assert path.stat().st_mode & 0o777 == 0o600
