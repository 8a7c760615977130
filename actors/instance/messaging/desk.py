"""The desks of one instance's messages behind one door: the actor feeds it events and asks it when it is due.

Rule: a batch is settled before anything else is looked at, so what happened is committed in the order it happened.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import trio

from actors.instance.messaging.contacts import Contacts
from actors.instance.messaging.host import Host
from actors.instance.messaging.notices import Notices
from actors.instance.messaging.reading import GATHERED, Reading
from actors.instance.messaging.repair import Repair
from actors.instance.messaging.resending import Resending
from actors.instance.messaging.ring import KeyShelf
from actors.instance.messaging.sending import Sending
from actors.instance.messaging.typing import Typing
from whatisup.errors import Fenced, StoreUnavailable
from whatisup.protocol.credentials import Account, Credentials
from whatisup.protocol.events import BundlesAnswered, Event, NotificationReceived, ReceiptReceived
from whatisup.protocol.messaging.keyring import Own

NEVER: Final = float("inf")


class Messaging:
    """See the module. Everything that depends on the connection is forgotten with it."""

    __slots__ = ("_shelf", "contacts", "notices", "reading", "repair", "resending", "sending", "typing")

    def __init__(self, host: Host) -> None:
        services = host.services
        self._shelf = shelf = KeyShelf(services.database, services.keys, host.id)
        self.sending = Sending(host, shelf)
        self.repair = Repair(host, shelf)
        self.typing = Typing(host)
        self.reading = Reading(host, shelf, self.sending, self.repair, self.typing)
        self.resending = Resending(host, shelf)
        self.notices = Notices(host, shelf, self.sending)
        self.contacts = Contacts(host, shelf)

    def attach(self, credentials: Credentials, account: Account | None) -> None:
        """A connection begins; without an account it carries no messages."""
        self._shelf.reopen()
        own = None if account is None else Own.of(credentials, account)
        self._know(own)

    def detach(self) -> None:
        """The connection is gone."""
        self._shelf.close()
        self._know(None)
        for desk in (self.sending, self.repair, self.reading, self.resending, self.contacts, self.typing):
            desk.forget()

    def _know(self, own: Own | None) -> None:
        for desk in (self.sending, self.repair, self.reading, self.resending, self.notices, self.contacts):
            desk.own = own

    # --- events -------------------------------------------------------------------------------------------------

    async def gather(self, event: Event) -> bool:
        """Take an event that belongs into a batch; for any other the batch is settled first, and False returned."""
        if type(event) in GATHERED and not (isinstance(event, ReceiptReceived) and event.receipt.retry is not None):
            self.reading.gather(event)
            if self.reading.is_full:
                await self.reading.settle()
            return True
        await self.reading.settle()
        return False

    async def rest(self) -> None:
        """Nothing more has come for now: settle the batch, unless it may wait for more of the same."""
        if not self.reading.may_wait:
            await self.reading.settle()

    async def heed(self, event: NotificationReceived | ReceiptReceived) -> None:
        """Deal with a notification or a retry receipt; one that cannot be dealt with deafens nobody."""
        if isinstance(event, NotificationReceived):
            await self._deal(event, partial(self.notices.heed, event))
        else:
            await self._deal(event, partial(self.resending.answer, event))

    async def _deal(self, event: NotificationReceived | ReceiptReceived, deal: Callable[[], Awaitable[None]]) -> None:
        try:
            await deal()
        except (Fenced, StoreUnavailable):
            raise
        except Exception as error:  # it would come again at every login
            if self.reading.own is not None:
                await self.reading.keep_poison(event, self.reading.own, type(error).__name__)

    async def bundles_answered(self, event: BundlesAnswered) -> None:
        """Whoever asked for bundles gets them."""
        self.sending.bundles_answered(event)
        self.repair.bundles_answered(event)
        for request, deal in self.resending.answered(event):
            await self._deal(request, deal)

    # --- time -----------------------------------------------------------------------------------------------------

    @property
    def deadline(self) -> float:
        """When `run_due` wants to be called, in monotonic seconds."""
        return min(
            self.reading.deadline,
            self.sending.deadline,
            self.repair.deadline,
            self.resending.deadline,
            self.typing.deadline,
        )

    async def run_due(self) -> None:
        """Do what is due."""
        now = trio.current_time()
        if self.reading.deadline <= now:
            await self.reading.settle()
        if self.typing.deadline <= now:
            await self.typing.end()
        if self.resending.deadline <= now:
            for request, deal in self.resending.due():
                await self._deal(request, deal)
        if self.repair.deadline <= now:
            await self.repair.ask_phone()
        await self.sending.pump()
