"""Pings: ours are answered by the server even before login, and its own, rarer ones by us.

Source: WhatsApp Web, as Baileys does it (with a `<ping/>` child); whatsmeow leaves the child out. The server's ping is
known from other public clients only.
"""

from __future__ import annotations

from typing import Final

from whatisup.protocol.stanzas.iq import build_request, build_server_request
from whatisup.wire import Node

PING_XMLNS: Final = "w:p"
SERVER_PING_XMLNS: Final = "urn:xmpp:ping"


def build_ping(request_id: str) -> Node:
    """Build the client's ping."""
    return build_request(request_id, "get", PING_XMLNS, Node("ping"))


def is_ping(node: Node) -> bool:
    """Whether a client's iq is a ping, with or without the child."""
    return node.tag == "iq" and node.attrs.get("xmlns") == PING_XMLNS and node.attrs.get("type") == "get"


def build_server_ping(request_id: str, *, server_unix: int | None = None) -> Node:
    """Build the server's ping."""
    return build_server_request(request_id, "get", SERVER_PING_XMLNS, server_unix=server_unix)


def is_server_ping(node: Node) -> bool:
    """Whether a server's iq is a ping."""
    return node.tag == "iq" and node.attrs.get("xmlns") == SERVER_PING_XMLNS and node.attrs.get("type") == "get"
