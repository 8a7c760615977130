"""What others could not read of ours: each device that asks gets the kept message encrypted anew, for itself alone.

Rule: a retry receipt is acked only once it is answered or refused, so one that a crash interrupts comes again. How
often one device may ask for one message, and how many resends one chat gets, is bounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import structlog
import trio

from actors.instance.messaging.budgets import Bucket
from actors.instance.messaging.host import Host
from actors.instance.messaging.names import user_of
from actors.instance.messaging.ring import KeyShelf, ops_of
from whatisup.jid import Jid
from whatisup.protocol.events import BundlesAnswered, ReceiptReceived
from whatisup.protocol.messaging.keyring import Keyring, Own
from whatisup.protocol.messaging.resending import (
    Retained,
    needs_bundle,
    requester,
    seal_retry,
    wanted_for_retry,
)
from whatisup.protocol.prekeys import Bundle
from whatisup.store import NoteResend, Op, RecordReceipt, resends, retained
from whatisup.store import Retained as Kept
from whatisup.wire import Node

log = structlog.get_logger(__name__)

NEVER: Final = float("inf")
MAX_RESENDS: Final = 5
"""How often one device gets one message again, as Baileys counts."""
MAX_WAITING: Final = 512
MAX_WAITING_OF_USER: Final = 256
"""So that nobody who asks for everything keeps others from being answered."""
MAX_CHATS: Final = 256
BUNDLE_S: Final = 60.0
LIFETIME_MS: Final = 14 * 24 * 3600 * 1000


@dataclass(slots=True)
class Request:
    """A retry receipt that waits: for the bundle of a device, or for its chat's budget."""

    event: ReceiptReceived
    due_at: float
    device: Jid | None = None


class Resending:
    """The retry receipts of one connection."""

    __slots__ = ("_budgets", "_host", "_recreated", "_shelf", "_waiting", "own")

    def __init__(self, host: Host, shelf: KeyShelf) -> None:
        self._host = host
        self._shelf = shelf
        self._waiting: list[Request] = []
        self._budgets: dict[str, Bucket] = {}
        self._recreated: dict[Jid, float] = {}
        self.own: Own | None = None

    def forget(self) -> None:
        """The connection is gone: what was not answered was not acked, and comes again."""
        self._waiting.clear()

    @property
    def deadline(self) -> float:
        """When `run_due` wants to be called, in monotonic seconds."""
        return min((request.due_at for request in self._waiting), default=NEVER)

    async def answer(self, event: ReceiptReceived, bundle: Bundle | None = None) -> None:
        """Answer one retry receipt, now or as soon as it can be.

        Raises:
            Fenced, StoreUnavailable: as `Host.commit`.
        """
        own, request = self.own, event.receipt.retry
        if own is None or request is None:
            return
        kept = await self._host.services.database.read(
            _kept, self._host.id, request.wa_id, str(requester(event.receipt))
        )
        if kept is None:
            await self._close(event, [])
            return
        ring = self._shelf.ring(own)
        await self._shelf.fill(ring, wanted_for_retry(event.receipt, own))
        await self._shelf.fill(ring, wanted_for_retry(event.receipt, own, ring))
        if self._is_postponed(event, kept, ring, own, bundle):
            return
        message = Retained(kept.wa_id, Jid.parse(kept.chat), kept.message, kept.stanza_type, kept.edit, kept.unix_t)  # type: ignore[arg-type]  # the type was one of those words when it was kept
        node = seal_retry(event.receipt, message, ring, own, bundle, entropy=self._host.services.entropy)
        await self._close(event, [] if node is None else [node], ring)

    def _is_postponed(self, event: ReceiptReceived, kept: Kept, ring: Keyring, own: Own, bundle: Bundle | None) -> bool:
        """Whether the answer has to wait: for the chat's budget, or for a bundle that was asked for just now.

        The budget is paid before a bundle is asked for, so that nobody makes us ask without end.
        """
        if bundle is not None:
            return False
        now = trio.current_time()
        wait_s = self._budget(kept.chat, now).wait_s(now)
        if wait_s > 0:
            return self._wait(Request(event, now + wait_s))
        self._budget(kept.chat, now).take(now)
        unix_s = self._host.services.unix_ms() / 1000
        recreated_at = self._recreated.get(requester(event.receipt))
        device = needs_bundle(event.receipt, ring, own, recreated_at=recreated_at, now=unix_s)
        if device is None or self._host.connection is None:
            return False
        if len(self._recreated) >= MAX_WAITING:
            self._recreated.clear()
        self._recreated[requester(event.receipt)] = unix_s
        self._host.connection.fetch_bundles([device], now)
        return self._wait(Request(event, now + BUNDLE_S, device))

    def _wait(self, request: Request) -> bool:
        user = requester(request.event.receipt).normalised
        of_user = sum(requester(waiting.event.receipt).normalised == user for waiting in self._waiting)
        if len(self._waiting) >= MAX_WAITING or of_user >= MAX_WAITING_OF_USER:
            log.warning("message.resends_piled_up", instance_id=self._host.id)
            return True  # not acked: it comes again at the next login
        self._waiting.append(request)
        return True

    def _budget(self, chat: str, now: float) -> Bucket:
        limits = self._host.services.limits[self._host.row.mode]
        if chat not in self._budgets:
            if len(self._budgets) >= MAX_CHATS:
                self._budgets.pop(next(iter(self._budgets)))
            self._budgets[chat] = Bucket(limits.resends_per_s, limits.resend_burst, now)
        return self._budgets[chat]

    async def _close(self, event: ReceiptReceived, nodes: list[Node], ring: Keyring | None = None) -> None:
        """Commit, send the resend if there is one, and ack the receipt."""
        receipt = event.receipt
        now_ms = self._host.services.unix_ms()
        ops: list[Op] = []
        if receipt.retry is not None:
            # Who asks for a message again proves that the server took it: that one, and of that chat.
            is_ours = self.own is not None and self.own.is_own(receipt.source)
            chat = receipt.recipient if is_ours and receipt.recipient is not None else receipt.source
            ops.append(RecordReceipt((receipt.retry.wa_id,), "sent", now_ms, str(user_of(chat))))
        if nodes and receipt.retry is not None:
            ops.append(NoteResend(receipt.retry.wa_id, str(requester(receipt)), now_ms + LIFETIME_MS))
        changes = {} if ring is None else ring.take_changes()
        await self._host.commit(*ops, *ops_of(changes))
        self._shelf.remember(changes)
        connection, now = self._host.connection, trio.current_time()
        if connection is not None:
            connection.send(nodes, now)
            connection.transmit(event, now)
            await self._host.flush()

    async def run_due(self) -> None:
        """Answer what has waited long enough; who waits for a bundle that never came is to ask again."""
        now = trio.current_time()
        due = [request for request in self._waiting if request.due_at <= now]
        self._waiting = [request for request in self._waiting if request.due_at > now]
        for request in due:
            if request.device is None:
                await self.answer(request.event)
            else:
                await self._close(request.event, [])

    async def bundles_answered(self, event: BundlesAnswered) -> None:
        """Answer what waited for one of these."""
        found = dict(event.found)
        asked = frozenset(event.asked)
        ready = [request for request in self._waiting if request.device in asked]
        self._waiting = [request for request in self._waiting if request.device not in asked]
        for request in ready:
            bundle = found.get(request.device) if request.device is not None else None
            if bundle is not None:
                await self.answer(request.event, bundle)
            else:
                await self._close(request.event, [])


def _kept(conn: object, vault: object, instance_id: str, wa_id: str, device: str) -> Kept | None:
    """What was sent under that id, unless this device has had it often enough."""
    granted = resends.count(conn, None, instance_id, wa_id, device)  # type: ignore[arg-type]  # the store's connection, passed through
    return retained.get(conn, vault, instance_id, wa_id) if granted < MAX_RESENDS else None  # type: ignore[arg-type]  # the store's connection and vault
