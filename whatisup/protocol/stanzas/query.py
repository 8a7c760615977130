"""The small requests after a login: live delivery on, properties, block list, privacy, and cleaning what was dirty.

Source: WhatsApp Web, as Baileys does it; whatsmeow asks for the last three only on demand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from whatisup.errors import RemoteProtocolError
from whatisup.jid import Jid
from whatisup.protocol.stanzas.iq import build_request, build_result
from whatisup.wire import Node

PASSIVE_XMLNS: Final = "passive"
PROPS_XMLNS: Final = "abt"
BLOCKLIST_XMLNS: Final = "blocklist"
PRIVACY_XMLNS: Final = "privacy"
DIRTY_XMLNS: Final = "urn:xmpp:whatsapp:dirty"

_MAX_HASH: Final = 128  # characters of a props hash that we keep


@dataclass(frozen=True, slots=True)
class Props:
    """The server's properties: a hash to send next time, and `values` by code."""

    hash: str | None
    values: Mapping[str, str]


def build_active(request_id: str, *, is_active: bool = True) -> Node:
    """Ask for live delivery, or for it to be held back."""
    return build_request(request_id, "set", PASSIVE_XMLNS, Node("active" if is_active else "passive"))


def parse_active(request: Node) -> bool:
    """Whether the client wants live delivery. Raises `RemoteProtocolError`."""
    if request.child("active") is not None:
        return True
    if request.child("passive") is not None:
        return False
    raise RemoteProtocolError("a passive iq says neither active nor passive")


def build_props_query(request_id: str, props_hash: str | None = None) -> Node:
    """Ask for the properties; with the stored hash the server may answer that nothing changed."""
    attrs = {"protocol": "1"} | ({"hash": props_hash} if props_hash else {})
    return build_request(request_id, "get", PROPS_XMLNS, Node("props", attrs))


def build_props(request: Node, props: Props) -> Node:
    """Answer a properties query."""
    attrs = {"protocol": "1"} | ({"hash": props.hash} if props.hash else {})
    children = tuple(Node("prop", {"config_code": code, "config_value": value}) for code, value in props.values.items())
    return build_result(request, Node("props", attrs, children or None))


def parse_props(answer: Node) -> Props:
    """Read the properties; an answer without any reads as none, and an overlong hash as no hash. Never raises."""
    props = answer.child("props")
    if props is None:
        return Props(None, {})
    props_hash = props.reader().optional_string("hash")
    values = {
        str(prop.attrs["config_code"]): str(prop.attrs["config_value"])
        for prop in props.children("prop")
        if prop.attrs.get("config_code") and "config_value" in prop.attrs
    }
    return Props(props_hash if props_hash and len(props_hash) <= _MAX_HASH else None, values)


def build_blocklist_query(request_id: str) -> Node:
    """Ask for the block list."""
    return build_request(request_id, "get", BLOCKLIST_XMLNS)


def build_blocklist(request: Node, blocked: tuple[Jid, ...] = ()) -> Node:
    """Answer with the block list; the `list` element is there even when it is empty, as whatsmeow wants it."""
    return build_result(request, Node("list", {}, tuple(Node("item", {"jid": jid}) for jid in blocked) or None))


def parse_blocklist(answer: Node) -> tuple[Jid, ...]:
    """Read the blocked addresses. Raises `RemoteProtocolError` where the list is missing or an item has no JID."""
    listed = answer.child("list")
    if listed is None:
        raise RemoteProtocolError("a block list without its list")
    return tuple(_jid_of(item) for item in listed.children("item"))


def build_privacy_query(request_id: str) -> Node:
    """Ask for the privacy settings."""
    return build_request(request_id, "get", PRIVACY_XMLNS, Node("privacy"))


def build_privacy(request: Node, settings: Mapping[str, str]) -> Node:
    """Answer with the privacy settings by category; `privacy` is the first child, as Baileys wants it."""
    categories = tuple(Node("category", {"name": name, "value": value}) for name, value in settings.items())
    return build_result(request, Node("privacy", {}, categories or None))


def parse_privacy(answer: Node) -> Mapping[str, str]:
    """Read the privacy settings by category. Raises `RemoteProtocolError`."""
    privacy = answer.child("privacy")
    if privacy is None:
        raise RemoteProtocolError("privacy settings without their element")
    settings: dict[str, str] = {}
    for category in privacy.children("category"):
        reader = category.reader()
        settings[reader.string("name")] = reader.string("value")
        reader.check()
    return settings


def build_clean(request_id: str, kind: str, timestamp: int | None = None) -> Node:
    """Tell the server that we have caught up with what it called dirty."""
    attrs = {"type": kind} | ({} if timestamp is None else {"timestamp": str(timestamp)})
    return build_request(request_id, "set", DIRTY_XMLNS, Node("clean", attrs))


def parse_clean(request: Node) -> tuple[tuple[str, int | None], ...]:
    """Read which kinds are clean, with their timestamps. Raises `RemoteProtocolError`."""
    cleaned: list[tuple[str, int | None]] = []
    for child in request.children("clean"):
        reader = child.reader()
        cleaned.append((reader.string("type"), reader.optional_integer("timestamp")))
        reader.check()
    return tuple(cleaned)


def _jid_of(item: Node) -> Jid:
    reader = item.reader()
    jid = reader.jid("jid")
    reader.check()
    return jid
