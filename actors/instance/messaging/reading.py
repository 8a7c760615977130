"""What comes in: messages, receipts and acks, gathered into one unit, committed, and only then answered.

Rule: the server hears of nothing that is not durable. A batch is opened on working copies of the keys; should its unit
fail, the copies are dropped and its stanzas redone one by one, and a stanza that fails once more is kept as it came,
reported and acked like any other, so that one poisoned stanza deafens nobody.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final

import structlog
import trio

from actors.instance.messaging.digest import Digest, unprocessable
from actors.instance.messaging.host import Host
from actors.instance.messaging.repair import Repair
from actors.instance.messaging.ring import KeyShelf, ops_of
from actors.instance.messaging.sending import Sending
from actors.instance.messaging.typing import Typing
from actors.tracing import Batch
from whatisup.errors import Fenced, StoreUnavailable
from whatisup.protocol.events import Event, MessageAcked, MessageReceived, NotificationReceived, ReceiptReceived
from whatisup.protocol.messaging.answers import aggregate, poison_answers
from whatisup.protocol.messaging.keyring import KeyName, KeyNotLoaded, Own, Wanted
from whatisup.protocol.messaging.opening import Opened, Verdict, open_message, wanted_for_opening
from whatisup.protocol.stanzas.message import Envelope
from whatisup.store import AppendEvent, KeepPoison, RecordReceipt
from whatisup.wire import encode_node

log = structlog.get_logger(__name__)

NEVER: Final = float("inf")
TICK_S: Final = 0.02
PATIENCE_S: Final = 0.01
"""How long acks and receipts wait for more of them at least, so that they share a packet; messages do not wait.

They are settled at the first tick after that, the same for all instances, so that one commit is for many of them.
"""
MAX_STANZAS: Final = 64
MAX_BYTES: Final = 1 << 20
MAX_NAMED: Final = 2048
"""Most messages that the receipts of a batch speak of: each is looked for while nobody else can write."""
# Opening takes some hundred microseconds each, and what a hostile peer wrote much more; others get a turn in between.
OPENED_AT_ONCE: Final = 8
TURN_S: Final = 0.01
# A stanza that tells both names of everybody needs one load, any other two.
MAX_LOADS: Final = 4
_UNREAD: Final = frozenset({Verdict.FAILED, Verdict.OLD_COUNTER})
GATHERED: Final = frozenset({MessageReceived, MessageAcked, ReceiptReceived})
"""The events that belong into a batch; whatever else happens, the batch is settled first."""


class Reading:
    """The stanzas of one connection that are received and not committed."""

    __slots__ = ("_bytes", "_due_at", "_events", "_host", "_named", "_repair", "_sending", "_shelf", "_typing", "own")

    def __init__(self, host: Host, shelf: KeyShelf, sending: Sending, repair: Repair, typing: Typing) -> None:
        self._host = host
        self._shelf = shelf
        self._sending = sending
        self._repair = repair
        self._typing = typing
        self._events: list[Event] = []
        self._bytes = 0
        self._named = 0
        self._due_at = NEVER
        self.own: Own | None = None

    def forget(self) -> None:
        """The connection is gone: whatever was not committed will be delivered again."""
        self._events.clear()
        self._bytes = self._named = 0
        self._due_at = NEVER

    def gather(self, event: Event) -> None:
        """Take one more stanza into the batch."""
        if not self._events:
            self._due_at = math.ceil((trio.current_time() + PATIENCE_S) / TICK_S) * TICK_S
        self._events.append(event)
        if isinstance(event, MessageReceived):
            self._due_at = -NEVER
            self._bytes += event.size
        elif isinstance(event, ReceiptReceived):
            self._named += len(event.receipt.ids) + len(event.receipt.users)

    @property
    def is_full(self) -> bool:
        """Whether the batch is to be settled before anything else is read."""
        return len(self._events) >= MAX_STANZAS or self._bytes >= MAX_BYTES or self._named >= MAX_NAMED

    @property
    def may_wait(self) -> bool:
        """Whether the batch is better settled later: it holds only what is told of our own messages, in a quiet hour.

        The receipt often follows its ack at once, and other messages' acks and receipts do.
        """
        connection = self._host.connection
        return (
            self._due_at > trio.current_time()
            and connection is not None
            and connection.is_logged_in
            and not connection.is_draining
            and not self._host.is_leaving
            and not self._sending.is_held_up
        )

    @property
    def deadline(self) -> float:
        """When the batch is to be settled, in monotonic seconds."""
        return self._due_at

    async def settle(self) -> None:
        """Commit the batch and answer it.

        Raises:
            Fenced: a younger incarnation has taken over.
            StoreUnavailable: nothing was written; the server keeps the stanzas.
        """
        events = list(self._events)
        self.forget()
        if not events or self.own is None:
            return
        connection = self._host.connection
        if connection is not None:
            connection.hold(trio.current_time())  # nothing is read until this is done
        try:
            await self._settle_or_divide(events, self.own)
        finally:
            if connection is not None:
                connection.resume(trio.current_time())

    async def _settle_or_divide(self, events: Sequence[Event], own: Own) -> None:
        try:
            await self._settle(events, own)
        except (Fenced, StoreUnavailable):
            raise
        except Exception as error:  # whatever it was, it is one stanza's: find it, and let the others live
            log.warning("instance.batch_failed", instance_id=self._host.id, error=type(error).__name__)
            self._shelf.reopen()  # what is cached may be older than the store: whether the unit is there is not known
            for event in events:
                await self._settle_alone(event, own)

    async def _settle_alone(self, event: Event, own: Own) -> None:
        try:
            await self._settle([event], own)
        except (Fenced, StoreUnavailable):
            raise
        except Exception as error:  # the second failure of one stanza: it is kept, reported and acked
            await self.keep_poison(event, own, type(error).__name__)

    async def keep_poison(self, event: Event, own: Own, why: str) -> None:
        """Keep a stanza that cannot be processed as it came, report it, and ack it.

        Raises:
            Fenced, StoreUnavailable: as `Host.commit`.
        """
        log.error("instance.stanza_poisoned", instance_id=self._host.id, error=why)
        self._shelf.reopen()
        now_ms = self._host.services.unix_ms()
        if isinstance(event, MessageReceived | ReceiptReceived | NotificationReceived):
            raw = encode_node(event.node)
            report = AppendEvent("message.unprocessable", unprocessable(event.node, "poison", why), now_ms)
            await self._host.commit(KeepPoison(raw, why, now_ms), report)
        connection, now = self._host.connection, trio.current_time()
        if connection is not None:
            connection.transmit(event, now)
            if isinstance(event, MessageReceived):
                connection.send(poison_answers(event.node, own), now)

    async def _settle(self, events: Sequence[Event], own: Own) -> None:
        with self._host.services.tracer.batch(instance_id=self._host.id) as batch:
            digest = Digest(self._host, self._shelf, own)
            await self._open(events, digest, batch)
            await self._repair.plan(digest)
            for event in events:
                if isinstance(event, ReceiptReceived):
                    digest.receipt(event.receipt)
                elif isinstance(event, MessageAcked):
                    digest.add(*self._sending.ops_of_ack(event.ack))
            changes = digest.ring.take_changes()
            ops = (*digest.ops, *ops_of(changes))
            if ops:
                with batch.phase("store.commit"):
                    await self._host.commit(*ops)
                self._shelf.remember(changes)
            self._answer(events, digest)

    def _answer(self, events: Sequence[Event], digest: Digest) -> None:
        """All is durable: acks, receipts, the wish for the next window; and the outbox hears what was acked."""
        for event in events:
            if isinstance(event, MessageAcked):
                self._sending.acked(event.ack)
        for op in digest.ops:
            if isinstance(op, RecordReceipt):
                self._sending.proven(op.wa_ids, op.chat)
        self._repair.committed(digest)
        self._host.ration.used(digest.used_prekeys)
        connection, now = self._host.connection, trio.current_time()
        if connection is None:
            return
        connection.send(aggregate(digest.answers()), now)
        for event in events:
            connection.transmit(event, now)

    async def _open(self, events: Sequence[Event], digest: Digest, batch: Batch) -> None:
        received = [event for event in events if isinstance(event, MessageReceived)]
        # What waits for the others of its batch is part of its way.
        traces = [batch.open("whatsapp.message") for _ in received]
        wanted = _wanted(received, digest.own, digest.names_of_receipts(events))
        known = set(await self._shelf.fill(digest.ring, wanted)) if wanted else set()
        turn_ends_at = trio.current_time() + TURN_S
        for count, (event, trace) in enumerate(zip(received, traces, strict=True), 1):
            if event.envelope is None:
                digest.poison(event.node, "envelope")
            else:
                opened = await self._open_one(event.envelope, digest, known)
                if event.envelope.is_from_me and event.envelope.push_name:
                    self._typing.push_name = event.envelope.push_name
                known.update(opened.hashes)
                await digest.opened(opened, event.node, trace)
            if count % OPENED_AT_ONCE == 0 or trio.current_time() >= turn_ends_at:
                await trio.lowlevel.checkpoint()
                turn_ends_at = trio.current_time() + TURN_S

    async def _open_one(self, envelope: Envelope, digest: Digest, known: set[bytes]) -> Opened:
        """Open one stanza; whether one that cannot be opened was opened before is looked up only then."""
        mark = digest.ring.checkpoint()
        opened = await self._attempt(envelope, digest, known)
        if opened.hashes or opened.verdict not in _UNREAD or not _speaks_for_itself(envelope):
            return opened
        hashes = wanted_for_opening(envelope, digest.own).hashes
        stored = await self._shelf.fill(digest.ring, Wanted(hashes=hashes))
        if not stored:
            return opened
        digest.ring.rollback(mark)
        known |= stored
        return await self._attempt(envelope, digest, known)

    async def _attempt(self, envelope: Envelope, digest: Digest, known: set[bytes]) -> Opened:
        """Open one stanza, loading what only its opening shows to be needed."""
        services = self._host.services
        attempt = partial(open_message, envelope, digest.ring, digest.own, entropy=services.entropy)
        for _ in range(MAX_LOADS):
            try:
                return attempt(known=known, now_ms=services.unix_ms())
            except KeyNotLoaded as missing:
                again = wanted_for_opening(envelope, digest.own, digest.ring)
                await digest.load(Wanted(again.keys | {missing.name}, again.prefixes))
        return attempt(known=known, now_ms=services.unix_ms())


def _wanted(received: Sequence[MessageReceived], own: Own, names: Iterable[KeyName]) -> Wanted:
    """What is to be loaded before a batch is opened, in one read."""
    keys, hashes = set(names), set[bytes]()
    for event in received:
        if event.envelope is not None:
            wanted = wanted_for_opening(event.envelope, own)
            keys |= wanted.keys
            if not _speaks_for_itself(event.envelope):
                hashes |= wanted.hashes
    return Wanted(frozenset(keys), hashes=frozenset(hashes))


def _speaks_for_itself(envelope: Envelope) -> bool:
    """Whether a ciphertext that opens is thereby one that was never opened before.

    Its key is deleted in the unit in which it is remembered, so that such a stanza saves a read. Others may bring the
    session or the sender key to open them with; and what is offered again at login was often opened before.
    """
    return not envelope.is_offline and len(envelope.encs) == 1 and envelope.encs[0].kind == "msg"
