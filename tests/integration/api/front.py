"""The edge over a real SQLite store and the real system, all in this process, driven by Quart's test client.

Rule: nothing is faked; where a test needs a WhatsApp it gets the sandbox as a process of its own.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import trio
from quart.typing import TestClientProtocol
from quart.wrappers import Response

from actors.bus import Bus
from actors.system import System
from actors.writer import Writer
from api.app import create_app
from api.bootstrap.sandboxes import ExternalSandbox
from api.serving.edge import Edge, wall_clock_ms
from tests.conftest import TEST_SECRETS
from whatisup.settings import Settings
from whatisup.store import Database, Mode, Origin, Store, Tx, customers, keys

Json = dict[str, Any]
ORIGIN = Origin("test")
OPERATOR_TOKEN = "operator-token-of-the-tests-0123456789"
WAIT_S = 20.0


@dataclass(frozen=True)
class Holder:
    """A customer and whoever holds one of its keys."""

    client: TestClientProtocol
    customer_id: str
    key: str

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Response:
        fields = {"Authorization": f"Bearer {self.key}", **{k.replace("_", "-"): v for k, v in headers.items()}}
        content = {} if body is None else {"json": body}
        with trio.fail_after(WAIT_S):
            return await self.client.open(path, method=method, headers=fields, **content)

    async def call(self, method: str, path: str, body: Any = None, status: int = 200, **headers: str) -> Json:
        """Ask for what must end with `status`; its JSON."""
        answer = await self.ask(method, path, body, **headers)
        text = await answer.get_data(as_text=True)
        assert answer.status_code == status, text
        return {} if status == 204 else await answer.get_json()

    async def refused(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, str]:
        """Ask for what must be refused; status and code of the envelope."""
        return await refusal(await self.ask(method, path, body, **headers))

    async def create(self, name: str = "one") -> str:
        row = await self.call("POST", "/v1/instances", {"name": name}, 201)
        return str(row["id"])

    async def create_phone(self) -> str:
        phone = await self.call("POST", "/v1/sandbox/phones", {}, 201)
        return str(phone["number"])

    async def pair(self) -> tuple[str, str]:
        """An instance and its phone, connected."""
        instance_id, number = await self.create(), await self.create_phone()
        await self.call("POST", f"/v1/sandbox/phones/{number}/scan", {"instance_id": instance_id})
        await self.status(instance_id, "connected")
        return instance_id, number

    async def status(self, instance_id: str, wanted: str) -> Json:
        row: Json = {}
        with trio.move_on_after(WAIT_S):
            while (row := await self.call("GET", f"/v1/instances/{instance_id}"))["status"] != wanted:
                await trio.sleep(0.02)
            return row
        raise AssertionError(f"not {wanted}: {row}")


async def refusal(answer: Response) -> tuple[int, str]:
    """Status and code of an answer that must carry the envelope."""
    body = await answer.get_json()
    assert answer.content_type == "application/json", answer.content_type
    assert set(body) == {"error", "request_id"}, body
    assert body["request_id"] == answer.headers["X-Request-Id"]
    assert set(body["error"]) <= {"code", "message", "details"}
    assert body["error"]["message"]
    return answer.status_code, body["error"]["code"]


@dataclass
class Front:
    """The application, what is behind it, and key holders."""

    edge: Edge
    store: Store
    database: Database
    client: TestClientProtocol
    holders: dict[tuple[str, Mode], Holder] = field(default_factory=dict)

    async def holder(self, name: str = "alice", mode: Mode = Mode.TEST, **limits: Any) -> Holder:
        """Somebody with a key of the customer called `name`, which is made if need be."""
        known = self.holders.get((name, mode))
        if known is not None and not limits:
            return known
        others = [h.customer_id for (other, _), h in self.holders.items() if other == name]
        customer_id = others[0] if others else await self.write(_make_customer, name)
        _, secret = await self.write(partial(_make_key, **limits), customer_id, mode)
        made = Holder(self.client, customer_id, secret)
        if not limits:
            self.holders[name, mode] = made
        return made

    async def write(self, fn: Any, *args: Any) -> Any:
        return await self.edge.system.writer.call(fn, *args)


def _make_customer(tx: Tx, name: str) -> str:
    return customers.create(tx, name=name, origin=ORIGIN, now=tx.now).id


def _make_key(tx: Tx, customer_id: str, mode: Mode, **limits: Any) -> Any:
    return keys.create(tx, customer_id=customer_id, mode=mode, name="test", origin=ORIGIN, now=tx.now, **limits)


def settings_for(folder: Path, **environment: str) -> Settings:
    return Settings.from_environment(
        {
            "DATABASE_URL": f"sqlite:///{folder / 'front.db'}",
            "SECRETS_KEY": TEST_SECRETS.key,
            "API_KEY_PEPPER": TEST_SECRETS.pepper,
            "HEARTBEAT_INTERVAL_MS": "500",
            "WHATISUP_OPERATOR_TOKEN": OPERATOR_TOKEN,
            "WHATISUP_PORT": "0",
            "WHATISUP_LOG_LEVEL": "error",
            # A test asks as fast as it can; the tests of the rate limits set their own.
            "RATE_LIMIT_PER_S": "0",
            "RATE_LIMIT_PER_S_TEST": "0",
            **environment,
        }
    )


@asynccontextmanager
async def open_front(
    folder: Path, ready: Mapping[str, str] | None = None, *, keepalive_s: float = 25.0, **environment: str
) -> AsyncIterator[Front]:
    """Run system and application until the block ends; `ready` is a sandbox's announcement."""
    settings = settings_for(folder, **environment)
    sandbox = None
    if ready is not None:
        sandbox = ExternalSandbox(ready["url"], bytes.fromhex(ready["root_public_key"]), ready["token"], None)
    with Store.open(settings.database_url, TEST_SECRETS) as store:
        database, bus = Database(store), Bus()
        writer = Writer(database, on_events=bus.publish)
        system = System(
            settings=settings,
            database=database,
            writer=writer,
            bus=bus,
            endpoint=lambda mode: None if sandbox is None or mode is Mode.LIVE else sandbox.endpoint,
            unix_ms=wall_clock_ms,
            entropy=os.urandom,
            jitter=random.random,
        )
        edge = Edge(system, settings, sandbox, keepalive_s=keepalive_s)
        async with trio.open_nursery() as storage:
            await storage.start(writer.run)
            async with trio.open_nursery() as nursery:
                await nursery.start(system.run)
                await nursery.start(edge.streams.run)
                yield Front(edge, store, database, create_app(edge).test_client())
                nursery.cancel_scope.cancel()
            writer.close()


def copy_store(template: Path, folder: Path) -> None:
    """Start from an empty store that somebody has migrated already."""
    for file in template.iterdir():
        shutil.copy(file, folder / file.name)
