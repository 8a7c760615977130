"""From the protobuf message of a peer to what it says: unwrapped, named, and as the JSON that a customer reads.

Rule: every byte here was chosen by somebody else. Garbage raises `RemoteProtocolError` and nothing else; what is read
is bounded in depth, number and length; no key of a medium and no secret gets into a body.

Source: WhatsApp Web, as whatsmeow and Baileys do it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from whatisup.protocol.content.secrets import Addon


@dataclass(frozen=True, slots=True)
class Key:
    """The message that a content is about, as its sender names it.

    `from_me` is true where the *sender* of the content wrote the original. `author` is who did, a JID as written, in
    groups and never trusted; `chat` likewise.
    """

    wa_id: str
    from_me: bool
    author: str | None = None
    chat: str | None = None


@dataclass(frozen=True, slots=True)
class Content:
    """What one message says.

    `kind` is the body's `type` where there is one to show. Otherwise `body` is `None`, and `kind` is `""` (nothing), or
    what the devices tell each other: `history_sync`, `app_state_key_share`, `app_state_key_request`,
    `placeholder_response`, `peer_response`, `peer_request`, `lid_mapping`, `ephemeral_setting`, `protocol` (any other).
    `is_self_only` tells that it is of the sort that only our own account may say; said by anybody else, or by another
    device than it takes, its `kind` is `""`.

    `target` is the message that this one is about. `wrappers` names the wrappers that were taken off (`view_once`,
    `ephemeral`, `edited`, `device_sent`, …), `destination` is what a device-sent one claims as its chat. `secret` is
    the message secret (32 bytes), `skdm` a sender key that came along: (group, Signal-level distribution message).
    `message` is the unwrapped message, serialized. `addon` is the encrypted part of a content that needs the target's
    secret to be read (see `reveal`); until then what it would tell is `None` in the body.
    """

    kind: str
    body: dict[str, Any] | None = field(repr=False)
    target: Key | None = None
    wrappers: frozenset[str] = frozenset()
    destination: str | None = None
    secret: bytes | None = field(default=None, repr=False)
    skdm: tuple[str, bytes] | None = field(default=None, repr=False)
    message: bytes = field(default=b"", repr=False)
    is_self_only: bool = False
    addon: Addon | None = field(default=None, repr=False)


def merge(plaintexts: Sequence[bytes]) -> bytes:
    """Return one serialized message from the unpadded plaintexts of one stanza, field by field, the later one winning.

    Raises `RemoteProtocolError`.
    """
    raise NotImplementedError


def normalise(message: bytes, *, is_own: bool, is_own_phone: bool) -> Content:
    """Read an unpadded plaintext: `is_own` if our own account sent it, `is_own_phone` if its device 0 did.

    Raises `RemoteProtocolError` for garbage, and for a device-sent wrapper of anybody else.
    """
    raise NotImplementedError


def reveal(
    content: Content, *, secret: bytes, senders: Sequence[str], modifiers: Sequence[str], options: Sequence[str] = ()
) -> Content:
    """Return the content with its add-on read: a poll vote, an encrypted reaction, edit, comment or event response.

    `secret` is the target's (32 bytes); `senders` are the JIDs that the target's author may have used then, `modifiers`
    those of this content's sender (non-device; LID and PN). `options` are a poll's option names. Raises
    `AuthenticationFailed` if no combination opens it, `RemoteProtocolError` if what it holds is garbage, and
    `LocalProtocolError` without an add-on.
    """
    raise NotImplementedError


def decrypt_vote(
    message: bytes, *, secret: bytes, senders: Sequence[str], modifiers: Sequence[str], options: Sequence[str]
) -> list[str]:
    """Return the chosen option names of a serialized message that holds a poll vote; errors as `reveal`."""
    raise NotImplementedError
