"""App state, as far as the sandbox has any: every collection exists, at version 0, and nothing is ever in it.

Rule: each collection that is asked for is named in the answer; a client that misses one asks for ever.

Source: WhatsApp Web, as Baileys reads it.
"""

from __future__ import annotations

from typing import Final

from whatisup.errors import RemoteProtocolError
from whatisup.protocol.stanzas.iq import build_error, build_result
from whatisup.wire import Node

APP_STATE_XMLNS: Final = "w:sync:app:state"
MAX_COLLECTIONS: Final = 64

_NOT_KEPT: Final = 501


def answer_app_state(request: Node) -> Node:
    """Answer a request for collections; one that brings changes is refused. Raises `RemoteProtocolError`."""
    sync = request.child("sync")
    collections = () if sync is None else sync.children("collection")
    if not 0 < len(collections) <= MAX_COLLECTIONS:
        raise RemoteProtocolError("a request for no collections, or for more than there are")
    if any(collection.child("patch") is not None for collection in collections):
        return build_error(request, _NOT_KEPT)
    return build_result(request, Node("sync", {}, tuple(_empty(collection) for collection in collections)))


def _empty(collection: Node) -> Node:
    reader = collection.reader()
    name, version = reader.string("name"), reader.optional_integer("version") or 0
    reader.check()
    return Node("collection", {"name": name, "version": str(version)}, (Node("patches"),))
