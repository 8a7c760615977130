"""A sandbox and a gateway, each a process of its own on loopback, as the end-to-end tests need them.

Rule: everything lives in one temporary folder, every process is ended by its own id, every wait has a bound.
"""

from __future__ import annotations

import sqlite3
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from actors.sandbox import SandboxClient
from api.demo.client import Client, Json
from api.demo.gateway import HOST, Gateway
from api.demo.journal import Journal, Seen
from tests.processes import Sandbox, gateway_for

BEAT_MS = "500"
QUICK_S = 30.0


@dataclass
class Number:
    """One paired instance and the simulated phone behind it."""

    world: World
    instance_id: str
    number: str

    async def row(self) -> Json:
        return await self.world.api.call("GET", f"/v1/instances/{self.instance_id}")

    async def act(self, action: str, body: Json | None = None) -> Json:
        return await self.world.api.call("POST", f"/v1/instances/{self.instance_id}/{action}", body or {})

    async def phone(self, action: str) -> Json:
        path = f"/v1/sandbox/phones/{self.number}/{action}"
        return await self.world.api.call("POST", path, {"instance_id": self.instance_id})

    async def fault(self, name: str, **more: Any) -> Json:
        return await self.world.api.call(
            "POST", "/v1/sandbox/faults", {"name": name, "instance_id": self.instance_id, **more}
        )

    async def status(self, wanted: str, *, within_s: float = QUICK_S, detail: str | None = None) -> Json:
        """Poll the API until it shows `wanted`; the row then."""
        row: Json = {}
        with trio.move_on_after(within_s):
            while True:
                row = await self.row()
                if row["status"] == wanted and (detail is None or row["detail"] == detail):
                    return row
                await trio.sleep(0.05)
        raise AssertionError(f"not {wanted} within {within_s} s: {row.get('status')} {row.get('detail')}")

    def events(self) -> list[Seen]:
        return [seen for seen in self.world.journal.entries if seen.event["instance_id"] == self.instance_id]

    async def seen(self, name: str, *, since: int = 0, within_s: float = QUICK_S, **data: Any) -> Seen:
        """Wait for an event of this instance called `name` whose data has `data`."""

        def wanted(seen: Seen) -> bool:
            mine = seen.event["instance_id"] == self.instance_id and seen.name == name
            return mine and all(seen.data.get(key) == value for key, value in data.items())

        with trio.move_on_after(within_s):
            return await self.world.journal.first(wanted, since=since)
        known = [(seen.name, seen.data) for seen in self.events() if seen.name != "qr.updated"]
        raise AssertionError(f"no {name} {data} within {within_s} s; seen: {known}")


@dataclass
class World:
    """The two processes and what drives them."""

    folder: Path
    sandbox: Sandbox
    gateway: Gateway
    ready: Mapping[str, str]
    api: Client = field(init=False)
    journal: Journal = field(init=False)

    async def open(self, nursery: trio.Nursery) -> None:
        await self.gateway.start()
        await self.gateway.wait_ready()
        self.api = Client(HOST, self.gateway.port, await self.gateway.test_key())
        self.journal = Journal(self.api, lambda seen: None, names="*")
        await nursery.start(self.journal.follow)

    def control(self) -> SandboxClient:
        """The sandbox's own control API, past the gateway: it sees every connection."""
        tls = ssl.create_default_context(cadata=self.ready["tls_certificate"])
        return SandboxClient(self.ready["control_url"], self.ready["token"], tls=tls)

    async def restart_gateway(self) -> None:
        await self.gateway.start()
        await self.gateway.wait_ready()

    async def create(self, name: str = "e2e") -> Number:
        row = await self.api.call("POST", "/v1/instances", {"name": name})
        phone = await self.api.call("POST", "/v1/sandbox/phones", {})
        return Number(self, row["id"], phone["number"])

    async def pair(self, name: str = "e2e") -> Number:
        """Create an instance and a phone, scan, and wait until it is connected."""
        number = await self.create(name)
        await self.api.call("GET", f"/v1/instances/{number.instance_id}/qr")
        await number.phone("scan")
        await number.status("connected")
        return number

    async def pair_many(self, count: int) -> list[Number]:
        numbers: list[Number] = []
        places = trio.CapacityLimiter(8)

        async def one() -> None:
            async with places:
                numbers.append(await self.pair())

        async with trio.open_nursery() as nursery:
            for _ in range(count):
                nursery.start_soon(one)
        return numbers

    def query(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Look into the gateway's SQLite file, read-only."""
        with sqlite3.connect(f"file:{self.folder / 'demo.db'}?mode=ro", uri=True) as connection:
            rows = connection.execute(sql, values).fetchall()
        connection.close()
        return rows

    def auth_rows(self, number: Number) -> int:
        """How many rows of auth state, prekeys and data keys the instance has."""
        tables = ("auth_state", "prekeys")
        count = sum(
            self.query(f"select count(*) from {table} where instance_id = ?", number.instance_id)[0][0]
            for table in tables
        )
        return int(count) + int(self.query("select count(*) from data_keys where owner = ?", number.instance_id)[0][0])

    def change(self, sql: str, *values: object) -> None:
        """Change the gateway's SQLite file behind its back."""
        connection = sqlite3.connect(self.folder / "demo.db", timeout=10)
        with connection:
            connection.execute(sql, values)
        connection.close()

    async def sicken(self, number: Number) -> None:
        """Break the seal of an instance's credentials, as a flipped bit on disk would: its actor cannot load them."""
        self.change("update auth_state set sealed = zeroblob(length(sealed)) where instance_id = ?", number.instance_id)

    def log_count(self, event: str, number: Number | None = None) -> int:
        """How often the gateway logged `event`, of one instance or of all."""
        lines = [line for line in self.gateway.log.read_text().splitlines() if f'"{event}"' in line]
        return len([line for line in lines if number is None or number.instance_id in line])


@asynccontextmanager
async def open_world(folder: Path, **settings: str) -> AsyncIterator[World]:
    """Start both processes, follow the event log, and end everything whatever happens."""
    sandbox = Sandbox(folder)
    ready = await sandbox.start()
    gateway = gateway_for(folder, ready)
    gateway.settings = {**gateway.settings, "HEARTBEAT_INTERVAL_MS": BEAT_MS, **settings}
    world = World(folder, sandbox, gateway, ready)
    try:
        async with trio.open_nursery() as nursery:
            await world.open(nursery)
            yield world
            nursery.cancel_scope.cancel()
    finally:
        await gateway.stop()
        await sandbox.kill()
