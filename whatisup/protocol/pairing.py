"""Linking a device: the QR text, and the stanzas from `pair-device` to `pair-device-sign`.

    server  iq set  pair-device { ref, ref, ... }        client  iq result
    phone scans one of the QR codes
    server  iq set  pair-success { device-identity, device, platform, [biz] }
    client  iq result  pair-device-sign { device-identity }      or  iq error 500 / 401
    server  stream:error 515; the client reconnects and logs in

Rule: stanzas only; what makes a proof valid is in `adv.py`, who waits for what in the connection.

Source: WhatsApp Web, as whatsmeow and Baileys do it.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Final

from whatisup.crypto import KEY_LENGTH
from whatisup.errors import RemoteProtocolError
from whatisup.jid import LID_SERVER, PN_SERVER, SERVER, Jid
from whatisup.protocol.adv import PairingRefused
from whatisup.protocol.stanzas.iq import build_error, build_result, build_server_request, parse_unix
from whatisup.wire import Node

MD_XMLNS: Final = "md"
QR_URL: Final = "https://wa.me/settings/linked_devices#"
MAX_REFS: Final = 32
"""Most refs of one `pair-device` we show; real servers send six."""

_MAX_REF: Final = 512
_MAX_DEVICE: Final = 255
_MAX_PHONE_DIGITS: Final = 19  # a ClientPayload carries the number in 64 bits
_MAX_NAME: Final = 256


# The QR text.


@dataclass(frozen=True, slots=True, repr=False)
class QrCode:
    """What a QR code says: the server's `ref`, our public keys and the ADV secret (32 bytes each), the client type."""

    ref: str
    noise_public: bytes
    identity_public: bytes
    adv_secret: bytes
    client_type: str = ""

    def __repr__(self) -> str:
        return f"QrCode(ref={self.ref!r})"


def build_qr(code: QrCode) -> str:
    """Write the text of a QR code."""
    keys = (code.noise_public, code.identity_public, code.adv_secret)
    parts = (code.ref, *(base64.b64encode(key).decode() for key in keys), code.client_type)
    return QR_URL + ",".join(parts)


def parse_qr(text: str) -> QrCode:
    """Read the text of a QR code, also the older form without URL or client type. Raises `RemoteProtocolError`."""
    ref, *rest = text.strip().rpartition("#")[2].split(",")
    if not ref or len(rest) not in (3, 4):
        raise RemoteProtocolError("not the text of a linking QR code")
    try:
        keys = [base64.b64decode(part, validate=True) for part in rest[:3]]
    except binascii.Error:
        raise RemoteProtocolError("a key in the QR code is no base64") from None
    if any(len(key) != KEY_LENGTH for key in keys):
        raise RemoteProtocolError("a key in the QR code has another length")
    return QrCode(ref, keys[0], keys[1], keys[2], rest[3] if len(rest) == 4 else "")


# pair-device


def build_pair_device(request_id: str, refs: tuple[str, ...]) -> Node:
    """Offer pairing: one ref for each QR code to show."""
    children = tuple(Node("ref", {}, ref.encode()) for ref in refs)
    return build_server_request(request_id, "set", MD_XMLNS, Node("pair-device", {}, children))


def parse_pair_device(request: Node) -> tuple[str, ...]:
    """Read the refs (1 to 32 of up to 512 bytes). Raises `RemoteProtocolError`."""
    offered = _only_child(request, "pair-device").children("ref")
    refs = tuple(ref.text_content() for ref in offered)
    if not 0 < len(refs) <= MAX_REFS:
        raise RemoteProtocolError(f"pair-device with {len(refs)} refs")
    # A comma would shift the fields of the QR text.
    if any(not 0 < len(ref) <= _MAX_REF or "," in ref for ref in refs):
        raise RemoteProtocolError("pair-device with an unusable ref")
    return refs


# pair-success


@dataclass(frozen=True, slots=True, repr=False)
class PairSuccess:
    """What the phone's side hands over; `device_identity` is the serialized HMAC envelope of `adv.sign_device`.

    `jid` and `lid` carry the same device number; `platform` is `android`, `iphone`, `smba` or `smbi` (the last two run
    the business app).
    """

    device_identity: bytes
    jid: Jid
    lid: Jid
    platform: str
    business_name: str | None = None
    server_unix: int | None = None

    def __repr__(self) -> str:
        return f"PairSuccess(jid={str(self.jid)!r})"


def build_pair_success(request_id: str, success: PairSuccess) -> Node:
    """Hand over the proof and the addresses."""
    children = [
        Node("device-identity", {}, success.device_identity),
        Node("device", {"jid": success.jid, "lid": success.lid}),
        Node("platform", {"name": success.platform}),
    ]
    if success.business_name is not None:
        children.append(Node("biz", {"name": success.business_name}))
    body = Node("pair-success", {}, tuple(children))
    return build_server_request(request_id, "set", MD_XMLNS, body, server_unix=success.server_unix)


def parse_pair_success(request: Node) -> PairSuccess:
    """Read the proof and the addresses.

    Raises `PairingRefused` with 500 for a missing part or an address that no companion can have, so that the server is
    answered.
    """
    try:
        return _parse_pair_success(request)
    except PairingRefused:
        raise
    except RemoteProtocolError:
        raise PairingRefused(500, "internal-error") from None


def _parse_pair_success(request: Node) -> PairSuccess:
    body = _only_child(request, "pair-success")
    identity, device, platform, biz = (body.child(tag) for tag in ("device-identity", "device", "platform", "biz"))
    if identity is None or device is None:
        raise RemoteProtocolError("pair-success lacks a part")
    reader = device.reader()
    jid, lid = reader.jid("jid"), reader.jid("lid")
    reader.check()
    if not _is_companion(jid, PN_SERVER) or not _is_companion(lid, LID_SERVER):
        raise RemoteProtocolError("pair-success names no companion device")
    if len(jid.user) > _MAX_PHONE_DIGITS or not (jid.user.isascii() and jid.user.isdigit()):
        raise RemoteProtocolError("pair-success names no phone number")
    return PairSuccess(
        identity.bytes_content(),
        jid,
        lid,
        "" if platform is None else _name(platform) or "",
        None if biz is None else _name(biz),
        parse_unix(request),
    )


def build_pair_device_sign(request: Node, device_identity: bytes, key_index: int) -> Node:
    """Answer pair-success with our countersigned identity."""
    child = Node("device-identity", {"key-index": str(key_index)}, device_identity)
    return build_result(request, Node("pair-device-sign", {}, (child,)))


def parse_pair_device_sign(answer: Node) -> tuple[bytes, int]:
    """Read the countersigned identity and its key index on the server's side. Raises `RemoteProtocolError`."""
    sign = answer.child("pair-device-sign")
    identity = None if sign is None else sign.child("device-identity")
    if identity is None:
        raise RemoteProtocolError("a pairing answer without a device identity")
    reader = identity.reader()
    key_index = reader.integer("key-index")
    reader.check()
    return identity.bytes_content(), key_index


def build_pairing_refusal(request: Node, refused: PairingRefused) -> Node:
    """Answer pair-success with why its proof does not hold: 500 or 401."""
    return build_error(request, refused.code, refused.text)


def is_pair_device(request: Node) -> bool:
    """Whether a server's iq offers pairing; the child says so, whatever the namespace."""
    return request.child("pair-device") is not None


def is_pair_success(request: Node) -> bool:
    """Whether a server's iq completes a pairing; the child says so, whatever the namespace."""
    return request.child("pair-success") is not None


def _only_child(request: Node, tag: str) -> Node:
    if request.attrs.get("from") != SERVER:
        raise RemoteProtocolError("a pairing stanza that is not from the server")
    children = request.children()
    if len(children) != 1 or children[0].tag != tag:
        raise RemoteProtocolError(f"a pairing stanza without exactly one {tag}")
    return children[0]


def _is_companion(jid: Jid, server: str) -> bool:
    return jid.server == server and bool(jid.user) and 0 < jid.device <= _MAX_DEVICE and not jid.agent


def _name(node: Node) -> str | None:
    name = node.reader().optional_string("name")
    return None if name is None else name[:_MAX_NAME]
