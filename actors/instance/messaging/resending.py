"""What others could not read of ours: each device that asks gets the kept message encrypted anew, for itself alone.

Rule: a retry receipt is acked only once it is answered or refused, so one that a crash interrupts comes again. How
often one device may ask for one message, and how many resends one chat gets, is bounded.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, TypeAlias

import structlog
import trio

from actors.instance.messaging.budgets import Bucket
from actors.instance.messaging.host import Host
from actors.instance.messaging.names import identity_changed, user_of
from actors.instance.messaging.ring import KeyShelf, ops_of
from whatisup.jid import Jid
from whatisup.protocol.events import BundlesAnswered, ReceiptReceived
from whatisup.protocol.messaging.keyring import IDENTITY, Keyring, Own
from whatisup.protocol.messaging.resending import (
    Retained,
    needs_bundle,
    requester,
    seal_retry,
    wanted_for_retry,
)
from whatisup.protocol.prekeys import Bundle
from whatisup.protocol.stanzas.receipt import RetryRequest
from whatisup.store import NoteResend, Op, RecordReceipt, resends, retained
from whatisup.store import Retained as Kept
from whatisup.wire import Node, decode_node, encode_node

log = structlog.get_logger(__name__)

NEVER: Final = float("inf")
MAX_RESENDS: Final = 5
"""How often one device gets one message again, as Baileys counts."""
MAX_WAITING: Final = 512
MAX_WAITING_OF_USER: Final = 256
"""So that nobody who asks for everything keeps others from being answered."""
MAX_CHATS: Final = 256
LOOK_S: Final = 0.5
"""How soon it is looked again whether the server's queue is over."""
BUNDLE_S: Final = 60.0
ASK_AGAIN_S: Final = 30.0
"""After that long the server is asked again for a bundle that it failed to give."""
MAX_TRIES: Final = 5
LIFETIME_MS: Final = 14 * 24 * 3600 * 1000


@dataclass(slots=True)
class Request:
    """A retry receipt that waits: for the bundle of a device, or for its chat's budget, which is paid once."""

    event: ReceiptReceived
    due_at: float
    device: Jid | None = None
    is_paid: bool = False
    tries: int = 0


Deal: TypeAlias = tuple[ReceiptReceived, Callable[[], Awaitable[None]]]
"""A retry receipt, and what answers it now."""


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
        return min(request.due_at for request in self._waiting) if self._waiting else NEVER

    async def answer(self, event: ReceiptReceived) -> None:
        """Answer one retry receipt, now or as soon as it can be.

        Raises:
            Fenced, StoreUnavailable: as `Host.commit`.
        """
        # Before it waits for anything: once the queue is over, the outbox would send the message beside the answer.
        await self._host.commit(*self._proof(event))
        if await self._is_latest(event):
            await self._answer(Request(event, NEVER))

    def _proof(self, event: ReceiptReceived) -> list[Op]:
        """Who asks for a message again proves that the server took it: that one, and of that chat."""
        receipt = event.receipt
        if receipt.retry is None:
            return []
        is_ours = self.own is not None and self.own.is_own(receipt.source)
        chat = receipt.recipient if is_ours and receipt.recipient is not None else receipt.source
        now_ms = self._host.services.unix_ms()
        return [RecordReceipt((receipt.retry.wa_id,), "sent", now_ms, str(user_of(chat)))]

    async def _is_latest(self, event: ReceiptReceived) -> bool:
        """Let only the last of a device's receipts for a message wait: answers to several would all be read."""
        for waiting in [request for request in self._waiting if _subject(request.event) == _subject(event)]:
            if _count(event) < _count(waiting.event):
                await self._close(event, [])
                return False
            self._take([waiting])
            await self._close(waiting.event, [])
        return True

    async def _answer(self, waiting: Request, bundle: Bundle | None = None) -> None:
        event, own, request = waiting.event, self.own, waiting.event.receipt.retry
        if own is None or request is None:
            return
        if self._is_draining:  # a later one of the same device may follow in the server's queue
            self._wait(replace(waiting, due_at=trio.current_time() + LOOK_S))
            return
        device = requester(event.receipt)
        kept, answer = await self._host.services.database.look(_kept, self._host.id, request, str(device))
        if answer is not None:  # our ack was lost, and perhaps the answer: new bytes would be read a second time
            if not self._has_to_pay(waiting, str(user_of(event.receipt.source))):
                await self._close(event, [decode_node(answer)], is_repeated=True)
            return
        if kept is None:
            await self._close(event, [])
            return
        ring = self._shelf.ring(own)
        await self._shelf.fill(ring, wanted_for_retry(event.receipt, own))
        await self._shelf.fill(ring, wanted_for_retry(event.receipt, own, ring))
        if bundle is None and self._is_postponed(waiting, kept, ring, own):
            return
        message = Retained(kept.wa_id, Jid.parse(kept.chat), kept.message, kept.stanza_type, kept.edit, kept.unix_t)  # type: ignore[arg-type]  # the type was one of those words when it was kept
        if bundle is not None:
            self._note_recreated(device)
        known = _identity_of(device, ring)
        node = seal_retry(event.receipt, message, ring, own, bundle, entropy=self._host.services.entropy)
        is_renewed = known is not None and known != _identity_of(device, ring)
        renewed = [identity_changed(ring, device, self._host.services.unix_ms())] if is_renewed else []
        await self._close(event, [] if node is None else [node], ring, *renewed)

    @property
    def _is_draining(self) -> bool:
        connection = self._host.connection
        return connection is not None and bool(connection.is_draining)

    def _is_postponed(self, waiting: Request, kept: Kept, ring: Keyring, own: Own) -> bool:
        """Whether the answer has to wait: for the chat's budget, or for a bundle that is being asked for.

        The budget is paid before a bundle is asked for, so that nobody makes us ask without end.
        """
        now, who = trio.current_time(), requester(waiting.event.receipt)
        if self._has_to_pay(waiting, kept.chat):
            return True
        unix_s = self._host.services.unix_ms() / 1000
        receipt, recreated_at = waiting.event.receipt, self._recreated.get(who)
        device = needs_bundle(receipt, ring, own, recreated_at=recreated_at, now=unix_s)
        if device is None or self._host.connection is None:
            return False
        if all(other.device != device for other in self._waiting):
            self._host.connection.fetch_bundles([device], now)
        tries = waiting.tries + 1
        return self._wait(replace(waiting, due_at=now + BUNDLE_S, device=device, is_paid=True, tries=tries))

    def _has_to_pay(self, waiting: Request, chat: str) -> bool:
        """Whether the answer has to wait for the chat's budget; else it is paid."""
        now = trio.current_time()
        if waiting.is_paid:
            return False
        wait_s = self._budget(chat, now).wait_s(now)
        if wait_s > 0:
            return self._wait(replace(waiting, due_at=now + wait_s, device=None))
        self._budget(chat, now).take(now)
        return False

    def _note_recreated(self, device: Jid) -> None:
        if len(self._recreated) >= MAX_WAITING:
            self._recreated.clear()
        self._recreated[device] = self._host.services.unix_ms() / 1000

    def _wait(self, request: Request) -> bool:
        user, connection = requester(request.event.receipt).normalised, self._host.connection
        if connection is not None:  # the rest of the server's queue need not wait as well
            acks = tuple(node for node in request.event.replies if node.tag == "ack")
            connection.send([node for node in request.event.replies if node.tag != "ack"], trio.current_time())
            request = replace(request, event=replace(request.event, replies=acks))
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

    async def _close(
        self,
        event: ReceiptReceived,
        nodes: list[Node],
        ring: Keyring | None = None,
        *told: Op,
        is_repeated: bool = False,
    ) -> None:
        """Commit, send the resend if there is one, and ack the receipt."""
        receipt = event.receipt
        now_ms = self._host.services.unix_ms()
        ops: list[Op] = [*told]
        if nodes and receipt.retry is not None and not is_repeated:
            ops.append(_note(receipt.retry, str(requester(receipt)), nodes[0], now_ms))
        changes = {} if ring is None else ring.take_changes()
        if ops or changes:
            await self._host.commit(*ops, *ops_of(changes))
            self._shelf.remember(changes)
        connection, now = self._host.connection, trio.current_time()
        if connection is not None:
            connection.send(nodes, now)
            connection.transmit(event, now)
            await self._host.flush()

    def due(self) -> list[Deal]:
        """What has waited long enough; where a bundle never came, it is asked for again."""
        now = trio.current_time()
        due = self._take([request for request in self._waiting if request.due_at <= now])
        if any(request.tries >= MAX_TRIES for request in due):  # not acked: it comes again at the next login
            log.warning("message.resend_given_up", instance_id=self._host.id)
        return [(request.event, partial(self._answer, request)) for request in due if request.tries < MAX_TRIES]

    def answered(self, event: BundlesAnswered) -> list[Deal]:
        """What waited for these bundles; what the server failed to tell waits on, to ask again."""
        ready = self._take([request for request in self._waiting if request.device in frozenset(event.asked)])
        if event.failure is not None:
            now = trio.current_time()
            self._waiting += [replace(request, due_at=now + ASK_AGAIN_S, device=None) for request in ready]
            return []
        told, unused = frozenset(jid for jid, _ in event.found), dict(event.found)
        deals: list[Deal] = []
        for request in ready:
            device = request.device
            if device is None or device not in told:
                deals.append((request.event, partial(self._close, request.event, [])))
            else:  # a bundle opens one session, and whoever comes next writes in that
                deals.append((request.event, partial(self._answer, request, unused.pop(device, None))))
        return deals

    def _take(self, requests: list[Request]) -> list[Request]:
        taken = {id(request) for request in requests}
        self._waiting = [request for request in self._waiting if id(request) not in taken]
        return requests


def _identity_of(device: Jid, ring: Keyring) -> bytes | None:
    """The key that we know a device by, under either name of its user."""
    return ring.get(IDENTITY, ring.settle(device)) if (device.is_pn or device.is_lid) and not device.agent else None


def _subject(event: ReceiptReceived) -> tuple[Jid, str]:
    """Which device asks for which message."""
    request = event.receipt.retry
    return requester(event.receipt), "" if request is None else request.wa_id


def _count(event: ReceiptReceived) -> int:
    return 0 if event.receipt.retry is None else event.receipt.retry.count


def _note(request: RetryRequest, device: str, answer: Node, now_ms: int) -> NoteResend:
    return NoteResend(
        request.wa_id,
        device,
        now_ms + LIFETIME_MS,
        asked=request.count,
        registration_id=request.registration_id,
        stanza=encode_node(answer),
    )


def _kept(
    conn: Any, vault: Any, instance_id: str, request: RetryRequest, device: str
) -> tuple[Kept | None, bytes | None]:
    """What was sent under that id, unless this device has had it often enough; and how this receipt was answered."""
    wa_id = request.wa_id
    answer = resends.answer(
        conn, vault, instance_id, wa_id, device, asked=request.count, registration_id=request.registration_id
    )
    granted = resends.count(conn, None, instance_id, wa_id, device)
    return retained.get(conn, vault, instance_id, wa_id) if granted < MAX_RESENDS else None, answer
