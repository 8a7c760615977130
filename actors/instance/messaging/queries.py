"""What has to be asked before a message can be encrypted: who has which devices, and the keys of new ones.

Rule: an answer counts for what it tells, and for as long. A chat that is doubted (the server refused a message, or
knows of other devices) counts as unknown until the server has told its devices anew, together with our own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import structlog
import trio

from actors.instance.messaging.bundles import Bundles
from actors.instance.messaging.drafts import Draughtsman
from actors.instance.messaging.host import Host
from actors.instance.messaging.names import user_of
from actors.instance.messaging.plans import PlanBook, Plans
from actors.instance.messaging.ring import KeyShelf, ops_of
from actors.instance.messaging.waits import Question, Waits
from whatisup.jid import Jid
from whatisup.protocol.events import BundlesAnswered, DevicesAnswered
from whatisup.protocol.messaging.devices import DeviceListEntry
from whatisup.protocol.messaging.keyring import DEVICES, LID, PN, Own
from whatisup.store import LearnPair, Op

log = structlog.get_logger(__name__)

NEVER: Final = float("inf")
ANSWER_S: Final = 120.0
"""How long a chat waits for an answer; the connection reports every failure well before."""
FIRST_RETRY_S: Final = 2.0
MAX_RETRY_S: Final = 60.0
BUSY: Final = 429
ABSENT_S: Final = 60.0
"""How long it counts that WhatsApp does not know a number: for all that is queued for it."""
ONLY_PHONE: Final = ((0, None),)
"""Our own devices where the server does not list them."""


class Queries:
    """The questions of one connection, who waits for their answers, and the bundles that came."""

    __slots__ = ("_book", "_doubted", "_host", "_retry_s", "_shelf", "_unknown", "bundles", "waits")

    def __init__(self, host: Host, shelf: KeyShelf) -> None:
        self._host = host
        self._shelf = shelf
        self._retry_s = FIRST_RETRY_S
        self.forget()

    def forget(self) -> None:
        """The connection is gone: nobody will answer what was asked."""
        self.waits = Waits()
        self.bundles = Bundles()
        self._book = PlanBook()
        self._doubted: set[str] = set()
        self._unknown: dict[Jid, float] = {}

    # --- asking -------------------------------------------------------------------------------------------------

    def doubt(self, chat: str) -> None:
        """What is known of the devices of a chat counts no more."""
        self._doubted.add(chat)

    async def plan(self, man: Draughtsman, chats: Iterable[str]) -> Plans:
        """Plan for these chats; what is doubted is to be asked for, whatever is known."""
        plans = await man.plan(dict.fromkeys(chats), self._book)
        for chat, plan in list(plans.ready.items()) if self._doubted else ():
            if not self._doubted.isdisjoint((chat, str(plan.chat), str(plan.chat_pn))):
                del plans.ready[chat]
                plans.unlisted[chat] = (plan.chat_pn or plan.chat, user_of(man.own.pn))
        return plans

    def ask_for_lists(self, plans: Plans) -> frozenset[str]:
        """Ask who has which devices; returns the chats of people that WhatsApp says it does not know."""
        now = trio.current_time()
        # The chat's own user comes first; that the server might not know us is no news about the chat.
        absent = {chat for chat, jids in plans.unlisted.items() if self._unknown.get(jids[0], -NEVER) > now}
        wanted: dict[Jid, None] = {}
        for chat, jids in plans.unlisted.items():
            if chat not in absent and chat not in self.waits:
                wanted |= dict.fromkeys(jids)
                self.waits.expect(chat, (("devices", jid) for jid in jids), now + ANSWER_S)
        if wanted and self._host.connection is not None:
            self._host.connection.query_devices(sorted(wanted, key=str), now)
        return frozenset(absent)

    def ask_for_bundles(self, plans: Plans) -> None:
        """Ask for the keys of devices that we have no session with, once each."""
        now = trio.current_time()
        wanted: dict[Jid, None] = {}
        for chat, plan in plans.ready.items():
            lacking = [] if chat in self.waits else self.bundles.lacking(plan.needs_bundles, now)
            if lacking:
                wanted |= dict.fromkeys(lacking)
                self.waits.expect(chat, (("bundle", device) for device in lacking), now + ANSWER_S)
        if wanted and self._host.connection is not None:
            self._host.connection.fetch_bundles(list(wanted), now)

    # --- answers ------------------------------------------------------------------------------------------------

    async def devices_answered(self, event: DevicesAnswered, own: Own) -> bool:
        """Keep the lists; whether a chat that waited for them may go on.

        Raises:
            Fenced, StoreUnavailable: as `Host.commit`.
        """
        questions: list[Question] = [("devices", user) for user in event.asked]
        if event.failure is not None:
            self._retry_later(event.failure, questions)
            return False
        self._retry_s = FIRST_RETRY_S
        man = Draughtsman(self._host, self._shelf, own)
        ops = await self._keep_lists(man, event)
        self._believe(man, event)
        changes = man.ring.take_changes()
        if ops or changes:
            await self._host.commit(*ops, *ops_of(changes))
            self._shelf.remember(changes)
        return self.waits.answered(questions)

    def _believe(self, man: Draughtsman, event: DevicesAnswered) -> None:
        """Note who is not there, and doubt no more what was told anew together with our own devices."""
        known, now = {user.user for user in event.found if user.is_known and user.devices}, trio.current_time()
        self._unknown = {user: until for user, until in self._unknown.items() if until > now}
        for user in event.asked:
            if user not in known and not man.own.is_own(user):
                self._unknown[user] = now + ABSENT_S
        if any(man.own.is_own(user) for user in event.asked):
            for user in event.asked:
                self._doubted -= {str(user), str(man.ring.canonical(user)), str(man.ring.pn_of(user))}

    async def _keep_lists(self, man: Draughtsman, event: DevicesAnswered) -> list[Op]:
        ops: list[Op] = []
        now_ms = self._host.services.unix_ms()
        users = [user for user in event.found if user.is_known and user.devices]
        is_own_asked = any(man.own.is_own(user) for user in event.asked)
        if is_own_asked and not any(man.own.is_own(user.user) for user in users):
            man.remember_devices(user_of(man.own.lid), DeviceListEntry(ONLY_PHONE, now_ms))
        names = {(LID, user.user) if user.is_pn else (PN, user.user) for user in event.asked}
        names |= {(PN, user.lid.user) for user in users if user.lid is not None}
        await man.load(frozenset(names))
        for user in users:
            jid, lid = user_of(user.user), user.lid and user_of(user.lid)
            if jid.is_pn and lid is not None and not man.own.is_own(jid) and man.ring.learn(jid, lid):
                ops.append(LearnPair(jid.user, lid.user))
            canonical = man.ring.canonical(jid)
            await man.load(frozenset({(DEVICES, str(canonical))}))
            man.remember_devices(canonical, DeviceListEntry(user.devices, now_ms, user.device_hash))
        return ops

    def bundles_answered(self, event: BundlesAnswered) -> bool:
        """Keep the bundles that somebody waits for until the next sealing; whether a chat may go on.

        A device without one is passed over.
        """
        questions: list[Question] = [("bundle", device) for device in event.asked]
        if event.failure is not None:
            self._retry_later(event.failure, questions)
            return False
        found, now = dict(event.found), trio.current_time()
        for device in event.asked:
            if self.waits.awaits(("bundle", device)):
                self._retry_s = FIRST_RETRY_S
                self.bundles.keep(device, found.get(device), now)
        return self.waits.answered(questions)

    def _retry_later(self, failure: int, questions: Sequence[Question]) -> None:
        """Let who waits for these answers ask again later; nothing is lost meanwhile."""
        wait_s = MAX_RETRY_S if failure == BUSY else self._retry_s
        if self.waits.failed(questions, trio.current_time() + wait_s):
            self._retry_s = min(2 * self._retry_s, MAX_RETRY_S)
            log.info("message.query_failed", instance_id=self._host.id, code=failure, retry_in_s=wait_s)
