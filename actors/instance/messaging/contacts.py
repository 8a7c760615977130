"""Who is on WhatsApp: lookups that somebody waits for, within a budget, since probing numbers gets a number banned.

Rule: what is known is answered without asking; the server is asked one number at a time.
"""

from __future__ import annotations

from typing import Final

import trio

from actors.instance.messaging.budgets import Bucket
from actors.instance.messaging.host import Host
from actors.instance.messaging.names import user_of
from actors.instance.messaging.ring import KeyShelf, ops_of
from actors.mailbox import ReplySlot
from actors.messages import ContactCheck
from whatisup.errors import ActorStopped, CheckFailed, NotConnected, TooManyChecks
from whatisup.jid import PN_SERVER, Jid
from whatisup.protocol.events import ContactsChecked
from whatisup.protocol.messaging.keyring import LID, PN, Own, Wanted
from whatisup.protocol.stanzas.usync import ContactFound
from whatisup.store import LearnPair

MAX_WAITING: Final = 64


class Contacts:
    """The lookups of one connection."""

    __slots__ = ("_budget", "_host", "_shelf", "_waiting", "own")

    def __init__(self, host: Host, shelf: KeyShelf) -> None:
        self._host = host
        self._shelf = shelf
        limits = host.services.limits[host.row.mode]
        self._budget = Bucket(limits.checks_per_s, max(1.0, limits.checks_per_s * 60), trio.current_time())
        self._waiting: dict[str, list[ReplySlot[ContactCheck]]] = {}
        self.own: Own | None = None

    def forget(self) -> None:
        """The connection is gone: nobody will answer."""
        for slots in self._waiting.values():
            for slot in slots:
                slot.refuse(ActorStopped("the connection was lost before WhatsApp answered; try again"))
        self._waiting.clear()

    async def check(self, number: str, reply: ReplySlot[ContactCheck]) -> None:
        """Answer whether a number (digits) is on WhatsApp, now or when the server has answered.

        Raises:
            NotConnected: there is no session to ask through.
            TooManyChecks: too many numbers were looked up lately.
        """
        own, connection = self.own, self._host.connection
        if own is None or connection is None or not connection.is_logged_in:
            raise NotConnected(self._host.row.status)
        ring = self._shelf.ring(own)
        await self._shelf.fill(ring, Wanted(keys=frozenset({(LID, number)})))
        lid = ring.lid_of(Jid(number, PN_SERVER))
        if lid is not None:
            reply.answer(ContactCheck(True, number, lid.user))
            return
        if number not in self._waiting:
            now = trio.current_time()
            wait_s = self._budget.wait_s(now)
            if wait_s > 0 or len(self._waiting) >= MAX_WAITING:
                raise TooManyChecks(max(wait_s, 1.0))
            self._budget.take(now)
            connection.check_contacts([number], now)
        self._waiting.setdefault(number, []).append(reply)
        await self._host.flush()

    async def answered(self, event: ContactsChecked) -> None:
        """Tell everybody who waits, and keep which number is which LID."""
        found = {contact.number: contact for contact in event.found}
        for number in event.asked:
            contact, slots = found.get(number), self._waiting.pop(number, [])
            for slot in slots if event.failure is not None else ():
                slot.refuse(CheckFailed(event.failure or 0))
            if event.failure is None:
                lid = None if contact is None else _lid_of(contact)
                is_in = contact is not None and contact.is_in
                if is_in and lid is not None:
                    await self._learn(Jid(number, PN_SERVER), lid)
                for slot in slots:
                    slot.answer(ContactCheck(is_in, number, None if lid is None else lid.user))

    async def _learn(self, pn: Jid, lid: Jid) -> None:
        if self.own is None or self.own.is_own(pn):
            return
        ring = self._shelf.ring(self.own)
        await self._shelf.fill(ring, Wanted(keys=frozenset({(LID, pn.user), (PN, lid.user)})))
        if ring.learn(pn, lid):
            changes = ring.take_changes()
            await self._host.commit(LearnPair(pn.user, lid.user), *ops_of(changes))
            self._shelf.remember(changes)


def _lid_of(contact: ContactFound) -> Jid | None:
    """The hidden id of a contact, wherever the answer tells it."""
    found = contact.lid or (contact.jid if contact.jid is not None and contact.jid.is_lid else None)
    return None if found is None else user_of(found)
