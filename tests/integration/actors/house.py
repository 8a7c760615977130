"""The running system in this process, over a real SQLite store, against a sandbox in a process of its own.

Rule: nothing is faked. `House.crash_after` plants a bug at an arrow of the actor: the crash is real, so is the rebuild.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from actors.bus import Bus
from actors.instance import Endpoint
from actors.messages import RequestQr
from actors.sandbox import SandboxClient
from actors.system import System
from actors.writer import Writer
from whatisup.lifecycle import State
from whatisup.settings import Settings
from whatisup.store import Event, Instance, Mode, Origin, customers, events, instances
from whatisup.store.database import Database
from whatisup.store.secrets import load_secrets
from whatisup.store.store import Store

ORIGIN = Origin("test")
WAIT_S = 20.0


def unix_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass
class House:
    """One process's worth of system, and the sandbox it talks to."""

    system: System
    store: Store
    database: Database
    writer: Writer
    sandbox: SandboxClient
    ready: Mapping[str, str]
    customer_id: str

    async def create(self) -> tuple[str, str]:
        """Make an instance and a phone; their id and number."""

        def make(tx: object) -> Instance:
            return instances.create(
                tx,  # type: ignore[arg-type]  # a Tx
                customer_id=self.customer_id,
                mode=Mode.TEST,
                name="test",
                metadata={},
                origin=ORIGIN,
                now=unix_ms(),
            )

        row = await self.writer.call(make)
        account = await self.sandbox.create_account()
        return row.id, account.number

    async def pair(self) -> tuple[str, str]:
        """Create, scan and wait until connected."""
        instance_id, number = await self.create()
        qr = await self.system.ask(instance_id, RequestQr(ORIGIN))
        await self.sandbox.scan(number, qr.code)
        await self.status(instance_id, State.CONNECTED)
        return instance_id, number

    async def row(self, instance_id: str) -> Instance:
        row = await self.database.read(instances.get, instance_id)
        assert row is not None
        return row

    async def status(self, instance_id: str, wanted: State, within_s: float = WAIT_S) -> Instance:
        row: Instance | None = None
        with trio.move_on_after(within_s):
            while True:
                row = await self.row(instance_id)
                if row.status is wanted:
                    return row
                await trio.sleep(0.02)
        raise AssertionError(f"not {wanted} within {within_s} s but {row and (row.status, row.detail)}")

    async def went_through(self, instance_id: str, *states: State, since: int = 0, within_s: float = WAIT_S) -> None:
        """Wait until the log past `since` entries tells of these states in this order; polling the row misses some."""
        with trio.move_on_after(within_s):
            while True:
                log = (await self.events(instance_id))[since:]
                moves = iter([e.data["status"] for e in log if e.type == "instance.status" and e.data is not None])
                if all(any(move == state for move in moves) for state in states):
                    return
                await trio.sleep(0.02)
        raise AssertionError(f"{instance_id} never went through {states}")

    async def events(self, instance_id: str) -> list[Event]:
        def read(conn: object, vault: object) -> list[Event]:
            return events.page(
                conn,  # type: ignore[arg-type]  # a Connection
                vault,  # type: ignore[arg-type]  # a Vault
                customer_id=self.customer_id,
                mode=Mode.TEST,
                after=0,
                limit=1000,
                instance_id=instance_id,
            )

        return await self.database.read(read)


@asynccontextmanager
async def open_sandbox(folder: Path) -> AsyncIterator[Mapping[str, str]]:
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "whatisup.sandbox", "--json", "--state", str(folder / "sandbox.state")],
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        with trio.fail_after(15):
            line = b""
            while b"\n" not in line:
                line += await process.stdout.receive_some(65536)
        yield json.loads(line)
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            await process.stdout.aclose()


@asynccontextmanager
async def open_house(folder: Path, ready: Mapping[str, str], **environment: str) -> AsyncIterator[House]:
    """Run the system until the block ends; the store outlives it in `folder`."""
    url = f"sqlite:///{folder / 'house.db'}"
    settings = Settings.from_environment({"HEARTBEAT_INTERVAL_MS": "500", "DATABASE_URL": url, **environment})
    store = Store.open(url, load_secrets(url, None, None, None))
    try:
        database, bus = Database(store), Bus()
        writer = Writer(database, on_events=bus.publish)
        endpoint = Endpoint(ready["url"], bytes.fromhex(ready["root_public_key"]), None)
        system = System(
            settings=settings,
            database=database,
            writer=writer,
            bus=bus,
            endpoint=lambda mode: endpoint if mode is Mode.TEST else None,
            unix_ms=unix_ms,
            entropy=os.urandom,
            jitter=random.random,
        )
        async with trio.open_nursery() as storage:
            await storage.start(writer.run)
            async with trio.open_nursery() as nursery:
                customer = await writer.call(lambda tx: customers.create(tx, name="test", origin=ORIGIN, now=unix_ms()))
                await nursery.start(system.run)
                client = SandboxClient(ready["control_url"], ready["token"])
                yield House(system, store, database, writer, client, ready, customer.id)
                nursery.cancel_scope.cancel()
            writer.close()
    finally:
        store.close()
