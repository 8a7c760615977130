"""Instances that talk: each paired, each with a contact of its own, and both sides acquainted.

Rule: limits and pacing are off and durability is on, both as the running gateway says, so that a figure is the price of
a message and of nothing that was left out.
"""

from __future__ import annotations

import sqlite3
import ssl
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path

import trio

from actors.sandbox import SandboxClient
from api.demo.client import Client
from api.demo.gateway import HOST, Gateway
from benchmarks.fleet import Fleet
from benchmarks.line import Lines
from benchmarks.measure import Process
from benchmarks.processes import Sandbox, gateway_for
from benchmarks.watched import durability
from whatisup.control import BurstRequest

UNLIMITED: Mapping[str, str] = {
    "SEND_PACE_PER_S_TEST": "0",
    "CONTACT_CHECKS_PER_MINUTE": "0",
    "NEW_CHATS_PER_DAY": "0",
    "RETRY_RESENDS_PER_MINUTE": "0",
    "RATE_LIMIT_PER_S_TEST": "0",
}
LOOPBACK: Mapping[str, str] = {"WEBHOOK_ALLOW_HTTP": "true", "WEBHOOK_ALLOW_PRIVATE_CIDRS": "127.0.0.0/8"}
"""So that webhooks reach a receiver on this machine; whatever else is said of them is as it is by default."""
GREETINGS = 2
GREET_S = 60.0
POLL_S = 0.05
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Pair:
    """An instance, the number of its account, and the number of the contact it talks with."""

    instance_id: str
    number: str
    contact: str


@dataclass(frozen=True, slots=True)
class Rows:
    """What is durable: the gateway's database, read from outside, which costs the gateway nothing.

    A mark is a position; what is asked for is what came behind it.
    """

    path: Path

    def _ask(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=10.0)) as connection:
            return connection.execute(sql, values).fetchall()

    def _number(self, sql: str, *values: object) -> int:
        return int(str(self._ask(sql, *values)[0][0]))

    def mark(self) -> int:
        """The position of the newest message."""
        return self._number("SELECT coalesce(max(position), 0) FROM messages")

    def ingested(self, since: int, instance_id: str | None = None) -> int:
        """How many messages came in, to one instance or to all."""
        return self._count("direction = 'in'", since, instance_id)

    def acked(self, since: int, instance_id: str | None = None) -> int:
        """How many messages of ours the server has."""
        return self._count("status IN ('sent', 'delivered', 'read', 'played') AND source = 'api'", since, instance_id)

    def delivered(self, since: int) -> int:
        """How many messages of ours a contact's phone says it has."""
        return self._count("status = 'delivered'", since, None)

    def _count(self, what: str, since: int, instance_id: str | None) -> int:
        whose = "" if instance_id is None else " AND instance_id = ?"
        values = (since,) if instance_id is None else (since, instance_id)
        return self._number(f"SELECT count(*) FROM messages WHERE position > ? AND {what}{whose}", *values)

    def received(self, since: int) -> list[tuple[str, str, int]]:
        """The messages that came in: WhatsApp's id, the instance, and the position of the event that tells of it."""
        found = self._ask(
            "SELECT m.wa_id, m.instance_id, e.position FROM messages m JOIN events e ON e.message_id = m.id"
            " WHERE m.position > ? AND m.direction = 'in' AND e.type = 'message.received'",
            since,
        )
        return [(str(wa_id), str(instance_id), int(str(position))) for wa_id, instance_id, position in found]

    def log_end(self) -> int:
        """The position of the newest event."""
        return self._number("SELECT coalesce(max(position), 0) FROM events")

    def told(self, since: int) -> dict[str, int]:
        """The events that tell of messages that came in, behind that position of the log: their positions by id."""
        found = self._ask("SELECT id, position FROM events WHERE position > ? AND type = 'message.received'", since)
        return {str(event_id): int(str(position)) for event_id, position in found}

    def undelivered(self) -> int:
        """How many webhooks are still to be delivered."""
        return self._number("SELECT count(*) FROM webhook_deliveries WHERE next_attempt_at IS NOT NULL")


@dataclass(slots=True)
class Busy:
    """Everything that runs. `lines` are the customer's connections."""

    folder: Path
    gateway: Gateway
    api: Client
    people: SandboxClient
    processes: tuple[Process, Process]
    """The gateway's and the sandbox's."""
    durability: str
    lines: Lines = field(init=False)
    rows: Rows = field(init=False)
    pairs: list[Pair] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lines = Lines(self.api)
        self.rows = Rows(self.folder / "demo.db")

    def cpu_s(self) -> tuple[float, float]:
        """CPU seconds of the gateway and of the sandbox so far."""
        gateway, sandbox = self.processes
        return gateway.cpu_s, sandbox.cpu_s

    async def until(self, is_done: Callable[[], bool], within_s: float, what: str) -> None:
        """Wait for something that the database shows.

        Raises:
            RuntimeError: it took longer than `within_s`.
        """
        with trio.move_on_after(within_s):
            while not is_done():
                await trio.sleep(POLL_S)
            return
        raise RuntimeError(f"not within {within_s:g} s: {what}")

    async def befriend(self, numbers: Mapping[str, str]) -> None:
        """Give each instance a contact, and let each side write to the other, so that sessions are there."""
        places = trio.CapacityLimiter(_AT_ONCE)
        async with trio.open_nursery() as nursery:
            for instance_id, number in numbers.items():
                nursery.start_soon(self._befriend_one, instance_id, number, places)
        mark, count = 0, GREETINGS * len(self.pairs)
        for pair in self.pairs:
            await self.people.burst(pair.contact, BurstRequest(pair.number, GREETINGS))
        await self.until(lambda: self.rows.ingested(mark) >= count, GREET_S, "every instance was greeted")
        for number_ in range(GREETINGS):
            for pair in self.pairs:
                await self.post(pair, f"hello {number_}")
        await self.until(lambda: self.rows.delivered(mark) >= count, GREET_S, "every contact was greeted")

    async def _befriend_one(self, instance_id: str, number: str, places: trio.CapacityLimiter) -> None:
        async with places:
            contact = await self.api.call("POST", "/v1/sandbox/contacts", {"name": "bench"})
            self.pairs.append(Pair(instance_id, number, str(contact["number"])))

    async def post(self, pair: Pair, text: str, key: str | None = None) -> str:
        """Have a text sent; WhatsApp's id of it.

        Raises:
            RuntimeError: the API did not accept it.
        """
        body = {"to": pair.contact, "body": {"type": "text", "text": text}}
        path = f"/v1/instances/{pair.instance_id}/messages"
        status, answer = await self.lines.post(path, body, key or uuid.uuid4().hex)
        if status != 202:
            raise RuntimeError(f"a message was refused: {status} {answer}")
        return str(answer["wa_message_id"])


@asynccontextmanager
async def open_busy(size: int, folder: Path, say: Callable[[str], None]) -> AsyncIterator[Busy]:
    """Start everything, pair `size` instances and acquaint them; end everything whatever happens."""
    sandbox = Sandbox(folder)
    gateway: Gateway | None = None
    try:
        ready = await sandbox.start()
        gateway = gateway_for(folder, ready)
        gateway.command = (str(Path(__file__).with_name("watched.py")), "serve")
        root = str(Path(__file__).resolve().parents[1])
        gateway.settings = {**gateway.settings, **UNLIMITED, **LOOPBACK, "PYTHONPATH": root}
        await gateway.start()
        await gateway.wait_ready()
        tls = ssl.create_default_context(cadata=ready["tls_certificate"])
        busy = Busy(
            folder,
            gateway,
            Client(HOST, gateway.port, await gateway.test_key()),
            SandboxClient(ready["control_url"], ready["token"], tls=tls),
            (_process(gateway.process), _process(sandbox.process)),
            durability(folder),
        )
        say(f"limits and pacing are off; {busy.durability}")
        await _settle_in(busy, size, say)
        yield busy
        busy.lines.close()
    finally:
        if gateway is not None:
            await gateway.stop()
        await sandbox.kill()


async def _settle_in(busy: Busy, size: int, say: Callable[[str], None]) -> None:
    """Pair and greet; the event stream is closed again, since a listener is not part of a message's price."""
    async with trio.open_nursery() as nursery:
        fleet = Fleet(busy.api, say)
        await nursery.start(fleet.journal.follow)
        await fleet.grow(size)
        nursery.cancel_scope.cancel()
    await busy.befriend(fleet.numbers)
    say(f"{size} connected, and everyone has greeted everyone")


def _process(process: trio.Process | None) -> Process:
    if process is None:
        raise RuntimeError("a process did not start")
    return Process(process.pid)
