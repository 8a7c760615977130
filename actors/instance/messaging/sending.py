"""What goes out: the outbox, sealed in the order of acceptance, sent, and sent again as the same bytes until acked.

Rule: commit, then transmit. A row is sealed (ratchets and stanza in one unit) before any byte of it is sent, and what
was sealed is never encrypted anew, but for the devices and the refusals that the server names.

A chat that waits for an answer (who has which devices, a key bundle) or for its budget is skipped; the others go on.
A refusal, or a mismatch of devices, makes a chat doubted: what is known of its devices counts no more until the server
has told them anew, so nothing of the chat is encrypted, and nothing overtakes what is to be encrypted again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Final

import trio

from actors.instance.messaging.budgets import Bucket
from actors.instance.messaging.drafts import Draughtsman
from actors.instance.messaging.first_contacts import FirstContacts
from actors.instance.messaging.flights import Flight, Flights, missed
from actors.instance.messaging.host import Host
from actors.instance.messaging.names import identity_changed
from actors.instance.messaging.plans import Plan
from actors.instance.messaging.queries import Queries
from actors.instance.messaging.refusals import Refusal, refusal_of
from actors.instance.messaging.ring import KeyShelf, ops_of
from actors.instance.messaging.sealer import Sealer, sealed_row
from whatisup.jid import Jid
from whatisup.protocol.events import BundlesAnswered, DevicesAnswered, TokenIssued
from whatisup.protocol.messaging.keyring import TOKEN, Own
from whatisup.protocol.messaging.sealing import Draft, Sealed
from whatisup.protocol.messaging.tokens import TokenEntry
from whatisup.protocol.stanzas.ack import MessageAck
from whatisup.protocol.stanzas.message import parse_message
from whatisup.store import AckMessage, AppendEvent, FailMessage, Op, OutboxItem, SealMessages, outbox, retained
from whatisup.wire import decode_node

NEVER: Final = float("inf")
WINDOW: Final = 64
"""How many messages may be on their way without an ack."""
SEALED_AT_ONCE: Final = 16
"""How many are sealed in one unit: each takes some hundred microseconds for each device."""
TURN_S: Final = 0.002
"""How long sealing goes on before others get a turn."""
LOOK_AGAIN_S: Final = 60.0
"""How long the outbox is left alone at most, by whoever is awake anyway. What is accepted is told, but a batch that was
given up as hanging may be there all the same, and was not; nor is a clock that was set back."""
MAX_RESEALED: Final = 1024
"""Of how many messages it is remembered that they were encrypted anew: far more than are on their way at once."""
MAX_BLOCKED: Final = 1024
"""How many chats may wait before the others wait as well: far more than are new in a day."""


class Sending:
    """The outbox of one instance on its way out."""

    __slots__ = (
        "_bucket",
        "_first_contacts",
        "_flights",
        "_has_news",
        "_has_resumed",
        "_host",
        "_is_dirty",
        "_issuing",
        "_look_again_at",
        "_mismatched",
        "_needs_resync",
        "_passed",
        "_passed_as",
        "_passed_until",
        "_reseal",
        "_resealed",
        "_shelf",
        "own",
        "queries",
    )

    def __init__(self, host: Host, shelf: KeyShelf) -> None:
        self._host = host
        self._shelf = shelf
        limits, now = host.services.limits[host.row.mode], trio.current_time()
        self._bucket = Bucket(limits.sends_per_s, limits.send_burst, now)
        self._first_contacts = FirstContacts(limits.new_chats_per_day)
        self.queries = Queries(host, shelf)
        self._resealed: dict[str, None] = {}  # oldest first
        self.own: Own | None = None
        self.forget()

    def forget(self) -> None:
        """The connection is gone: nothing is on its way, and nobody will answer what was asked."""
        self.queries.forget()
        self._is_dirty = True
        self._has_news = True  # what is to be encrypted again may have become possible
        self._has_resumed = False
        self._passed = 0  # up to this position all that is queued is of chats that wait
        self._passed_until = -NEVER  # when what was passed is looked at again in any case
        self._passed_as = 0  # under which names of chats
        self._look_again_at = NEVER
        self._flights = Flights()
        self._issuing: set[Jid] = set()
        self._mismatched: dict[str, Flight] = {}
        self._reseal: set[str] = set()
        self._needs_resync = False

    # --- when ---------------------------------------------------------------------------------------------------

    def nudge(self) -> None:
        """The outbox has grown."""
        self._is_dirty = True

    def can_send(self) -> bool:
        """Whether anything may go out: logged in, past the server's queue, and not about to leave."""
        connection = self._host.connection
        return (
            self.own is not None
            and connection is not None
            and connection.is_logged_in
            and not connection.is_draining
            and not self._host.is_leaving
        )

    @property
    def deadline(self) -> float:
        """When `pump` wants to be called without anything having happened, in monotonic seconds."""
        if not self.can_send():
            return NEVER
        deadline = min(self._flights.deadline, self.queries.waits.deadline)
        if not self._is_dirty:
            return deadline
        now = trio.current_time()
        pace_s = self._bucket.wait_s(now)
        return min(deadline, now + pace_s if pace_s > 0 else NEVER)

    @property
    def is_held_up(self) -> bool:
        """Whether only acks let more go out."""
        return len(self._flights) >= WINDOW

    async def pump(self) -> None:
        """Send what can be sent now.

        Raises:
            Fenced, StoreUnavailable: as `Host.commit`.
        """
        if not self.can_send():
            return
        now = trio.current_time()
        self._stir(self.queries.waits.end_due(now))
        if not self._has_resumed:
            await self._resume()
        await self._send_overdue(now)
        self._is_dirty = self._is_dirty or self._look_again_at <= now
        if self._has_news:
            self._has_news = False
            await self._seal_what_is_due_again()
        # What was just sent may have shown that the socket is gone.
        while self._is_dirty and self.can_send() and len(self.queries.waits) < MAX_BLOCKED:
            room = min(WINDOW - len(self._flights), SEALED_AT_ONCE)
            room = self._bucket.available(trio.current_time(), room)
            if room <= 0:
                return
            self._is_dirty = False  # news that comes while we read, or what waits, brings us back
            self._look_again_at = trio.current_time() + LOOK_AGAIN_S
            items = await self._upcoming(room)
            self._is_dirty = self._is_dirty or len(items) == room
            await self._work(items)
            if self._is_dirty:
                await trio.lowlevel.checkpoint()

    async def _upcoming(self, room: int) -> Sequence[OutboxItem]:
        """What is to be encrypted next; where that needs a longer look past chats that wait, we are called again."""
        services, skipped = self._host.services, self.queries.waits.chats
        if not skipped:
            return await services.database.look(partial(outbox.upcoming, now=services.unix_ms()), self._host.id, room)
        now_ms, span = services.unix_ms(), outbox.LOOKED_OVER
        elsewhere = partial(outbox.elsewhere, now=now_ms, after=self._looked_over(), span=span)
        items, passed = await services.database.look(elsewhere, self._host.id, room, skipped)
        if passed is not None:
            self._is_dirty = True
            self._passed = self._passed if items else passed
        return items

    def _looked_over(self) -> int:
        """The position behind which to look, 0 where what was passed may be another's turn by now.

        A chat that is renamed waits no more under its new name, and nothing that is younger may overtake its messages.
        """
        now, names = trio.current_time(), self._shelf.renamings
        if self._passed_until <= now or self._passed_as != names:
            self._passed, self._passed_until, self._passed_as = 0, now + LOOK_AGAIN_S, names
        return self._passed

    # --- for the first time ---------------------------------------------------------------------------------------

    async def _work(self, items: Sequence[OutboxItem]) -> None:
        """Seal and send these rows, as far as their chats allow; the other chats are blocked until they do."""
        if self.own is None or not items:
            return
        man = Draughtsman(self._host, self._shelf, self.own)
        plans = await self.queries.plan(man, (item.chat for item in items))
        absent = self.queries.ask_for_lists(plans)
        self._first_contacts.hold(plans, self.queries.waits)
        self.queries.ask_for_bundles(plans)
        self._first_contacts.count(plans, self.queries.waits)
        ops: list[Op] = []
        sealed: list[tuple[OutboxItem, Draft, Sealed]] = []
        sealer = Sealer(self._host, man, self.queries.bundles)
        turn_ends_at = trio.current_time() + TURN_S
        for item in items:
            if item.chat in absent:
                ops.append(sealer.fail(item, "not_on_whatsapp", "this number has no WhatsApp account"))
            elif item.chat in plans.ready and item.chat not in self.queries.waits:
                outcome = await sealer.seal(item, plans.ready[item.chat])
                if trio.current_time() >= turn_ends_at:  # many devices, or new sessions, take long
                    await trio.lowlevel.checkpoint()
                    turn_ends_at = trio.current_time() + TURN_S
                if isinstance(outcome, tuple):
                    sealed.append((item, *outcome))
                else:
                    ops.append(outcome)
        await self._commit_and_send(man, plans.ready, sealed, ops)

    async def _commit_and_send(
        self,
        man: Draughtsman,
        plans: Mapping[str, Plan],
        sealed: Sequence[tuple[OutboxItem, Draft, Sealed]],
        ops: Sequence[Op],
    ) -> None:
        changes, now_ms = man.ring.take_changes(), self._host.services.unix_ms()
        renewed = dict.fromkeys(device for _, _, done in sealed for device in done.identity_changed)
        told = [identity_changed(man.ring, device, now_ms) for device in renewed]
        every: list[Op] = [*ops, *told, *ops_of(changes)]
        if sealed:
            every.append(SealMessages(tuple(sealed_row(*one) for one in sealed)))
        if not every:
            return
        with self._host.services.tracer.batch(instance_id=self._host.id) as batch:
            for item, _, _ in sealed:
                batch.open("message.seal", item.trace)
            with batch.phase("store.commit"):
                committed = await self._host.commit(*every)
        self._shelf.remember(changes)
        connection, now = self._host.connection, trio.current_time()
        now_s = self._host.services.unix_ms() / 1000
        for item, draft, done in sealed:
            self.queries.bundles.used(done.devices)
            if item.message_id in committed.refused or connection is None:
                continue  # it expired, or was wiped, while we were sealing
            token_due = draft.chat if plans[item.chat].token.is_issue_due(now_s) else None
            flight = Flight(item.chat, frozenset(done.devices), done.phash, now, token_due, item.stage == "resync")
            self._flights.depart(item.wa_id, flight)
            connection.send_encoded([done.stanza], now)
        self._bucket.take(now, len(sealed))
        await self._host.flush()

    # --- again --------------------------------------------------------------------------------------------------

    async def _resume(self) -> None:
        """Send what an earlier connection sealed, perhaps sent, and did not see acked: the same bytes."""
        self._has_resumed = True
        self._is_dirty = False  # news that comes while we read brings us back
        self._look_again_at = trio.current_time() + LOOK_AGAIN_S
        owed = await self._host.services.database.look(outbox.owed, self._host.id, self._host.services.unix_ms())
        has_queued, has_sealed, self._needs_resync = owed
        self._is_dirty = self._is_dirty or has_queued
        if has_sealed:
            self._launch(await self._host.services.database.read(outbox.sealed, self._host.id))

    async def _send_overdue(self, now: float) -> None:
        if self._flights.deadline > now:
            return
        overdue = self._flights.overdue(now)
        items = await self._host.services.database.read(outbox.sealed, self._host.id)
        self._launch([item for item in items if item.wa_id in overdue])
        for wa_id in overdue.difference(item.wa_id for item in items):
            self._flights.land(wa_id)  # settled otherwise

    def _launch(self, items: Iterable[OutboxItem]) -> None:
        """Send sealed rows as they are."""
        connection, now = self._host.connection, trio.current_time()
        for item in items:
            if item.stanza is not None and connection is not None:
                node = decode_node(item.stanza)
                devices = frozenset(jid for jid, _ in parse_message(node).participants)
                flight = Flight(item.chat, devices, None, now, None, item.stage == "resync")
                if item.stage == "sealed" and item.resync_devices is not None:  # acked, but some devices were missed
                    self._flights.land(item.wa_id)
                    self._mismatched[item.wa_id] = flight
                    self._ask_anew(item.chat)
                else:
                    self._flights.depart(item.wa_id, flight)
                    connection.send_encoded([item.stanza], now)

    # --- what the server says ---------------------------------------------------------------------------------------

    def ops_of_ack(self, ack: MessageAck) -> list[Op]:
        """What an ack changes in the store; a mismatch of devices is settled first, and a refusal perhaps retried."""
        if ack.error is None:
            return [self._taken(ack.id, ack.unix_t, () if self._flights.is_mismatch(ack.id, ack.phash) else None)]
        refusal = refusal_of(ack.error)
        now_ms = self._host.services.unix_ms()
        if refusal.reseal and ack.id in self._flights and ack.id not in self._resealed:
            return []
        ops: list[Op] = [FailMessage(ack.id, refusal.reason, refusal.detail, now_ms)]
        # What a notification has told already, with more about it, is no news.
        if refusal.restricts is not None and not self._first_contacts.is_restricted(refusal.restricts):
            data = {"kind": refusal.restricts, "code": ack.error, "is_active": True, "ends_at": None}
            ops.append(AppendEvent("account.restricted", data, now_ms))
        return ops

    def _taken(self, wa_id: str, unix_t: int | None, resync: tuple[str, ...] | None) -> Op:
        at = self._host.services.unix_ms() if unix_t is None else unix_t * 1000
        return AckMessage(wa_id, at, resync)

    def acked(self, ack: MessageAck) -> None:
        """What `ops_of_ack` says is committed: go on from there."""
        is_mismatch = self._flights.is_mismatch(ack.id, ack.phash)
        flight = self._flights.land(ack.id)
        if flight is None:
            return
        refusal = None if ack.error is None else refusal_of(ack.error)
        if refusal is not None:
            self._refused(ack.id, flight, refusal)
            return
        self._resealed.pop(ack.id, None)
        if is_mismatch:
            self._mismatched[ack.id] = flight
            self._ask_anew(flight.chat)
        elif flight.token_due is not None and flight.token_due not in self._issuing and self._host.connection:
            self._issuing.add(flight.token_due)
            unix_t = self._host.services.unix_ms() // 1000
            self._host.connection.issue_token(flight.token_due, unix_t, trio.current_time())

    def _refused(self, wa_id: str, flight: Flight, refusal: Refusal) -> None:
        if refusal.restricts is not None:
            self._first_contacts.refused(refusal.restricts)
        elif refusal.reseal and wa_id not in self._resealed:
            self._reseal.add(wa_id)
            self._ask_anew(flight.chat)
        self._resealed.pop(wa_id, None)

    def _ask_anew(self, chat: str) -> None:
        """Doubt what we know of the devices of a chat."""
        self.queries.doubt(chat)
        self._stir(True)

    def _stir(self, has_news: bool) -> None:
        """Something changed for who waits: look again."""
        if has_news:
            self._is_dirty = self._has_news = True
            self._passed = 0

    def restrict(self, kind: str, until: float) -> None:
        """Write to nobody new until that monotonic time, for a reason of that kind."""
        self._first_contacts.restrict(kind, until)
        self._stir(self.queries.waits.end_rests())  # they are weighed again

    def proven(self, wa_ids: Iterable[str], chat: str | None) -> None:
        """Receipts came from a chat for these: the server has them, whether its ack came or not."""
        self._flights.proven(wa_ids, chat)

    # --- answers ------------------------------------------------------------------------------------------------

    async def devices_answered(self, event: DevicesAnswered) -> None:
        """Go on with the chats that waited for lists of devices."""
        if self.own is not None:
            self._stir(await self.queries.devices_answered(event, self.own))

    def bundles_answered(self, event: BundlesAnswered) -> None:
        """Go on with the chats that waited for keys."""
        self._stir(self.queries.bundles_answered(event))

    def forget_bundles(self, *users: Jid | None) -> None:
        """These users have other keys, or other devices, than before."""
        self.queries.bundles.forget(user.user for user in users if user is not None)

    async def token_issued(self, event: TokenIssued) -> None:
        """Remember that this contact has our token for this week."""
        self._issuing.discard(event.user)
        if event.ok and self.own is not None:
            self._flights.issued(event.user)
            man = Draughtsman(self._host, self._shelf, self.own)
            name = (TOKEN, event.user.user)
            await man.load(frozenset({name}))
            raw = man.ring.get(*name)
            entry = TokenEntry() if raw is None else TokenEntry.decode(raw)
            man.ring.put(*name, entry.issued(event.unix_t).encode())
            await self._commit_and_send(man, {}, (), ())

    # --- encrypting once more ---------------------------------------------------------------------------------------

    async def _seal_what_is_due_again(self) -> None:
        if self._mismatched:
            await self._settle_mismatches()
        if self._needs_resync:
            await self._seal_resyncs()
        if self._reseal:
            await self._seal_anew()

    async def _settle_mismatches(self) -> None:
        """Find the devices that were missed, once the chats' devices are known anew, and commit who they are."""
        if self.own is None:
            return
        man = Draughtsman(self._host, self._shelf, self.own)
        plans = await self.queries.plan(man, (flight.chat for flight in self._mismatched.values()))
        self.queries.ask_for_lists(plans)
        ops: list[Op] = []
        for wa_id, flight in list(self._mismatched.items()):
            if flight.chat in plans.ready or flight.chat not in self.queries.waits:
                del self._mismatched[wa_id]
                ops.append(self._taken(wa_id, None, missed(man.ring, plans.ready.get(flight.chat), flight) or None))
        self._needs_resync = self._needs_resync or bool(ops)
        await self._commit_and_send(man, {}, (), ops)

    async def _seal_resyncs(self) -> None:
        """Encrypt for devices that the server named, under the same id."""
        self._needs_resync = False
        items = await self._host.services.database.look(outbox.resyncs, self._host.id)
        await self._encrypt_again(items, only=True)

    async def _seal_anew(self) -> None:
        """Encrypt for everybody what the server refused, once its devices are known anew."""
        due, self._reseal = self._reseal, set()
        items = await self._host.services.database.read(outbox.sealed, self._host.id)
        await self._encrypt_again([item for item in items if item.wa_id in due], only=False)

    async def _encrypt_again(self, items: Sequence[OutboxItem], *, only: bool) -> None:
        if not items or self.own is None:
            return
        man = Draughtsman(self._host, self._shelf, self.own)
        plans = await self.queries.plan(man, (item.chat for item in items))
        absent = self.queries.ask_for_lists(plans)
        self.queries.ask_for_bundles(plans)
        sealer = Sealer(self._host, man, self.queries.bundles)
        ops: list[Op] = []
        sealed: list[tuple[OutboxItem, Draft, Sealed]] = []
        for item in items:
            kept = await self._host.services.database.look(retained.get, self._host.id, item.wa_id)
            plan = plans.ready.get(item.chat)
            if item.chat in absent or kept is None:
                ops.append(sealer.give_up(item, only=only))
            elif plan is None or item.chat in self.queries.waits:
                self._put_back(item, only=only)
            else:
                outcome = sealer.again(item, kept, plan, only=only)
                if isinstance(outcome, tuple):
                    sealed.append((item, *outcome))
                else:
                    ops.append(outcome)
        if not only:  # a second refusal is final, and counts only from here on
            self._note_resealed(item.wa_id for item, _, _ in sealed)
        await self._commit_and_send(man, plans.ready, sealed, ops)

    def _note_resealed(self, wa_ids: Iterable[str]) -> None:
        self._resealed |= dict.fromkeys(wa_ids)
        while len(self._resealed) > MAX_RESEALED:  # receipts, or time, have ended what no ack came for
            del self._resealed[next(iter(self._resealed))]

    def _put_back(self, item: OutboxItem, *, only: bool) -> None:
        if only:
            self._needs_resync = True
        else:
            self._reseal.add(item.wa_id)
