"""Linking by an 8-character code: the companion shows it, the user types it on the phone.

    1  companion -> server    companion_hello { wrapped companion ephemeral }     the server answers with a ref
    2  phone -> companion     primary_hello { wrapped primary ephemeral, primary identity, ref }
    3  companion -> server    companion_finish { key bundle, companion identity, ref }

Ephemeral keys travel encrypted under a key stretched from the code (PBKDF2, slow: the caller derives it off the event
loop); only who knows the code reads the other's ephemeral key, and both then agree on the ADV secret that
authenticates the ordinary pair-success.

Rule: stages are pure functions of their inputs; the slow derivation happens in `LinkingSecret.derive`, `derive_key`
and nowhere else.

Source: WhatsApp Web, as whatsmeow and Baileys do it; a fresh ephemeral key and the ref check as whatsmeow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from whatisup.crypto import (
    GCM_TAG_LENGTH,
    KEY_LENGTH,
    AuthenticationFailed,
    Entropy,
    KeyPair,
    aes_ctr,
    aes_gcm_decrypt,
    aes_gcm_encrypt,
    constant_time_equal,
    generate_keypair,
    hkdf_sha256,
    pbkdf2_sha256,
    x25519,
)
from whatisup.errors import RemoteProtocolError
from whatisup.jid import PN_SERVER, SERVER, Jid
from whatisup.protocol.profile import ClientProfile
from whatisup.protocol.stanzas.iq import build_request, build_result
from whatisup.wire import Node

ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTVWXYZ"
CODE_LENGTH: Final = 8
MD_XMLNS: Final = "md"
REGISTRATION: Final = "link_code_companion_reg"

_ITERATIONS: Final = 131_072
_SALT: Final = 32
_IV: Final = 16
_NONCE: Final = 12
_WRAPPED: Final = _SALT + _IV + KEY_LENGTH
_BUNDLE: Final = _SALT + _NONCE + 3 * KEY_LENGTH + GCM_TAG_LENGTH
_BUNDLE_INFO: Final = b"link_code_pairing_key_bundle_encryption_key"
_ADV_INFO: Final = b"adv_secret"
_MAX_REF: Final = 512
_MIN_PHONE, _MAX_PHONE = 7, 15  # digits; E.164 ends at 15

_WRAPPED_COMPANION: Final = "link_code_pairing_wrapped_companion_ephemeral_pub"
_WRAPPED_PRIMARY: Final = "link_code_pairing_wrapped_primary_ephemeral_pub"
_REF: Final = "link_code_pairing_ref"


# The code.


def encode_code(data: bytes) -> str:
    """Write 5 bytes as 8 characters, most significant bits first."""
    number = int.from_bytes(data, "big")
    return "".join(ALPHABET[number >> shift & 31] for shift in range(35, -1, -5))


def generate_code(entropy: Entropy) -> str:
    """Make a new code from 5 bytes of entropy."""
    return encode_code(entropy(5))


def parse_code(text: str) -> str:
    """Read a code as a person typed it: any case, with or without the dash. Raises `ValueError`."""
    code = text.strip().upper().replace("-", "").replace(" ", "")
    if len(code) != CODE_LENGTH or not set(code) <= set(ALPHABET):
        raise ValueError("a linking code has 8 characters of its alphabet")
    return code


def display_code(code: str) -> str:
    """Write a code as people read it: `ABCD-EFGH`."""
    return f"{code[:4]}-{code[4:]}"


def is_linkable_phone(phone: str) -> bool:
    """Whether this is an international number in digits alone: 7 to 15 of them, not starting with 0."""
    return phone.isascii() and phone.isdigit() and _MIN_PHONE <= len(phone) <= _MAX_PHONE and phone[0] != "0"


def derive_key(code: str, salt: bytes) -> bytes:
    """Stretch the code (8 characters, no dash) with a salt (32 bytes) into a key (32 bytes).

    Takes about 0.1 s by design: run it in a thread.
    """
    return pbkdf2_sha256(code.encode(), salt, _ITERATIONS, KEY_LENGTH)


@dataclass(frozen=True, slots=True, repr=False)
class LinkingSecret:
    """What one side keeps of one attempt: the code, the key stretched from it with `salt`, and an ephemeral pair.

    `key` and `salt` have 32 bytes, `iv` 16. Memory only; dropped after pairing.
    """

    code: str
    key: bytes
    salt: bytes
    iv: bytes
    ephemeral: KeyPair

    @classmethod
    def derive(cls, code: str, entropy: Entropy) -> LinkingSecret:
        """Make a secret for a code with fresh salt, iv and ephemeral pair; slow as `derive_key`."""
        salt, iv = entropy(_SALT), entropy(_IV)
        return cls(code, derive_key(code, salt), salt, iv, generate_keypair(entropy))

    @property
    def wrapped_ephemeral(self) -> bytes:
        """Our ephemeral public key as it travels: salt, iv, AES-256-CTR (80 bytes)."""
        return self.salt + self.iv + aes_ctr(self.key, self.iv, self.ephemeral.public)

    def __repr__(self) -> str:
        return "LinkingSecret(...)"


def salt_of(wrapped: bytes) -> bytes:
    """Return the salt (32 bytes) that opens a wrapped ephemeral key. Raises `RemoteProtocolError` unless 80 bytes."""
    if len(wrapped) != _WRAPPED:
        raise RemoteProtocolError(f"a wrapped ephemeral key of {len(wrapped)} bytes")
    return wrapped[:_SALT]


def unwrap_ephemeral(wrapped: bytes, key: bytes) -> bytes:
    """Read the other side's ephemeral public key with the stretched key; a wrong code gives a wrong key, not an error.

    Raises `RemoteProtocolError` unless `wrapped` has 80 bytes.
    """
    salt_of(wrapped)
    return aes_ctr(key, wrapped[_SALT : _SALT + _IV], wrapped[_SALT + _IV :])


# Stage 1: companion_hello


@dataclass(frozen=True, slots=True, repr=False)
class CompanionHello:
    """A companion asks to be linked to `phone` (digits); `wrapped_ephemeral` has 80 bytes, `noise_public` 32."""

    phone: str
    wrapped_ephemeral: bytes
    noise_public: bytes
    platform_id: str
    platform_display: str
    should_push: bool = True


def build_companion_hello(request_id: str, hello: CompanionHello) -> Node:
    """Ask the server to announce us to the phone."""
    attrs: dict[str, str | Jid] = {
        "jid": Jid(hello.phone, PN_SERVER),
        "stage": "companion_hello",
        "should_show_push_notification": "true" if hello.should_push else "false",
    }
    children = (
        Node(_WRAPPED_COMPANION, {}, hello.wrapped_ephemeral),
        Node("companion_server_auth_key_pub", {}, hello.noise_public),
        Node("companion_platform_id", {}, hello.platform_id.encode()),
        Node("companion_platform_display", {}, hello.platform_display.encode()),
        # One zero byte as whatsmeow sends it; Baileys sends the text 0. Its value means nothing.
        Node("link_code_pairing_nonce", {}, b"\x00"),
    )
    return build_request(request_id, "set", MD_XMLNS, Node(REGISTRATION, attrs, children))


def companion_hello(phone: str, secret: LinkingSecret, noise_public: bytes, profile: ClientProfile) -> CompanionHello:
    """Put a companion's hello together."""
    return CompanionHello(phone, secret.wrapped_ephemeral, noise_public, str(profile.client_type), profile.display_name)


def parse_companion_hello(request: Node) -> CompanionHello:
    """Read a companion's hello on the server's side. Raises `RemoteProtocolError`."""
    body, jid = _stage(request, "companion_hello")
    wrapped = _bytes_of(body, _WRAPPED_COMPANION, _WRAPPED)
    return CompanionHello(
        jid.user,
        wrapped,
        _bytes_of(body, "companion_server_auth_key_pub", KEY_LENGTH),
        _text_of(body, "companion_platform_id"),
        _text_of(body, "companion_platform_display"),
        body.attrs.get("should_show_push_notification") == "true",
    )


def build_linking_ref(request: Node, ref: bytes) -> Node:
    """Answer a companion's hello with the ref of this attempt."""
    child = Node(REGISTRATION, {"stage": "companion_hello"}, (Node(_REF, {}, ref),))
    return build_result(request, child)


def parse_linking_ref(answer: Node) -> bytes:
    """Read the ref of this attempt (1 to 512 bytes). Raises `RemoteProtocolError`."""
    return _ref_of(_registration(answer))


# Stage 2: primary_hello


@dataclass(frozen=True, slots=True, repr=False)
class PrimaryHello:
    """The phone's turn: its wrapped ephemeral key (80 bytes), its identity (32 bytes) and the ref."""

    wrapped_ephemeral: bytes
    primary_identity: bytes
    ref: bytes


def build_primary_hello(notification_id: str, hello: PrimaryHello, *, server_unix: int) -> Node:
    """Forward the phone's hello to the companion."""
    children = (
        Node(_WRAPPED_PRIMARY, {}, hello.wrapped_ephemeral),
        Node("primary_identity_pub", {}, hello.primary_identity),
        Node(_REF, {}, hello.ref),
    )
    return _notification(notification_id, server_unix, Node(REGISTRATION, {"stage": "primary_hello"}, children))


def parse_primary_hello(notification: Node) -> PrimaryHello:
    """Read the phone's hello. Raises `RemoteProtocolError`."""
    body = _registration(notification)
    return PrimaryHello(
        _bytes_of(body, _WRAPPED_PRIMARY, _WRAPPED),
        _bytes_of(body, "primary_identity_pub", KEY_LENGTH),
        _ref_of(body),
    )


def build_refresh_code(notification_id: str, *, server_unix: int) -> Node:
    """Ask the companion for a new code."""
    return _notification(notification_id, server_unix, Node(REGISTRATION, {"stage": "refresh_code"}))


def linking_stage(notification: Node) -> str | None:
    """Return the stage a `link_code_companion_reg` notification speaks of, `None` for every other stanza."""
    if notification.tag != "notification" or notification.attrs.get("type") != REGISTRATION:
        return None
    body = notification.child(REGISTRATION)
    return None if body is None else body.reader().optional_string("stage")


# Stage 3: companion_finish


@dataclass(frozen=True, slots=True, repr=False)
class CompanionFinish:
    """The companion's last word: the sealed key bundle (156 bytes), its identity (32 bytes) and the ref."""

    phone: str
    bundle: bytes
    companion_identity: bytes
    ref: bytes


def seal_bundle(
    ephemeral: KeyPair, identity: KeyPair, primary_ephemeral: bytes, primary_identity: bytes, entropy: Entropy
) -> tuple[bytes, bytes]:
    """Return the companion's key bundle (156 bytes) and the new ADV secret (32 bytes).

    Raises `RemoteProtocolError` for a peer key that gives no shared secret.
    """
    shared = x25519(ephemeral.private, primary_ephemeral)
    identity_shared = x25519(identity.private, primary_identity)
    random, salt, nonce = entropy(KEY_LENGTH), entropy(_SALT), entropy(_NONCE)
    key = hkdf_sha256(shared, salt=salt, info=_BUNDLE_INFO, length=KEY_LENGTH)
    bundle = salt + nonce + aes_gcm_encrypt(key, nonce, identity.public + primary_identity + random)
    return bundle, _adv_secret(shared, identity_shared, random)


def open_bundle(
    bundle: bytes, ephemeral: KeyPair, identity: KeyPair, companion_ephemeral: bytes, companion_identity: bytes
) -> bytes:
    """Open the companion's key bundle on the phone's side; return the new ADV secret (32 bytes).

    `ephemeral` and `identity` are the phone's. Raises `RemoteProtocolError` where the code was wrong, or the bundle
    names other identities.
    """
    if len(bundle) != _BUNDLE:
        raise RemoteProtocolError(f"a key bundle of {len(bundle)} bytes")
    shared = x25519(ephemeral.private, companion_ephemeral)
    salt, nonce, sealed = bundle[:_SALT], bundle[_SALT : _SALT + _NONCE], bundle[_SALT + _NONCE :]
    key = hkdf_sha256(shared, salt=salt, info=_BUNDLE_INFO, length=KEY_LENGTH)
    try:
        opened = aes_gcm_decrypt(key, nonce, sealed)
    except AuthenticationFailed:
        raise RemoteProtocolError("the key bundle does not open: a wrong linking code") from None
    if not constant_time_equal(opened[: 2 * KEY_LENGTH], companion_identity + identity.public):
        raise RemoteProtocolError("the key bundle names other identities")
    return _adv_secret(shared, x25519(identity.private, companion_identity), opened[2 * KEY_LENGTH :])


def _adv_secret(shared: bytes, identity_shared: bytes, random: bytes) -> bytes:
    return hkdf_sha256(shared + identity_shared + random, info=_ADV_INFO, length=KEY_LENGTH)


def build_companion_finish(request_id: str, finish: CompanionFinish) -> Node:
    """Send the key bundle; answered with an empty result, or with 400 when the code was wrong."""
    attrs: dict[str, str | Jid] = {"jid": Jid(finish.phone, PN_SERVER), "stage": "companion_finish"}
    children = (
        Node("link_code_pairing_wrapped_key_bundle", {}, finish.bundle),
        Node("companion_identity_public", {}, finish.companion_identity),
        Node(_REF, {}, finish.ref),
    )
    return build_request(request_id, "set", MD_XMLNS, Node(REGISTRATION, attrs, children))


def parse_companion_finish(request: Node) -> CompanionFinish:
    """Read the key bundle on the server's side. Raises `RemoteProtocolError`."""
    body, jid = _stage(request, "companion_finish")
    return CompanionFinish(
        jid.user,
        _bytes_of(body, "link_code_pairing_wrapped_key_bundle", _BUNDLE),
        _bytes_of(body, "companion_identity_public", KEY_LENGTH),
        _ref_of(body),
    )


def _notification(notification_id: str, server_unix: int, body: Node) -> Node:
    attrs: dict[str, str | Jid] = {
        "from": SERVER,
        "type": REGISTRATION,
        "id": notification_id,
        "t": str(server_unix),
    }
    return Node("notification", attrs, (body,))


def _registration(node: Node) -> Node:
    body = node.child(REGISTRATION)
    if body is None:
        raise RemoteProtocolError(f"<{node.tag[:32]}> speaks of no linking code")
    return body


def _stage(request: Node, stage: str) -> tuple[Node, Jid]:
    body = _registration(request)
    reader = body.reader()
    jid = reader.jid("jid")
    reader.check()
    if body.attrs.get("stage") != stage or not is_linkable_phone(jid.user):
        raise RemoteProtocolError(f"not a {stage} for a phone number")
    return body, jid


def _bytes_of(body: Node, tag: str, length: int) -> bytes:
    child = body.child(tag)
    # Text is refused: the three contents are keys, and whatsmeow wants them as bytes too.
    if child is None or not isinstance(child.content, bytes) or len(child.content) != length:
        raise RemoteProtocolError(f"{tag} does not have {length} bytes")
    return child.content


def _text_of(body: Node, tag: str) -> str:
    child = body.child(tag)
    return "" if child is None else child.text_content()


def _ref_of(body: Node) -> bytes:
    child = body.child(_REF)
    if child is None or not isinstance(child.content, bytes) or not 0 < len(child.content) <= _MAX_REF:
        raise RemoteProtocolError("a linking stanza without its ref")
    return child.content
