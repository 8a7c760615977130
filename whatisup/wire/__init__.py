"""Bytes and values: framing, Noise, the node codec and the protobuf messages. No conversation happens here."""

from __future__ import annotations

from whatisup.wire.codec import MAX_DEPTH, MAX_ELEMENTS, MAX_INFLATED, compress_node, decode_node, encode_node
from whatisup.wire.frame import (
    MAX_FRAME,
    WA_HEADER,
    FrameDecoder,
    Prologue,
    PrologueDecoder,
    encode_frame,
    encode_prologue,
)
from whatisup.wire.node import AttrReader, Content, Node
from whatisup.wire.noise import (
    WHATSAPP_ROOT_PUBLIC,
    ClientHandshake,
    ClientHandshakeResult,
    ServerHandshake,
    Transport,
    mint_chain,
    verify_chain,
)

__all__ = [
    "MAX_DEPTH",
    "MAX_ELEMENTS",
    "MAX_FRAME",
    "MAX_INFLATED",
    "WA_HEADER",
    "WHATSAPP_ROOT_PUBLIC",
    "AttrReader",
    "ClientHandshake",
    "ClientHandshakeResult",
    "Content",
    "FrameDecoder",
    "Node",
    "Prologue",
    "PrologueDecoder",
    "ServerHandshake",
    "Transport",
    "compress_node",
    "decode_node",
    "encode_frame",
    "encode_node",
    "encode_prologue",
    "mint_chain",
    "verify_chain",
]
