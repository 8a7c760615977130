"""Privacy tokens: who has one of a contact's may write to that contact without counting as a stranger.

A token lives in buckets of a week: it is valid in its own and in the three that follow.

Source: WhatsApp Web, as whatsmeow and Baileys do it; tokens are issued to the LID, as whatsmeow does it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from whatisup.errors import RemoteProtocolError
from whatisup.jid import Jid
from whatisup.protocol.stanzas.iq import Attrs, build_request, parse_unix
from whatisup.wire import Node

TOKENS_XMLNS: Final = "privacy"
NOTIFICATION: Final = "privacy_token"
TRUSTED_CONTACT: Final = "trusted_contact"
BUCKET_S: Final = 604_800
BUCKETS: Final = 4

MAX_TOKENS: Final = 64
"""Most tokens of one stanza."""

MAX_TOKEN: Final = 1024
"""Most bytes of a token that we keep."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token that a contact issued to us at `unix_t`."""

    token: bytes = field(repr=False)
    unix_t: int


def is_valid(unix_t: float, now: float) -> bool:
    """Whether a token of that time may be attached at `now` (unix seconds both)."""
    return unix_t // BUCKET_S > now // BUCKET_S - BUCKETS


def is_issue_due(issued_at: float | None, now: float) -> bool:
    """Whether we should issue to a contact at `now`, having last done so at `issued_at` (unix seconds both)."""
    return issued_at is None or issued_at // BUCKET_S < now // BUCKET_S


def build_token_issue(request_id: str, user: Jid, unix_t: int) -> Node:
    """Issue a token to a contact."""
    token = Node("token", {"jid": user, "t": str(unix_t), "type": TRUSTED_CONTACT})
    return build_request(request_id, "set", TOKENS_XMLNS, Node("tokens", {}, (token,)))


def parse_token_issue(request: Node) -> tuple[tuple[Jid, int], ...]:
    """Read to whom tokens are issued, and of which time, on the server's side. Raises `RemoteProtocolError`."""
    issued: list[tuple[Jid, int]] = []
    for token in _listed(request):
        reader = token.reader()
        jid, unix_t = reader.jid("jid"), parse_unix(token)
        reader.check()
        if unix_t is None:
            raise RemoteProtocolError("a token without its time")
        issued.append((jid, unix_t))
    return tuple(issued)


def build_tokens_notification(
    notification_id: str, issuer: Jid, issuer_lid: Jid | None, receiver: Jid, tokens: Sequence[Token], *, unix_t: int
) -> Node:
    """Hand tokens to the contact they were issued to; `issuer` is a PN, `receiver` the contact's own address."""
    attrs: Attrs = {"from": issuer, "type": NOTIFICATION, "id": notification_id, "t": str(unix_t)}
    if issuer_lid is not None:
        attrs["sender_lid"] = issuer_lid
    children = tuple(
        Node("token", {"type": TRUSTED_CONTACT, "t": str(token.unix_t), "jid": receiver}, token.token)
        for token in tokens
    )
    return Node("notification", attrs, (Node("tokens", {}, children),))


def parse_tokens(notification: Node) -> tuple[Token, ...]:
    """Read the trusted-contact tokens of a notification. Raises `RemoteProtocolError`."""
    tokens: list[Token] = []
    for node in _listed(notification):
        token, unix_t = node.bytes_content(), parse_unix(node)
        if unix_t is None or not 0 < len(token) <= MAX_TOKEN:
            raise RemoteProtocolError(f"a token of {len(token)} bytes, or without its time")
        tokens.append(Token(token, unix_t))
    return tuple(tokens)


def _listed(node: Node) -> tuple[Node, ...]:
    tokens = node.child("tokens")
    if tokens is None:
        raise RemoteProtocolError("tokens without their list")
    listed = tokens.children("token")
    if len(listed) > MAX_TOKENS:
        raise RemoteProtocolError(f"{len(listed)} tokens at once")
    return tuple(token for token in listed if token.attrs.get("type") == TRUSTED_CONTACT)
