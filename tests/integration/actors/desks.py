"""The messaging desks of one instance over a real store, without a socket: a test says what is answered, and when.

Rule: the store and the keys are real; the connection only writes down what it is asked and told to send.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from actors.instance import Limits, Services
from actors.instance.messaging.desk import Messaging
from actors.writer import Writer
from tests.store.conversation import Conversation
from tests.unit.whatisup.protocol.messaging.parties import Device, Person, entropy
from whatisup.jid import Jid
from whatisup.lifecycle import State
from whatisup.protocol.dialogue.ration import PrekeyRation
from whatisup.protocol.events import BundlesAnswered, DevicesAnswered, Event, MessageAcked, MessageReceived
from whatisup.protocol.messaging.keyring import KeyName
from whatisup.protocol.stanzas.ack import MessageAck
from whatisup.protocol.stanzas.message import Outgoing, parse_message
from whatisup.protocol.stanzas.usync import UserDevices
from whatisup.store import Committed, Instance, Message, Mode, NewAuth, Op, SetStatus, Unit, auth, instances
from whatisup.store.database import Database
from whatisup.store.secrets import load_secrets
from whatisup.store.store import Store, unix_ms
from whatisup.wire import Node, decode_node


@dataclass
class Line:
    """A connection that is logged in, and what went over it."""

    is_logged_in: bool = True
    is_draining: bool = False
    sent: list[Node] = field(default_factory=list)
    transmitted: list[Event] = field(default_factory=list)
    lists_asked: list[tuple[Jid, ...]] = field(default_factory=list)
    bundles_asked: list[tuple[Jid, ...]] = field(default_factory=list)
    tokens_issued: list[Jid] = field(default_factory=list)

    def send(self, nodes: Sequence[Node], _now: float) -> None:
        self.sent += nodes

    def send_encoded(self, stanzas: Sequence[bytes], _now: float) -> None:
        self.sent += map(decode_node, stanzas)

    def transmit(self, event: Event, _now: float) -> None:
        self.transmitted.append(event)

    def query_devices(self, users: Sequence[Jid], _now: float) -> None:
        self.lists_asked.append(tuple(users))

    def fetch_bundles(self, devices: Sequence[Jid], _now: float) -> None:
        self.bundles_asked.append(tuple(devices))

    def issue_token(self, user: Jid, _unix_t: int, _now: float) -> None:
        self.tokens_issued.append(user)

    def next_deadline(self) -> None:
        pass

    def hold(self, _now: float) -> None:
        pass

    def resume(self, _now: float) -> None:
        pass

    def messages(self) -> list[Outgoing]:
        """What was sent of messages, in order."""
        return [parse_message(node) for node in self.sent if node.tag == "message"]

    def ids(self) -> list[str]:
        return [message.id for message in self.messages()]


class Office:
    """An actor as its desks see it; `own` is one of Ann's devices."""

    def __init__(self, row: Instance, services: Services, talk: Conversation, own: Device) -> None:
        self.id, self.row, self.services, self.talk, self.own = row.id, row, services, talk, own
        self.line = Line()
        self.connection: Any = self.line
        self.ration = PrekeyRation(trio.current_time())
        self.is_leaving = False
        self.on_flush: Callable[[], Awaitable[None]] | None = None
        self.messaging = Messaging(self)
        self.know()

    def know(self) -> None:
        """Be attached to a connection."""
        self.messaging._shelf.reopen()
        self.messaging._know(self.own.own)

    async def commit(self, *ops: Op) -> Committed:
        return await self.services.writer.submit(Unit(self.id, self.row.incarnation, ops))

    async def flush(self) -> None:
        if self.on_flush is not None:
            await self.on_flush()

    def lose(self) -> None:
        """The socket is gone."""
        self.connection = None
        self.messaging.detach()

    def log_in(self) -> Line:
        """Begin a new connection."""
        self.line = self.connection = Line()
        self.know()
        return self.line

    # --- what happens -------------------------------------------------------------------------------------------

    def accept(self, wa_id: str, to: Person | str, text: str = "hi") -> Message:
        chat = to if isinstance(to, str) else str(to.pn)
        return self.talk.accept(wa_id, chat, text, now=unix_ms(), expires_at=unix_ms() + 600_000)

    async def pump(self) -> None:
        await self.messaging.sending.pump()

    async def nudge(self) -> None:
        self.messaging.sending.nudge()
        await self.pump()

    async def answer_lists(self, asked: Sequence[Jid], *people: Person, with_lid: bool = True) -> None:
        """Let the server tell the devices of those of `people` that were asked about, under the name asked for."""
        found = [
            UserDevices(jid, person.lid if with_lid else None, tuple((number, None) for number in person.devices))
            for jid in asked
            for person in people
            if jid.user in (person.digits, person.lid_digits)
        ]
        await self.messaging.sending.devices_answered(DevicesAnswered(tuple(asked), tuple(found)))
        await self.pump()

    async def answer_bundles(self, asked: Sequence[Jid], *people: Person) -> None:
        found = [
            (jid, person.devices[jid.device].bundle())
            for jid in asked
            for person in people
            if jid.user in (person.digits, person.lid_digits) and jid.device in person.devices
        ]
        await self.messaging.bundles_answered(BundlesAnswered(tuple(asked), tuple(found)))
        await self.pump()

    async def answer_all(self, *people: Person) -> None:
        """Answer whatever is asked until nothing is."""
        while self.line.lists_asked or self.line.bundles_asked:
            while self.line.lists_asked:
                await self.answer_lists(self.line.lists_asked.pop(0), *people)
            while self.line.bundles_asked:
                await self.answer_bundles(self.line.bundles_asked.pop(0), *people)

    def received(self, node: Node) -> MessageReceived:
        """A message of somebody's, as the connection tells of it."""
        return MessageReceived(node=node, envelope=self.own.envelope(node), size=100)

    async def ack(
        self, wa_id: str, chat: Jid, *more: Event, error: int | None = None, phash: str | None = None
    ) -> None:
        """Let the server's ack arrive, in one batch with `more`."""
        for event in (MessageAcked(MessageAck(wa_id, chat, unix_ms() // 1000, error, phash, None)), *more):
            await self.messaging.gather(event)
        await self.messaging.reading.settle()
        await self.pump()

    async def key(self, kind: str, name: str) -> bytes | None:
        found: dict[KeyName, bytes | None] = await self.services.database.read(
            auth.load, self.id, frozenset({(kind, name)}), frozenset()
        )
        return found.get((kind, name))


@asynccontextmanager
async def open_office(folder: Path, own: Device, limits: Limits | None = None) -> AsyncIterator[Office]:
    """An instance that is linked to `own`'s account, over a store of its own."""
    url = f"sqlite:///{folder / 'desk.db'}"
    with Store.open(url, load_secrets(url, None, None, None)) as store:
        talk = Conversation(store)
        talk.write(
            NewAuth(),
            SetStatus(State.CONNECTED, has_account=True, phone_number=own.person.digits, lid=str(own.person.lid)),
        )
        database = Database(store)
        writer = Writer(database)
        services = Services(
            writer=writer,
            database=database,
            endpoint=lambda _: None,
            gates={},
            profile=None,  # type: ignore[arg-type]  # nobody logs in here
            fleet=None,  # type: ignore[arg-type]  # nor is counted
            counts=None,  # type: ignore[arg-type]  # same
            unix_ms=unix_ms,
            entropy=entropy,
            jitter=random.random,
            threads=trio.CapacityLimiter(1),
            limits=dict.fromkeys(Mode, limits or Limits()),
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(writer.run)
            row = await database.read(instances.get, talk.id)
            assert row is not None
            yield Office(row, services, talk, own)
            writer.close()
