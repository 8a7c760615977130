"""From `success` to connected, and the questions asked once that is done.

    success -> prekey stock filled -> active -> Connected -> props, block list, privacy, unified session
                                                                 ... much later: the digest

Rule: nothing after `active` can fail a login, and neither a refusal nor silence on the way holds it up for good.

Source: WhatsApp Web, as Baileys does it.
"""

from __future__ import annotations

from functools import partial

from whatisup.protocol.dialogue.exchange import Exchange, as_is
from whatisup.protocol.dialogue.stock import PrekeyStock
from whatisup.protocol.events import Connected, LoginSucceeded, PropsReceived
from whatisup.protocol.outcomes import Success
from whatisup.protocol.stanzas.ib import build_unified_session, unified_session_id
from whatisup.protocol.stanzas.iq import Refusal
from whatisup.protocol.stanzas.query import (
    Props,
    build_active,
    build_blocklist_query,
    build_privacy_query,
    build_props_query,
    parse_props,
)
from whatisup.wire import Node


class Login:
    """The steps of one login. `unix_offset_s` is what wall time is ahead of the monotonic clock."""

    __slots__ = ("_exchange", "_props_hash", "_stock", "_unix_offset_s")

    def __init__(self, exchange: Exchange, stock: PrekeyStock, *, unix_offset_s: float, props_hash: str | None) -> None:
        self._exchange = exchange
        self._stock = stock
        self._unix_offset_s = unix_offset_s
        self._props_hash = props_hash

    def accepted(self, success: Success) -> None:
        """The server let us in."""
        local_unix = self._exchange.now + self._unix_offset_s
        server_unix = int(local_unix) if success.server_unix is None else success.server_unix
        # From here on the server's clock counts: session ids are cut from it.
        self._unix_offset_s += server_unix - local_unix
        self._exchange.emit(LoginSucceeded(success.lid, server_unix))
        self._stock.fill(self._activate)

    def _activate(self) -> None:
        self._exchange.ask(build_active, as_is, self._activated)

    def _activated(self, _answer: Node | Refusal | None) -> None:
        self._exchange.emit(Connected())
        self._stock.check_digest_later()
        self._exchange.ask(partial(build_props_query, props_hash=self._props_hash), parse_props, self._props)
        self._exchange.ask(build_blocklist_query, as_is, _harmless)
        self._exchange.ask(build_privacy_query, as_is, _harmless)
        server_now_ms = int((self._exchange.now + self._unix_offset_s) * 1000)
        self._exchange.send(build_unified_session(unified_session_id(server_now_ms)))

    def _props(self, props: Props | Refusal | None) -> None:
        if isinstance(props, Props):
            self._exchange.emit(PropsReceived(props.hash))


def _harmless(_answer: Node | Refusal | None) -> None:
    pass
