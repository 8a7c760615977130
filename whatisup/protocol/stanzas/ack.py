"""Acknowledgements: what takes a stanza off the other side's queue.

Rule: the client acks only what it has stored; `iq`, `ib`, `ack`, `presence`, `chatstate`, `success`, `failure` and
`stream:error` are never acked.

Source: WhatsApp Web, as whatsmeow and Baileys do it; `type` and `from` on messages as Baileys does it.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from whatisup.errors import RemoteProtocolError
from whatisup.jid import Jid
from whatisup.protocol.stanzas.iq import parse_unix
from whatisup.wire import Node

NEVER_ACKED: Final = frozenset({"iq", "ib", "ack", "presence", "chatstate", "success", "failure", "stream:error"})

_COPIED: Final = ("participant", "recipient", "type")
_SERVER_COPIED: Final = {"message": (), "receipt": ("type", "participant"), "call": ("type",)}


class Ack(Struct, frozen=True):
    """Stanza `stanza_id` of class `ack_class`, exchanged with `peer`, has arrived; `error` where it was refused."""

    stanza_id: str
    ack_class: str
    peer: Jid
    error: int | None


class MessageAck(Struct, frozen=True):
    """The server has message `id` for `chat` since `unix_t`, or refuses it with `error`.

    `phash` is the server's hash of the devices the message should have been for, where ours differs.
    """

    id: str
    chat: Jid
    unix_t: int | None
    error: int | None
    phash: str | None
    server_id: int | None = None


def build_ack(stanza: Node, *, own: Jid | None = None, error: int | None = None) -> Node:
    """Acknowledge a stanza the server sent; `own` (with device) is added for messages, `error` makes it negative.

    Raises `RemoteProtocolError` when the stanza lacks `id` or a JID as `from`: it cannot be acknowledged.
    """
    reader = stanza.reader()
    attrs: dict[str, str | Jid] = {"id": reader.string("id"), "to": reader.jid("from"), "class": stanza.tag}
    reader.check()
    if error is not None:
        attrs["error"] = str(error)
    for key in _COPIED:
        if value := stanza.attrs.get(key):
            attrs[key] = value
    if own is not None and stanza.tag == "message":
        attrs["from"] = own
    return Node("ack", attrs)


def build_server_ack(stanza: Node, *, server_unix: int, error: int | None = None, phash: str | None = None) -> Node:
    """Acknowledge a client's `message`, `receipt` or `call`; `from` is whom the stanza was for.

    Raises `RemoteProtocolError` for a stanza without `id` and `to`, or of another tag: those get no ack.
    """
    copied = _SERVER_COPIED.get(stanza.tag)
    if copied is None:
        raise RemoteProtocolError(f"the server does not acknowledge <{stanza.tag[:32]}>")
    reader = stanza.reader()
    attrs: dict[str, str | Jid] = {"class": stanza.tag, "id": reader.string("id"), "from": reader.jid("to")}
    reader.check()
    if stanza.tag == "message":
        attrs["t"] = str(server_unix)
    if phash is not None:
        attrs["phash"] = phash
    if error is not None:
        attrs["error"] = str(error)
    for key in copied:
        if value := stanza.attrs.get(key):
            attrs[key] = value
    return Node("ack", attrs)


def parse_ack(node: Node) -> Ack:
    """Read an ack from either side. Raises `RemoteProtocolError`."""
    reader = node.reader()
    peer = reader.jid("to" if "to" in node.attrs else "from")
    ack = Ack(reader.string("id"), reader.string("class"), peer, reader.optional_integer("error"))
    reader.check()
    return ack


def parse_message_ack(node: Node) -> MessageAck:
    """Read the server's ack of a message of ours. Raises `RemoteProtocolError`."""
    reader = node.reader()
    ack = MessageAck(
        reader.string("id"),
        reader.jid("from"),
        parse_unix(node),
        reader.optional_integer("error"),
        reader.optional_string("phash"),
        reader.optional_integer("server_id"),
    )
    reader.check()
    return ack
