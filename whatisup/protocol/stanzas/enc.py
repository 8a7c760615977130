"""What messages are made of, whoever wrote them: ciphertexts, and what stands beside them in the clear.

Source: WhatsApp Web, as whatsmeow and Baileys do it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from whatisup.crypto import Secret
from whatisup.errors import RemoteProtocolError
from whatisup.protocol.stanzas.iq import Attrs
from whatisup.wire import Node

MAX_ENCS: Final = 8
"""Most ciphertexts of one delivered message: honest ones have at most a pairwise one and a group's."""

MAX_META: Final = 32
"""Most attributes of `<meta>`."""

MAX_COUNT: Final = 2**31 - 1
"""The largest number of tries that a message or a receipt may claim."""

ENC_VERSION: Final = 2


class Enc(Secret, frozen=True):
    """One ciphertext: `kind` is pkmsg, msg, skmsg or msmsg, `count` what a retry answer counts.

    `hide`: show nothing where decryption fails. `version` is 2; 3 is Messenger's, unpadded and not supported.
    """

    kind: str
    ciphertext: bytes
    count: int = 0
    mediatype: str | None = None
    hide: bool = False
    version: int = ENC_VERSION


def enc_node(enc: Enc) -> Node:
    """Build `enc`."""
    attrs: Attrs = {"v": str(enc.version), "type": enc.kind}
    if enc.count:
        attrs["count"] = str(enc.count)
    if enc.mediatype is not None:
        attrs["mediatype"] = enc.mediatype
    if enc.hide:
        attrs["decrypt-fail"] = "hide"
    return Node("enc", attrs, enc.ciphertext)


def parse_enc(node: Node) -> Enc:
    """Read `enc`. Raises `RemoteProtocolError`."""
    reader = node.reader()
    kind, version = reader.string("type"), reader.optional_integer("v")
    count = reader.optional_integer("count") or 0
    reader.check()
    if not 0 <= count <= MAX_COUNT:
        raise RemoteProtocolError("a ciphertext counts an impossible number of tries")
    return Enc(
        kind,
        node.bytes_content(),
        count,
        reader.optional_string("mediatype"),
        reader.optional_string("decrypt-fail") == "hide",
        ENC_VERSION if version is None else version,
    )


def parse_encs(node: Node) -> tuple[Enc, ...]:
    """Read the ciphertexts that stand directly in a message. Raises `RemoteProtocolError`."""
    encs = node.children("enc")
    if len(encs) > MAX_ENCS:
        raise RemoteProtocolError(f"a message of {len(encs)} ciphertexts")
    return tuple(parse_enc(enc) for enc in encs)


def parse_meta(node: Node) -> Mapping[str, str]:
    """Read the attributes of `meta`. Raises `RemoteProtocolError`."""
    meta = node.child("meta")
    if meta is None:
        return {}
    if len(meta.attrs) > MAX_META:
        raise RemoteProtocolError(f"meta of {len(meta.attrs)} attributes")
    return {key: str(value) for key, value in meta.attrs.items()}


def content_of(node: Node, tag: str) -> bytes | None:
    """Return the bytes of a child, `None` where there is no such child."""
    child = node.child(tag)
    return None if child is None else child.bytes_content()
