"""Stanzas that are not part of a conversation: handed to the owner, acknowledged once the owner has them.

Rule: whatever has an `id` and a `from` is acknowledged with its own tag as the class, known or not; except a `message`,
which the owner answers itself once it has committed what it says, and the tags that are never acknowledged.

Source: WhatsApp Web, as whatsmeow and Baileys do it; unknown tags as we decided.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from whatisup.errors import RemoteProtocolError
from whatisup.jid import Jid
from whatisup.protocol.credentials import Account
from whatisup.protocol.dialogue.exchange import Exchange
from whatisup.protocol.dialogue.offline import OfflineQueue
from whatisup.protocol.events import (
    ClientExpirationAnnounced,
    DirtyAnnounced,
    DowngradeWarned,
    MessageAcked,
    MessageReceived,
    NotificationReceived,
    ReceiptReceived,
    RoutingInfoReceived,
    StanzaReceived,
)
from whatisup.protocol.stanzas.ack import NEVER_ACKED, build_ack, parse_message_ack
from whatisup.protocol.stanzas.ib import parse_client_expiration, parse_dirty, parse_edge_routing
from whatisup.protocol.stanzas.message import Envelope, parse_envelope, weigh
from whatisup.protocol.stanzas.receipt import parse_receipt
from whatisup.wire import Node

MAX_NOTICES: Final = 32
"""How many children of one `ib` are looked at: servers send one, and each may cost a commit or a line in the log."""

_MUST_ACK: Final = frozenset({"call"})


class Inbound:
    """Hands stanzas and notices to the owner."""

    __slots__ = ("_exchange", "_offline", "_own_lid", "_own_pn")

    def __init__(self, exchange: Exchange, offline: OfflineQueue, account: Account | None) -> None:
        self._exchange = exchange
        self._offline = offline
        self._own_pn = None if account is None else account.jid
        self._own_lid = None if account is None else account.lid

    def known_as(self, lid: Jid) -> None:
        """The server says under which hidden id it knows us."""
        self._own_lid = lid

    def notification(self, node: Node) -> None:
        """Hand over a notification; raises `RemoteProtocolError` where it cannot be acknowledged."""
        replies = (build_ack(node), *self._offline.passed(node))
        self._exchange.emit(NotificationReceived(node, replies=replies))

    def message(self, node: Node) -> None:
        """Hand over a message; raises `RemoteProtocolError` where it could not even be acknowledged."""
        build_ack(node)
        self._exchange.emit(
            MessageReceived(node, self._envelope(node), weigh(node), replies=self._offline.passed(node))
        )

    def _envelope(self, node: Node) -> Envelope | None:
        if self._own_pn is None:
            return None
        try:
            return parse_envelope(node, own_pn=self._own_pn, own_lid=self._own_lid)
        except RemoteProtocolError as error:
            self._exchange.drop(str(error))
            return None

    def receipt(self, node: Node) -> None:
        """Hand over a receipt; raises `RemoteProtocolError` where it cannot be acknowledged."""
        replies = (build_ack(node), *self._offline.passed(node))
        try:
            self._exchange.emit(ReceiptReceived(parse_receipt(node), node, replies=replies))
        except RemoteProtocolError as error:
            self._exchange.drop(str(error))
            self._exchange.emit(StanzaReceived(node, replies=replies))

    def ack(self, node: Node) -> None:
        """Report the server's ack of a message of ours; nothing else that we send waits for one."""
        if node.attrs.get("class") == "message":
            self._exchange.emit(MessageAcked(parse_message_ack(node)))

    def other(self, node: Node) -> None:
        """Hand over any other stanza; raises `RemoteProtocolError` where it must be acknowledged and cannot be."""
        attrs = node.attrs
        is_acked = node.tag in _MUST_ACK or (node.tag not in NEVER_ACKED and "id" in attrs and "from" in attrs)
        ack = (build_ack(node),) if is_acked else ()
        self._exchange.emit(StanzaReceived(node, replies=(*ack, *self._offline.passed(node))))

    def notices(self, ib: Node) -> None:
        """Report what an `ib` says. Clients know of one child each; whatsmeow loops over them, and so do we."""
        for child in ib.children()[:MAX_NOTICES]:
            report = _NOTICES.get(child.tag)
            if report is not None:
                report(self, child)

    def _offline_preview(self, child: Node) -> None:
        self._offline.previewed(child)

    def _offline_end(self, child: Node) -> None:
        self._offline.completed(child)

    def _edge_routing(self, child: Node) -> None:
        self._exchange.emit(RoutingInfoReceived(parse_edge_routing(child)))

    def _dirty(self, child: Node) -> None:
        dirty = parse_dirty(child)
        self._exchange.emit(DirtyAnnounced(dirty.kind, dirty.timestamp))

    def _downgrade(self, _child: Node) -> None:
        self._exchange.emit(DowngradeWarned())

    def _client_expiration(self, child: Node) -> None:
        self._exchange.emit(ClientExpirationAnnounced(parse_client_expiration(child)))


_NOTICES: Final[Mapping[str, Callable[[Inbound, Node], None]]] = {
    "offline_preview": Inbound._offline_preview,
    "offline": Inbound._offline_end,
    "edge_routing": Inbound._edge_routing,
    "dirty": Inbound._dirty,
    "downgrade_webclient": Inbound._downgrade,
    "client_expiration": Inbound._client_expiration,
}
"""The children of `ib` that mean something to us; all others are accepted and ignored."""
