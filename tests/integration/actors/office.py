"""Webhooks without the rest of the gateway: a real store and writer, the delivery actor, and receivers on loopback.

Rule: nothing is faked but the ladder's length; requests go over sockets, and what arrived is what a receiver noted.
"""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import h11
import trio
from msgspec import json

from actors.delivery.attempts import Rules
from actors.delivery.client import WebhookClient
from actors.delivery.dispatcher import Dispatcher
from actors.tracing import UNTRACED
from actors.writer import Writer
from tests.conftest import TEST_SECRETS
from tests.store.world import ORIGIN, make_customer, make_instance
from whatisup.store import (
    AppendEvent,
    Customer,
    Database,
    Delivery,
    Endpoint,
    Event,
    Instance,
    Mode,
    Ordering,
    Store,
    Unit,
    deliveries,
    webhooks,
)
from whatisup.store.store import unix_ms
from whatisup.webhooks.targets import Policy

WAIT_S = 20.0
HANG = 0
"""Answer nothing, ever."""

Judge = Callable[[str, int], int]
"""An event's text and how often it came before, to a status, or to `HANG`."""


@dataclass
class Hook:
    """A receiver: `judge` decides, `seen` has (text, status) of each request in the order of arrival."""

    judge: Judge = lambda _text, _before: 200
    host: str = "127.0.0.1"
    url: str = ""
    seen: list[tuple[str, int]] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0

    @property
    def taken(self) -> list[str]:
        """The texts that were answered with 200."""
        return [text for text, status in self.seen if status == 200]

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        listeners = await trio.open_tcp_listeners(0, host=self.host)
        self.url = f"http://{self.host}:{listeners[0].socket.getsockname()[1]}/hook"
        task_status.started()
        await trio.serve_listeners(self._serve, listeners)

    async def _serve(self, stream: trio.SocketStream) -> None:
        peer = h11.Connection(h11.SERVER)
        try:
            async with stream:
                while await self._answer(peer, stream):
                    peer.start_next_cycle()
        except (trio.BrokenResourceError, h11.RemoteProtocolError):
            return  # cut short

    async def _answer(self, peer: h11.Connection, stream: trio.SocketStream) -> bool:
        headers, body = {}, b""
        while not isinstance(event := peer.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                peer.receive_data(await stream.receive_some())
            elif isinstance(event, h11.Request):
                headers = {name.decode(): value.decode() for name, value in event.headers}
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            else:
                return False
        said = json.decode(body)
        text = said["data"].get("text", headers["x-whatisup-event"])
        status = self.judge(text, sum(text == one for one, _ in self.seen))
        self.seen.append((text, status))
        self.bodies.append(said)
        self.headers.append(headers)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if status == HANG:
                await trio.sleep_forever()
            await trio.lowlevel.checkpoint()
            reply = peer.send(h11.Response(status_code=status, headers=[("Content-Length", "2")]))
            await stream.send_all(reply + peer.send(h11.Data(data=b"ok")) + peer.send(h11.EndOfMessage()))  # type: ignore[operator]
        finally:
            self.at_once -= 1
        return True


@dataclass
class Office:
    """A store, its writer, a customer; `open` runs the delivery actor, as often as one likes."""

    store: Store
    database: Database
    writer: Writer
    customer: Customer
    nursery: trio.Nursery
    numbers: dict[str, Instance] = field(default_factory=dict)

    def instance(self, name: str = "primary") -> Instance:
        if name not in self.numbers:
            self.numbers[name] = make_instance(self.store, self.customer, Mode.TEST, name)
        return self.numbers[name]

    async def hook(self, judge: Judge = lambda _text, _before: 200, *, host: str = "127.0.0.1") -> Hook:
        """Start a receiver."""
        hook = Hook(judge, host)
        await self.nursery.start(hook.run)
        return hook

    async def endpoint(
        self, hook: Hook, *, events: Sequence[str] = ("instance.*",), ordering: Ordering | None = None
    ) -> Endpoint:
        """Point an endpoint at a receiver."""
        return await self.writer.call(
            partial(
                webhooks.create,
                customer_id=self.customer.id,
                mode=Mode.TEST,
                url=hook.url,
                events=events,
                instance_ids=(),
                is_enabled=True,
                ordering=ordering,
                headers={"X-Shop": "7"},
                secret="whsec_" + "A" * 43 + "=",
                has_custom_secret=False,
                origin=ORIGIN,
            )
        )

    async def tell(self, *texts: str, name: str = "primary") -> tuple[Event, ...]:
        """Append an event for each text, all in one unit."""
        told = tuple(AppendEvent("instance.status", {"text": text}, unix_ms()) for text in texts)
        instance = self.instance(name)
        return (await self.writer.submit(Unit(instance.id, instance.incarnation, told))).events

    async def rows(self, **how: Any) -> list[Delivery]:
        """All deliveries, in the order in which they entered the queue."""
        found: list[Delivery] = []
        cursor = None
        while True:
            page = partial(
                deliveries.page, customer_id=self.customer.id, mode=Mode.TEST, limit=100, cursor=cursor, **how
            )
            rows, cursor = await self.database.read(page)
            found += rows
            if cursor is None:
                return sorted(found, key=lambda row: row.position)

    async def settled(self, count: int) -> list[Delivery]:
        """Wait until so many deliveries are there, and none has an attempt before it."""

        async def is_so() -> bool:
            rows = await self.rows()
            return len(rows) == count and all(row.next_attempt_at is None for row in rows)

        await until(is_so)
        return await self.rows()

    @asynccontextmanager
    async def open(self, *, jitter: float = 0.5, timeout_s: float = 5.0, **rules: Any) -> AsyncIterator[Dispatcher]:
        """Run the delivery actor until the block ends; it is then cancelled, as by a process that ends."""
        policy = Policy(private=(ipaddress.ip_network("127.0.0.0/8"),))
        defaults = Rules(
            delays_s=(0.05, 0.05, 0.05, 0.05, 0.05),
            ordering=Ordering.RELAXED,
            per_host=4,
            in_all=64,
            payload_days=7,
            failed_payload_days=30,
            disable_after_s=3600,
        )
        async with WebhookClient(policy, timeout_s=timeout_s, max_connections=64) as client:
            dispatcher = Dispatcher(
                database=self.database,
                writer=self.writer,
                client=client,
                render=render,
                rules=Rules(**({name: getattr(defaults, name) for name in Rules.__slots__} | rules)),
                tracer=UNTRACED,
                unix_ms=unix_ms,
                jitter=lambda: jitter,
                version="1",
            )
            self.writer.on_deliveries = dispatcher.note
            async with trio.open_nursery() as nursery:
                await nursery.start(dispatcher.run)
                yield dispatcher
                nursery.cancel_scope.cancel()
            self.writer.on_deliveries = None


async def render(events: Sequence[Event]) -> list[bytes]:
    """Events as bodies, shorter than the gateway's own."""
    return [
        json.encode({"event_id": event.id, "instance_id": event.instance_id, "data": event.data}) for event in events
    ]


async def until(holds: Callable[[], Any], within_s: float = WAIT_S) -> None:
    """Wait for a condition (sync or async)."""
    with trio.fail_after(within_s):
        while True:
            answer = holds()
            if (await answer) if hasattr(answer, "__await__") else answer:
                return
            await trio.sleep(0.01)


@asynccontextmanager
async def office(folder: Path) -> AsyncIterator[Office]:
    """An office with a store below `folder`."""
    with Store.open(f"sqlite:///{folder / 'office.db'}", TEST_SECRETS) as store:
        database = Database(store)
        writer = Writer(database)
        async with trio.open_nursery() as nursery:
            await nursery.start(writer.run)
            async with trio.open_nursery() as inner:
                yield Office(store, database, writer, make_customer(store), inner)
                inner.cancel_scope.cancel()
            writer.close()
