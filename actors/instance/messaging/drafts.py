"""For whom and what: the devices that a message goes to, and what it says, from rows and kept keys.

Rule: it reads and plans; what is missing (a device list, a session) is named for the outbox to ask for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from actors.instance.messaging.host import Host
from actors.instance.messaging.names import user_of
from actors.instance.messaging.plans import KeptPlan, Plan, PlanBook, Plans
from actors.instance.messaging.ring import KeyShelf
from whatisup.errors import LocalProtocolError
from whatisup.jid import Jid
from whatisup.protocol.content.bodies import TextBody, parse_body
from whatisup.protocol.content.compose import Target, compose
from whatisup.protocol.messaging import resending
from whatisup.protocol.messaging.devices import FRESH_MS, DeviceListEntry
from whatisup.protocol.messaging.keyring import DEVICES, LID, PN, TOKEN, KeyName, Keyring, Own, Wanted
from whatisup.protocol.messaging.sealing import Draft, recipients, wanted_for_sealing, without_session
from whatisup.protocol.messaging.tokens import TokenEntry
from whatisup.store import OutboxItem, Retained, messages

SECRET_LENGTH = 32


class Draughtsman:
    """Plans and drafts over one keyring, for one unit."""

    __slots__ = ("_host", "_shelf", "own", "ring")

    def __init__(self, host: Host, shelf: KeyShelf, own: Own) -> None:
        self.own = own
        self.ring: Keyring = shelf.ring(own)
        self._host = host
        self._shelf = shelf

    async def plan(self, chats: Iterable[str], book: PlanBook) -> Plans:
        """Find the devices of these chats and which of them lack a session; what lacks none is kept in `book`."""
        plans, known = Plans(), {chat: book.find(chat, self.own) for chat in chats}
        await self._recall(plans, known)
        jids = {chat: Jid.parse(chat) for chat in known if chat not in plans.ready}
        if jids:
            await self._plan_anew(plans, jids, book)
        return plans

    async def _recall(self, plans: Plans, known: Mapping[str, KeptPlan | None]) -> None:
        """Take up the kept plans that still hold."""
        found = {chat: kept for chat, kept in known.items() if kept is not None}
        for kept in found.values():
            await self._shelf.fill(self.ring, kept.wanted)
        now_ms = self._host.services.unix_ms()
        plans.ready |= {chat: kept.plan for chat, kept in found.items() if kept.holds(self.ring, now_ms)}

    async def _plan_anew(self, plans: Plans, jids: Mapping[str, Jid], book: PlanBook) -> None:
        await self.load(frozenset(name for jid in jids.values() for name in self._names_of_user(jid)))
        canonical = {chat: self.ring.canonical(jid) for chat, jid in jids.items()}
        await self.load(frozenset(name for jid in canonical.values() for name in self._names_of_lists(jid)))
        for chat, jid in canonical.items():
            self._place(plans, chat, jid)
        wanted = await self._weigh_sessions(plans, jids)
        for chat, names in wanted.items():
            plan = plans.ready[chat]
            if not plan.needs_bundles:
                names = names.union(self._names_of_user(jids[chat]), self._names_of_lists(plan.chat))
                book.keep(chat, KeptPlan.of(plan, self.own, self.ring, names, self._fresh(plan.chat)))

    async def load(self, names: frozenset[KeyName]) -> None:
        """Load keys."""
        await self._shelf.fill(self.ring, Wanted(keys=names))

    def _names_of_user(self, jid: Jid) -> tuple[KeyName, ...]:
        # The list of a user whose LID is known is kept under it, and then the row says so.
        return (((LID, jid.user),) if jid.is_pn else ((PN, jid.user),)) + self._names_of_lists(jid)

    def _names_of_lists(self, jid: Jid) -> tuple[KeyName, ...]:
        return (DEVICES, str(jid)), (TOKEN, jid.user), (DEVICES, str(user_of(self.own.lid)))

    def _place(self, plans: Plans, chat: str, jid: Jid) -> None:
        own_user = user_of(self.own.lid)
        lists = {user: self._devices_of(user) for user in (jid, own_user)}
        missing = tuple(user for user, devices in lists.items() if devices is None)
        if missing:
            plans.unlisted[chat] = tuple(self.ring.pn_of(user) or user for user in missing)
            return
        devices = recipients(lists[jid] or (), lists[own_user] or (), self.own, chat=jid)
        token = self.ring.get(TOKEN, jid.user)
        entry = TokenEntry() if token is None else TokenEntry.decode(token)
        pn = self.ring.pn_of(jid)
        plans.ready[chat] = Plan(jid, pn, tuple(devices), entry)

    def _devices_of(self, user: Jid) -> tuple[Jid, ...] | None:
        raw = self.ring.get(DEVICES, str(user))
        if raw is None:
            return None
        entry = DeviceListEntry.decode(raw)
        return entry.jids(user) if entry.is_fresh(self._host.services.unix_ms()) else None

    def _fresh(self, chat: Jid) -> tuple[int, int]:
        """From when to when the lists of a plan count, in unix ms."""
        raws = (self.ring.get(DEVICES, str(user)) for user in (chat, user_of(self.own.lid)))
        fetched_at = [DeviceListEntry.decode(raw).fetched_at for raw in raws if raw is not None]
        return max(fetched_at, default=0), min(fetched_at, default=0) + FRESH_MS

    async def _weigh_sessions(self, plans: Plans, chats: Iterable[str]) -> dict[str, frozenset[KeyName]]:
        """Find which devices of these chats lack a session; returns what sealing for each will touch."""
        placed = {chat: plans.ready[chat] for chat in chats if chat in plans.ready}
        wanted = {
            chat: wanted_for_sealing(plan.devices, self.own, chat_pn=plan.chat_pn) for chat, plan in placed.items()
        }
        await self.load(frozenset().union(*(names.keys for names in wanted.values())))
        for chat, plan in placed.items():
            again = wanted_for_sealing(plan.devices, self.own, self.ring, chat_pn=plan.chat_pn)
            await self._shelf.fill(self.ring, again)
            wanted[chat] |= again
            lacking = tuple(without_session(plan.devices, self.ring))
            theirs = [device for device in plan.devices if device.user == plan.chat.user]
            is_first = bool(theirs) and all(device in lacking for device in theirs)
            plans.ready[chat] = Plan(plan.chat, plan.chat_pn, plan.devices, plan.token, lacking, is_first)
        return {chat: names.keys for chat, names in wanted.items()}

    async def draft(self, item: OutboxItem, plan: Plan) -> Draft:
        """Say what a row says.

        Raises:
            CannotCompose: its body cannot be said.
        """
        now_ms = self._host.services.unix_ms()
        if item.body is None:
            raise LocalProtocolError("a queued message without a body")
        body = parse_body(item.body)
        composed = compose(
            body,
            chat=plan.chat,
            own=user_of(self.own.in_form_of(plan.chat)),
            target=await self._target(item, quotes=isinstance(body, TextBody)),
            secret=self._host.services.entropy(SECRET_LENGTH),
            unix_ms=now_ms,
        )
        return Draft(item.wa_id, plan.chat, plan.chat_pn, composed, now_ms)

    async def _target(self, item: OutboxItem, *, quotes: bool) -> Target | None:
        if item.target is None:
            return None
        found: Mapping[str, object] = item.target
        original = None
        if quotes:
            target = await self._host.services.database.look(
                messages.find_target, self._host.id, item.chat, str(found["wa_id"])
            )
            original = None if target is None else target.original
        author = found.get("author")
        return Target(str(found["wa_id"]), bool(found["from_me"]), None if author is None else str(author), original)

    def draft_again(self, item: OutboxItem, kept: Retained, plan: Plan) -> Draft:
        """Say once more what was sent, for devices that did not get it."""
        again = resending.Retained(kept.wa_id, plan.chat, kept.message, kept.stanza_type, kept.edit, kept.unix_t)  # type: ignore[arg-type]  # the type was one of those words when it was kept
        return Draft(item.wa_id, plan.chat, plan.chat_pn, resending.recomposed(again), kept.unix_t * 1000)

    def remember_devices(self, user: Jid, entry: DeviceListEntry) -> None:
        """Keep what the server says about a user's devices."""
        self.ring.put(DEVICES, str(user), entry.encode())
