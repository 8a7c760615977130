"""One process owns a database; a second one waits, and can say for whom."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import pytest
import trio

from tests.conftest import TEST_SECRETS
from tests.postgres import Postgres
from whatisup.errors import StoreUnavailable
from whatisup.store import Store, database_lock, holding
from whatisup.store.lock import AdvisoryLock

HOLD = """
import sys
from whatisup.store import database_lock
lock = database_lock(sys.argv[1])
print("held" if lock.try_acquire() else "refused", flush=True)
sys.stdin.read()
"""

PATIENCE_S = 30


@contextmanager
def holder_elsewhere(url: str) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock of `url` until its input closes."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with process:
        yield process
        process.kill()


def test_lock_is_one_processes(store_url: str) -> None:
    lock = database_lock(store_url)
    with holder_elsewhere(store_url) as process:
        assert not lock.try_acquire()
        assert not lock.is_held()
        assert f"process {process.pid}" in (lock.holder() or "")
    eventually(lock.try_acquire)
    assert lock.is_held()
    lock.release()


def test_lock_is_ours_until_released(store_url: str) -> None:
    lock, other = database_lock(store_url), database_lock(store_url)
    assert lock.try_acquire()
    assert lock.try_acquire(), "asking again changes nothing"
    assert not other.try_acquire()
    assert f"process {os.getpid()}" in (other.holder() or "")
    lock.release()
    assert not lock.is_held()
    assert other.try_acquire()
    other.release()
    other.release()


def test_lock_of_nobody_has_no_holder(store_url: str) -> None:
    lock = database_lock(store_url)
    assert lock.holder() is None
    lock.release()


def test_lock_is_freed_by_a_kill(store_url: str) -> None:
    lock = database_lock(store_url)
    with holder_elsewhere(store_url) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE_S)
        eventually(lock.try_acquire)
    lock.release()


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for a condition: a server notices a moment later that a client died."""
    for _ in range(PATIENCE_S * 20):
        if condition():
            return
        Event().wait(0.05)
    raise AssertionError("it never came true")


def test_lock_does_not_hinder_writing(store_url: str) -> None:
    """CLI commands write beside a running server."""
    with holder_elsewhere(store_url), Store.open(store_url, TEST_SECRETS) as store:
        store.probe()


async def test_second_process_waits_and_says_for_whom(store_url: str) -> None:
    told: list[str] = []
    lock = database_lock(store_url)
    with holder_elsewhere(store_url) as process, trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            waiting = trio.Event()

            def tell(holder: str) -> None:
                told.append(holder)
                waiting.set()

            async def end_the_other() -> None:
                await waiting.wait()
                process.kill()

            nursery.start_soon(end_the_other)
            async with holding(lock, on_wait=tell, poll_s=0.02):
                assert lock.is_held()
        assert not lock.is_held()
    assert len(told) == 1
    assert f"process {process.pid}" in told[0]


async def test_free_lock_is_taken_at_once(store_url: str) -> None:
    told: list[str] = []
    async with holding(database_lock(store_url), on_wait=told.append):
        pass
    assert told == []


def test_locks_of_two_databases_are_two(tmp_path: Path, postgres: Postgres, postgres_url: str) -> None:
    urls = [f"sqlite:///{tmp_path}/a.db", f"sqlite:///{tmp_path}/b.db", postgres_url, postgres.url("postgres")]
    locks = [database_lock(url) for url in urls]
    assert all(lock.try_acquire() for lock in locks)
    for lock in locks:
        lock.release()


def test_advisory_lock_notices_that_its_session_died(postgres: Postgres, postgres_url: str) -> None:
    lock = database_lock(postgres_url)
    assert lock.try_acquire()
    postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
    assert not lock.is_held()
    assert lock.try_acquire(), "nobody took it meanwhile"
    lock.release()


def test_lock_of_a_server_that_is_not_there(tmp_path: Path) -> None:
    lock = database_lock(f"postgresql://t@/x?host={tmp_path}")
    assert isinstance(lock, AdvisoryLock)
    with pytest.raises(StoreUnavailable):
        lock.try_acquire()
    assert lock.holder() is None
    assert not lock.is_held()
