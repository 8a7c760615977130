"""WhatIsUp as a subject: `whatisup serve`, driven through its public API; SQLite, or PostgreSQL if a server is given.

Rule: limits and pacing are off and durability is on, both as the running gateway says, so that a figure is the price of
a message and of nothing that was left out.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import trio

from api.demo.client import Client
from api.demo.gateway import HOST, Gateway
from benchmarks.probes.process import Process
from benchmarks.probes.rows import Rows
from benchmarks.probes.spread import unix_ms
from benchmarks.probes.watched import DURABILITY, Commits, durability, read_loop, restart_loop
from benchmarks.subjects.servers import ServersDatabase
from benchmarks.subjects.subject import Arrival, Counts, Pair, Posted, Stall
from benchmarks.traffic.line import Lines
from benchmarks.traffic.pace import apart
from tests.processes import UNLIMITED, gateway_for
from whatisup.store.location import SqliteFile

LOOPBACK: Mapping[str, str] = {"WEBHOOK_ALLOW_HTTP": "true", "WEBHOOK_ALLOW_PRIVATE_CIDRS": "127.0.0.0/8"}
"""So that webhooks reach a receiver on this machine; whatever else is said of them is as it is by default."""
SERVER_APART = "; the database server's own CPU and memory are not counted"
_ROOT = str(Path(__file__).resolve().parents[2])
MOST_LINES = 200
"""How many requests it has under way at once, however many instances there are."""
COMMIT_S = 10.0
"""How long the first commit may take."""
LINES = 8
"""How many requests the customer of a single instance has under way at once, when it goes flat out."""
QR_TRIES = 3
"""The route waits 10 s for a QR and then says 503 `no_qr`."""


@dataclass(slots=True)
class WhatIsUp:
    """The gateway. `lines` are the customer's connections."""

    folder: Path
    server: str = field(default="", repr=False)
    """The URL of a PostgreSQL server; this subject makes a database of its own there, and drops it."""
    name: str = "whatisup"
    conditions: str = ""
    command: Sequence[str] = ("-m", "benchmarks.probes.watched", "serve")
    """What Python is told to run."""
    _gateway: Gateway | None = None
    _lines: Lines | None = None
    _mark: int = 0
    _database: ServersDatabase | None = None

    @property
    def gateway(self) -> Gateway:
        """The process."""
        if self._gateway is None:
            raise RuntimeError("the gateway was not started")
        return self._gateway

    @property
    def api(self) -> Client:
        """The customer."""
        return self.lines.client

    @property
    def lines(self) -> Lines:
        """The customer's connections."""
        if self._lines is None:
            raise RuntimeError("the gateway was not started")
        return self._lines

    @property
    def rows(self) -> Rows:
        """What is durable."""
        return Rows(SqliteFile(self.folder / "demo.db") if self._database is None else self._database.location)

    def processes(self) -> list[Process]:
        """See `Subject`."""
        return [] if self.gateway.process is None else [Process(self.gateway.process.pid)]

    # --- its life

    async def start(self, ready: Mapping[str, str]) -> None:
        """See `Subject`."""
        if self._gateway is None:
            self._gateway = gateway_for(self.folder, ready)
            self._gateway.settings = {**self._gateway.settings, **UNLIMITED, **LOOPBACK, "PYTHONPATH": _ROOT}
            self._gateway.command = self.command
            if self.server:
                self._database = ServersDatabase.create(self.server)
                self._gateway.settings = {**self._gateway.settings, "DATABASE_URL": self._database.location.url}
        await self._gateway.start()
        await self._gateway.wait_ready()
        if self._lines is None:
            self._lines = Lines(Client(HOST, self._gateway.port, await self._gateway.test_key()))
        with trio.fail_after(COMMIT_S):
            while not (self.folder / DURABILITY).exists():
                await trio.sleep(0.05)
        self.conditions = durability(self.folder) + (SERVER_APART if self.server else "")

    async def kill(self) -> None:
        """See `Subject`."""
        self.lines.close()
        await self.gateway.kill()

    async def stop(self) -> None:
        """See `Subject`."""
        if self._lines is not None:
            self._lines.close()
        if self._gateway is not None:
            await self._gateway.stop()
        if self._database is not None:
            self._database.drop()

    async def settle(self) -> None:
        """See `Subject`; there is nothing to let go of."""

    # --- sessions

    async def new_session(self) -> tuple[str, str]:
        """See `Subject`."""
        row = await self.api.call("POST", "/v1/instances", {"name": "bench"})
        answers: list[str] = []
        while len(answers) < QR_TRIES:
            reply = await self.api.ask("GET", f"/v1/instances/{row['id']}/qr")
            if reply.status == 200:
                return str(row["id"]), str(reply.json()["code"])
            answers.append(f"{reply.status} {reply.text[:200]}")
        raise RuntimeError(f"no QR for {row['id']}: {answers}")

    def watch(self) -> None:
        """See `Subject`."""
        self._mark = self.rows.log_end()

    def connected(self) -> int:
        """See `Subject`."""
        return self.rows.connected(self._mark)

    # --- messages

    def mark(self) -> int:
        """See `Subject`."""
        return self.rows.mark()

    def counts(self, since: int) -> Counts:
        """See `Subject`."""
        return Counts(self.rows.ingested(since), self.rows.acked(since), self.rows.delivered(since))

    async def arrivals(self, since: int) -> list[Arrival]:
        """See `Subject`: there for good is when the commit that holds the message returned."""
        commits = Commits.read(self.folder)
        found = ((row, commits.at_ms(row.position)) for row in self.rows.received(since))
        return [Arrival(row.wa_id, row.instance_id, at, row.read_at) for row, at in found if at is not None]

    async def send(self, pairs: Sequence[Pair], each: int, rate: float | None) -> Posted:
        """See `Subject`: by senders who wait for each 202 only, or at a rate whether they were answered or not."""
        posts = Posts(self)
        if rate is None:
            await posts.flat_out(pairs, each)
        else:
            await apart(pairs, rate, partial(posts.paced, rate=rate, count=each))
        return posts.posted

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

    # --- its event loop

    async def mark_stall(self) -> None:
        """See `Subject`."""
        for process in self.processes():
            restart_loop(process.pid)

    async def stall(self) -> Stall:
        """See `Subject`."""
        (process,) = self.processes()
        said = await read_loop(process.pid, self.folder)
        return Stall(said["p99_ms"], said["max_ms"], int(said["tasks"]))


@dataclass(slots=True)
class Posts:
    """The customer, who posts texts and notes the times."""

    gateway: WhatIsUp
    posted: Posted = field(default_factory=Posted)
    _made: int = 0

    async def one(self, pair: Pair) -> None:
        """Post one text."""
        self._made += 1
        text = f"{id(self):x} {self._made}"
        begun_at = unix_ms()
        wa_id = await self.gateway.post(pair, text)
        self.posted.accepted_ms.append(unix_ms() - begun_at)
        self.posted.begun_at[wa_id] = pair.instance_id, begun_at

    async def paced(self, pair: Pair, rate: float, count: int) -> None:
        """Post `count` texts at a rate, whether the earlier ones were answered or not."""
        begun_at = trio.current_time()
        async with trio.open_nursery() as nursery:
            for index in range(count):
                await trio.sleep_until(begun_at + index / rate)
                nursery.start_soon(self.one, pair)

    async def in_turn(self, pair: Pair, count: int) -> None:
        """Post `count` texts, each once the one before was answered."""
        for _ in range(count):
            await self.one(pair)

    async def flat_out(self, pairs: Sequence[Pair], each: int) -> None:
        """`each` texts of every pair: one sender for each, or `LINES` for a single one."""
        senders, places = LINES if len(pairs) == 1 else 1, trio.CapacityLimiter(MOST_LINES)

        async def sender(pair: Pair, count: int) -> None:
            async with places:
                await self.in_turn(pair, count)

        async with trio.open_nursery() as nursery:
            for pair in pairs:
                for index in range(senders):
                    nursery.start_soon(sender, pair, each // senders + (index < each % senders))
