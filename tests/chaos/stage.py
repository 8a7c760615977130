"""What a run consists of: sandbox, gateway, database, a webhook receiver, and the people who write to each other.

Rule: everything lives in one temporary folder and on loopback, and every process is ended by its own id.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import trio

from actors.sandbox import SandboxClient, SandboxUnavailable
from api.demo.client import Client
from api.demo.gateway import HOST, Gateway
from tests.chaos.databases import Database, open_database
from tests.chaos.hooks import SETTINGS, HookEndpoint, make_endpoints
from tests.chaos.plan import Chat, Plan
from tests.chaos.receiver import Receiver, open_receiver
from tests.e2e.world import Number, World
from tests.processes import UNLIMITED, Sandbox, gateway_for
from whatisup.control import Switch

T = TypeVar("T")

PATIENCE_S = 60.0
AGAIN_S = 0.1


class Broken(Exception):
    """The run cannot go on, and has no result: something that was not harmed does not work."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A chat of the plan with its people: the instance, and the contact's number."""

    chat: Chat
    instance: Number
    contact: str


@dataclass(slots=True)
class Stage:
    """Everything that runs, and what happened to it."""

    plan: Plan
    database: Database
    world: World
    receiver: Receiver
    hooks: tuple[HookEndpoint, ...] = ()
    pairs: list[Pair] = field(default_factory=list)
    kills: int = 0
    starts: int = 0
    switches: tuple[Switch, ...] = ()
    deaths: list[str] = field(default_factory=list)
    """The times the gateway ended without having been told to."""

    @property
    def api(self) -> Client:
        return self.world.api

    @property
    def gateway(self) -> Gateway:
        return self.world.gateway

    @property
    def people(self) -> SandboxClient:
        return self.world.control()

    async def start_gateway(self) -> None:
        self.starts += 1
        await self.gateway.start()

    async def kill_gateway(self) -> None:
        """SIGKILL; a gateway that has ended by itself is noted."""
        process = self.gateway.process
        if process is not None and process.poll() is not None:
            self.deaths.append(f"the gateway ended by itself with code {process.returncode}")
        self.kills += 1
        await self.gateway.kill()

    async def ask_people(self, ask: Callable[[SandboxClient], Awaitable[T]]) -> T:
        """Ask the sandbox, however often it is being restarted. Raises `Broken` when it seems to be gone for good."""
        with trio.move_on_after(PATIENCE_S):
            while True:
                try:
                    return await ask(self.people)
                except SandboxUnavailable:
                    await trio.sleep(AGAIN_S)
        raise Broken(f"the sandbox does not answer; see {self.world.folder / 'sandbox.log'}")

    async def make_whole(self) -> None:
        """Mend what was broken when the time was over."""
        self.database.empty()
        if not _runs(self.world.sandbox.process):
            await self.world.sandbox.start()
        if not _runs(self.gateway.process):
            await self.start_gateway()
        await self.gateway.wait_ready()

    async def turn(self, switches: tuple[Switch, ...]) -> None:
        """Let the server behave so from now on, also after a restart."""
        if switches != self.switches:
            self.switches = switches
            self.world.sandbox.options = _words(self.plan, switches)
            await self.ask_people(partial(SandboxClient.set_switches, names=switches))

    def durability(self) -> list[str]:
        """What each started gateway said of its writer's connection."""
        path = self.world.folder / "durability"
        return path.read_text().splitlines() if path.exists() else []

    async def settle_in(self) -> None:
        """Make the webhook endpoints, pair the instances and make the contacts."""
        self.world.api = Client(HOST, self.gateway.port, await self.gateway.test_key())
        self.hooks = await make_endpoints(self.api, self.database, self.receiver)
        instances = await self.world.pair_many(self.plan.options.instances)
        for chat in self.plan.chats:
            contact = await self.api.call("POST", "/v1/sandbox/contacts", {"name": chat.name})
            self.pairs.append(Pair(chat, instances[chat.instance], contact["number"]))


def _runs(process: trio.Process | None) -> bool:
    return process is not None and process.poll() is None


@asynccontextmanager
async def open_stage(plan: Plan, folder: Path) -> AsyncIterator[Stage]:
    """Start everything, and end it whatever happens."""
    sandbox = Sandbox(folder, options=_words(plan, plan.switches))
    with open_database(plan.options.database, folder) as database, open_receiver(plan.options.seed) as receiver:
        try:
            ready = await sandbox.start()
            gateway = _gateway(folder, ready, database)
            stage = Stage(plan, database, World(folder, sandbox, gateway, ready), receiver, switches=plan.switches)
            try:
                await stage.start_gateway()
                await gateway.wait_ready()
                await stage.settle_in()
                yield stage
            finally:
                await gateway.stop()
        finally:
            await sandbox.kill()


def _words(plan: Plan, switches: tuple[Switch, ...]) -> tuple[str, ...]:
    return ("--seed", str(plan.options.seed), *(word for switch in switches for word in ("--switch", switch)))


def _gateway(folder: Path, ready: Mapping[str, str], database: Database) -> Gateway:
    gateway = gateway_for(folder, ready)
    gateway.command = (str(Path(__file__).with_name("gateway.py")), "serve")
    gateway.settings = {
        **gateway.settings,
        **UNLIMITED,
        **SETTINGS,
        "DATABASE_URL": database.url,
        "HEARTBEAT_INTERVAL_MS": "1000",
        "WHATISUP_LOG_FORMAT": "json",
        "CHAOS_FULL": str(folder / "full"),
        "CHAOS_DURABILITY": str(folder / "durability"),
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
    }
    return gateway
