"""`ib`: what the server wants the client to know beside the conversation, and two things it is told in return.

Each `ib` carries one child when built (Baileys reads only the first); parsers look at one child each.

Source: WhatsApp Web, as whatsmeow and Baileys do it; storing `edge_routing` and answering `offline_preview` as Baileys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from whatisup.errors import RemoteProtocolError
from whatisup.jid import SERVER
from whatisup.protocol.stanzas.iq import parse_unix
from whatisup.wire import Node

MAX_ROUTING_INFO: Final = 1024
"""Most bytes of routing info we keep; real ones have some ten."""

OFFLINE_BATCH: Final = 200
"""Stanzas we ask the server's queue for at a time. Ours; Baileys asks for 100."""

_DAY_MS: Final = 24 * 60 * 60 * 1000


@dataclass(frozen=True, slots=True)
class OfflinePreview:
    """How many stanzas the server holds for this device: in all, and of each kind."""

    count: int
    message: int = 0
    receipt: int = 0
    notification: int = 0
    appdata: int = 0


@dataclass(frozen=True, slots=True)
class Dirty:
    """Something changed while the device was away: `kind` is `account_sync`, `groups`, `communities` or newer."""

    kind: str
    timestamp: int | None


def _server_ib(child: Node) -> Node:
    return Node("ib", {"from": SERVER}, (child,))


def build_offline_preview(preview: OfflinePreview) -> Node:
    """Announce the queue; sent after `success`."""
    counts = ("count", "message", "receipt", "notification", "appdata")
    return _server_ib(Node("offline_preview", {key: str(getattr(preview, key)) for key in counts}))


def parse_offline_preview(child: Node) -> OfflinePreview:
    """Read the `offline_preview` child. Raises `RemoteProtocolError`."""
    reader = child.reader()
    preview = OfflinePreview(
        reader.optional_integer("count") or 0,
        reader.optional_integer("message") or 0,
        reader.optional_integer("receipt") or 0,
        reader.optional_integer("notification") or 0,
        reader.optional_integer("appdata") or 0,
    )
    reader.check()
    return preview


def build_offline_batch(count: int = OFFLINE_BATCH) -> Node:
    """Ask for the next `count` stanzas of the queue (client to server)."""
    return Node("ib", {}, (Node("offline_batch", {"count": str(count)}),))


def parse_offline_batch(child: Node) -> int:
    """Read how many stanzas the client wants. Raises `RemoteProtocolError`."""
    reader = child.reader()
    count = reader.integer("count")
    reader.check()
    if count < 1:
        raise RemoteProtocolError("an offline batch of nothing")
    return count


def build_offline(count: int) -> Node:
    """Say that the queue is delivered; sent after every login, even for an empty queue."""
    return _server_ib(Node("offline", {"count": str(count)}))


def parse_offline(child: Node) -> int:
    """Read how many stanzas the queue had, 0 where it does not say. Raises `RemoteProtocolError`."""
    reader = child.reader()
    count = reader.optional_integer("count") or 0
    reader.check()
    return count


def build_edge_routing(routing_info: bytes) -> Node:
    """Hand out the routing info that should come back in the next connection's prologue."""
    return _server_ib(Node("edge_routing", {}, (Node("routing_info", {}, routing_info),)))


def parse_edge_routing(child: Node) -> bytes:
    """Read the routing info (1 to 1024 bytes). Raises `RemoteProtocolError`."""
    info = child.child("routing_info")
    data = b"" if info is None else info.bytes_content()
    if not 0 < len(data) <= MAX_ROUTING_INFO:
        raise RemoteProtocolError(f"routing info of {len(data)} bytes")
    return data


def build_dirty(dirty: Dirty) -> Node:
    """Announce that a part of the account changed."""
    attrs = {"type": dirty.kind}
    if dirty.timestamp is not None:
        attrs["timestamp"] = str(dirty.timestamp)
    return _server_ib(Node("dirty", attrs))


def parse_dirty(child: Node) -> Dirty:
    """Read a `dirty` child. Raises `RemoteProtocolError`."""
    reader = child.reader()
    dirty = Dirty(reader.string("type"), reader.optional_integer("timestamp"))
    reader.check()
    return dirty


def build_downgrade() -> Node:
    """Say that the code was scanned by a phone that cannot link devices."""
    return _server_ib(Node("downgrade_webclient"))


def build_client_expiration(expires_at: int) -> Node:
    """Announce when (unix seconds) this client version stops being served."""
    return _server_ib(Node("client_expiration", {"t": str(expires_at)}))


def parse_client_expiration(child: Node) -> int:
    """Read the unix seconds of a `client_expiration` child. Raises `RemoteProtocolError`."""
    expires_at = parse_unix(child)
    if expires_at is None:
        raise RemoteProtocolError("a client expiration without its time")
    return expires_at


def unified_session_id(server_now_ms: int) -> str:
    """Return the telemetry id of the week: milliseconds since its start, which lies three days before the epoch's."""
    return str((server_now_ms + 3 * _DAY_MS) % (7 * _DAY_MS))


def build_unified_session(session_id: str) -> Node:
    """Tell the server the telemetry id (client to server); nothing answers."""
    return Node("ib", {}, (Node("unified_session", {"id": session_id}),))


def parse_unified_session(child: Node) -> str:
    """Read the telemetry id. Raises `RemoteProtocolError`."""
    reader = child.reader()
    session_id = reader.string("id")
    reader.check()
    return session_id
