"""One client's connection from the server's side, sans-IO: prologue, handshake, frames, nodes.

Rule: this knows how bytes become nodes and back, and nothing of what a node means.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Final, TypeAlias

from msgspec import Struct

from whatisup.crypto import Entropy, Secret
from whatisup.errors import LocalProtocolError, RemoteProtocolError
from whatisup.sandbox.authority import ServerIdentity
from whatisup.wire import (
    FrameDecoder,
    Node,
    Prologue,
    PrologueDecoder,
    ServerHandshake,
    Transport,
    compress_node,
    decode_node,
    encode_frame,
    encode_node,
)

LARGE: Final = 1024
"""Encoded nodes above this many bytes are compressed, unless told otherwise."""

# Baileys inflates in the background, so that a close right behind a compressed last word would overtake it.
_NEVER_COMPRESSED: Final = frozenset({"stream:error", "failure", "success"})


class Compression(StrEnum):
    """What the server compresses."""

    LARGE = "large"
    ALL = "all"
    NONE = "none"


class Opened(Secret, frozen=True):
    """The handshake is done: the client's static key (32 bytes) and its serialized `ClientPayload`."""

    noise_public: bytes
    payload: bytes


class Received(Struct, frozen=True):
    """The client sent a stanza."""

    node: Node


class Malformed(Struct, frozen=True):
    """The client sent a frame that holds no node."""


Event: TypeAlias = Opened | Received | Malformed


class Session:
    """Feed it with `receive_data`, ask `next_event` until None, send what `data_to_send` returns.

    `identity` is called once, with the routing info of the prologue, and says what the server shows of itself.
    """

    __slots__ = (
        "_compression",
        "_entropy",
        "_frames",
        "_handshake",
        "_identity",
        "_out",
        "_prologue",
        "_transport",
        "prologue",
    )

    def __init__(
        self,
        identity: Callable[[Prologue], ServerIdentity],
        entropy: Entropy,
        compression: Compression = Compression.LARGE,
    ) -> None:
        self._identity = identity
        self._entropy = entropy
        self._compression = compression
        self._prologue: PrologueDecoder | None = PrologueDecoder()
        self._frames = FrameDecoder()
        self._handshake: ServerHandshake | None = None
        self._transport: Transport | None = None
        self._out = bytearray()
        self.prologue: Prologue | None = None
        """What the connection opened with, once it has."""

    @property
    def pending(self) -> int:
        """How many bytes wait to be sent."""
        return len(self._out)

    def receive_data(self, data: bytes) -> None:
        """Take bytes off the wire. Raises `RemoteProtocolError`: close the connection."""
        if self._prologue is not None:
            opened = self._prologue.feed(data)
            if opened is None:
                return
            self.prologue, data = opened
            self._prologue = None
        self._frames.receive_data(data)

    def next_event(self) -> Event | None:
        """Return what the bytes meant, None until more arrive. Raises `RemoteProtocolError`: close the connection."""
        while (payload := self._frames.next_frame()) is not None:
            if self._transport is None:
                opened = self._shake_hands(payload)
                if opened is not None:
                    return opened
                continue
            plaintext = self._transport.decrypt(payload)
            try:
                return Received(decode_node(plaintext))
            except RemoteProtocolError:
                return Malformed()
        return None

    def _shake_hands(self, payload: bytes) -> Opened | None:
        if self.prologue is None:
            raise LocalProtocolError("a frame before the prologue")
        if self._handshake is None:
            identity = self._identity(self.prologue)
            self._handshake = ServerHandshake(identity.static, identity.chain, self._entropy)
            self._out += self._handshake.reply(self.prologue.header, payload)
            return None
        result, self._transport = self._handshake.complete(payload)
        self._handshake = None
        return Opened(result.noise_public, result.payload)

    def send(self, node: Node, encoded: bytes | None = None) -> None:
        """Queue a stanza; `encoded` is the same, encoded, where somebody has done that already."""
        if encoded is None:
            encoded = encode_node(node)
        if node.tag not in _NEVER_COMPRESSED and (
            self._compression is Compression.ALL or (self._compression is Compression.LARGE and len(encoded) > LARGE)
        ):
            encoded = compress_node(encoded)
        self.send_plaintext(encoded)

    def send_plaintext(self, plaintext: bytes) -> None:
        """Queue a frame of these bytes, whether they are a node or not."""
        if self._transport is None:
            raise LocalProtocolError("nothing can be sent before the handshake is done")
        self._out += encode_frame(self._transport.encrypt(plaintext))

    def send_garbage(self, length: int = 64) -> None:
        """Queue a frame that nobody can decrypt."""
        self._out += encode_frame(self._entropy(length))

    def data_to_send(self) -> bytes:
        """Return all whole frames queued, for one WebSocket message; empty when there are none."""
        data = bytes(self._out)
        self._out.clear()
        return data
