"""Bytes and values: framing, Noise, the node codec and the protobuf messages. No conversation happens here."""

from __future__ import annotations

from whatisup.wire.codec import decode_node, encode_node
from whatisup.wire.node import AttrReader, Content, Node

__all__ = ["AttrReader", "Content", "Node", "decode_node", "encode_node"]
