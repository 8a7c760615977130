"""From the protobuf message of a peer to what it says: unwrapped, named, and as the JSON that a customer reads.

Rule: every byte here was chosen by somebody else. Garbage raises `RemoteProtocolError` and nothing else; what is read
is bounded in depth, number and length; no key of a medium and no secret gets into a body.

Source: WhatsApp Web, as whatsmeow and Baileys do it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from google.protobuf.unknown_fields import UnknownFieldSet

from whatisup.errors import LocalProtocolError, RemoteProtocolError
from whatisup.protocol.content.describe import Body, Key, Reader, Said, describe, read_key, unknown
from whatisup.protocol.content.secrets import SECRET_LENGTH, Addon, UseCase, open_addon
from whatisup.wire.message import (
    FutureProofMessage,
    Message,
    PeerDataOperationRequestType,
    PollVoteMessage,
    ProtocolMessage,
    ReactionMessage,
    parse,
)

__all__ = ["MAX_WRAPPERS", "Content", "Key", "decrypt_vote", "merge", "normalise", "reveal"]

MAX_WRAPPERS: Final = 5
"""Wrappers that are taken off one message; what is wrapped deeper is `unknown`. As Baileys."""


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
    `message` is the unwrapped message, serialized, without the sender key. `addon` is the encrypted part of a content
    that needs the target's secret to be read (see `reveal`); until then what it would tell is `None` in the body.
    """

    kind: str
    body: Body | None = field(repr=False)
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
    if len(plaintexts) == 1:
        return plaintexts[0]
    merged = Message()
    for plaintext in plaintexts:
        merged.MergeFrom(parse(Message, plaintext))
    return merged.SerializeToString()


def normalise(message: bytes, *, is_own: bool, is_own_phone: bool) -> Content:
    """Read an unpadded plaintext: `is_own` if our own account sent it, `is_own_phone` if its device 0 did.

    Raises `RemoteProtocolError` for garbage, and for a device-sent wrapper of anybody else.
    """
    unwrapped = _unwrap(parse(Message, message), is_own)
    inner = unwrapped.message
    if unwrapped.content is None:
        said = _without_content(inner)
    elif unwrapped.content[0] == "protocolMessage":
        said = _protocol(unwrapped.content[1])
    else:
        said = describe(*unwrapped.content)
    is_self_only = said.kind in _SELF_ONLY
    if is_self_only and not (is_own and (is_own_phone or said.kind not in _PHONE_ONLY)):
        said = Said("")
    context = inner.messageContextInfo
    if said.body is not None:
        _mark(said.body, unwrapped.wrappers, inner)
    return Content(
        said.kind,
        said.body,
        said.target,
        frozenset(unwrapped.wrappers),
        unwrapped.destination,
        context.messageSecret if len(context.messageSecret) == SECRET_LENGTH else None,
        unwrapped.skdm,
        inner.SerializeToString(),
        is_self_only,
        said.addon,
    )


def reveal(
    content: Content, *, secret: bytes, senders: Sequence[str], modifiers: Sequence[str], options: Sequence[str] = ()
) -> Content:
    """Return the content with its add-on read: a poll vote, an encrypted reaction or an encrypted edit.

    `secret` is the target's (32 bytes); `senders` are the JIDs that the target's author may have used then, `modifiers`
    those of this content's sender (non-device; LID and PN). `options` are the names of a poll's options; a vote that
    chose others counts them as `unknown_options`. Raises `AuthenticationFailed` if no combination opens it,
    `RemoteProtocolError` if what it holds is garbage, and `LocalProtocolError` without an add-on.
    """
    if content.addon is None or content.body is None:
        raise LocalProtocolError("this content has nothing to reveal")
    plaintext = open_addon(content.addon, secret=secret, senders=senders, modifiers=modifiers)
    return replace(content, body=content.body | _REVEALERS[content.addon.use_case](plaintext, options), addon=None)


def decrypt_vote(
    message: bytes, *, secret: bytes, senders: Sequence[str], modifiers: Sequence[str], options: Sequence[str]
) -> list[str]:
    """Return the chosen option names of a serialized message that holds a poll vote; errors as `reveal`."""
    vote = normalise(message, is_own=False, is_own_phone=False)
    if vote.kind != "poll_vote":
        raise LocalProtocolError("this message is no vote")
    body = reveal(vote, secret=secret, senders=senders, modifiers=modifiers, options=options).body
    names: list[str] = (body or {})["options"]
    return names


# Unwrapping

_BESIDE_CONTENT: Final = frozenset(
    {"messageContextInfo", "senderKeyDistributionMessage", "fastRatchetKeySenderKeyDistributionMessage"}
)


def _slug(name: str) -> str:
    words: str = re.sub(r"Message(V\d+(Extension)?)?$", "", name)
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", words).lower()


# Every field of `Message` that wraps another one -> its name in `wrappers`.
_WRAPPERS: Final = {
    name: _slug(name)
    for name, descriptor in Message.DESCRIPTOR.fields_by_name.items()
    if descriptor.message_type is FutureProofMessage.DESCRIPTOR
} | {"deviceSentMessage": "device_sent"}


@dataclass(slots=True)
class _Unwrapped:
    """How far the unwrapping got: `content` is the name and value of the content field of `message`."""

    message: Message
    content: tuple[str, Any] | None = None
    wrappers: list[str] = field(default_factory=list)
    destination: str | None = None
    skdm: tuple[str, bytes] | None = None


def _unwrap(outer: Message, is_own: bool) -> _Unwrapped:
    state = _Unwrapped(outer)
    while True:
        _take_sender_key(state)
        state.content = _first_content(state.message)
        if state.content is None or state.content[0] not in _WRAPPERS:
            return state
        name, wrapper = state.content
        if name == "deviceSentMessage":
            if not is_own:
                raise RemoteProtocolError("somebody else sent a copy that only our own devices send")
            state.destination = wrapper.destinationJid or None
        if len(state.wrappers) == MAX_WRAPPERS or not wrapper.HasField("message"):
            return state
        state.wrappers.append(_WRAPPERS[name])
        inner = wrapper.message
        if state.message.HasField("messageContextInfo") and not inner.HasField("messageContextInfo"):
            inner.messageContextInfo.CopyFrom(state.message.messageContextInfo)
        state.message = inner


def _first_content(message: Message) -> tuple[str, Any] | None:
    for descriptor, value in message.ListFields():
        if descriptor.name not in _BESIDE_CONTENT:
            return descriptor.name, value
    return None


def _take_sender_key(state: _Unwrapped) -> None:
    message = state.message
    if message.HasField("senderKeyDistributionMessage"):
        skdm = message.senderKeyDistributionMessage
        if skdm.groupId and skdm.axolotlSenderKeyDistributionMessage:
            state.skdm = (skdm.groupId, skdm.axolotlSenderKeyDistributionMessage)
        message.ClearField("senderKeyDistributionMessage")


def _without_content(message: Message) -> Said:
    newer = UnknownFieldSet(message)
    return unknown(f"field_{newer[0].field_number}") if len(newer) else Said("")


def _mark(body: Body, wrappers: Sequence[str], message: Message) -> None:
    if "view_once" in wrappers:
        body["view_once"] = True
    association = message.messageContextInfo.messageAssociation
    if association.associationType == association.MEDIA_ALBUM:
        parent = read_key(association.parentMessageKey)
        if parent is not None:
            body["album"] = parent.wa_id


# Protocol messages

_P: Final = ProtocolMessage

_PROTOCOL_KINDS: Final[dict[int, str]] = {
    _P.EPHEMERAL_SETTING: "ephemeral_setting",
    _P.HISTORY_SYNC_NOTIFICATION: "history_sync",
    _P.APP_STATE_SYNC_KEY_SHARE: "app_state_key_share",
    _P.APP_STATE_SYNC_KEY_REQUEST: "app_state_key_request",
    _P.PEER_DATA_OPERATION_REQUEST_MESSAGE: "peer_request",
    _P.PEER_DATA_OPERATION_REQUEST_RESPONSE_MESSAGE: "peer_response",
    _P.LID_MIGRATION_MAPPING_SYNC: "lid_mapping",
}

# Anybody could forge these; what only a phone answers is taken from a phone only.
_PHONE_ONLY: Final = frozenset({"placeholder_response", "peer_response"})
_SELF_ONLY: Final = _PHONE_ONLY | {
    "history_sync",
    "app_state_key_share",
    "app_state_key_request",
    "peer_request",
    "lid_mapping",
}


def _protocol(protocol: ProtocolMessage) -> Said:
    target = read_key(protocol.key)
    # An absent type reads as 0, a revoke, for both clients we know.
    if protocol.type == _P.REVOKE and target is not None:
        return Said("revoke", {"type": "revoke", "message_id": target.wa_id}, target)
    if protocol.type == _P.MESSAGE_EDIT and target is not None:
        body = {"type": "edit", "message_id": target.wa_id, **_edited(protocol.editedMessage)}
        return Said("edit", body, target)
    kind = _PROTOCOL_KINDS.get(protocol.type, "protocol")
    response = protocol.peerDataOperationRequestResponseMessage
    if (
        kind == "peer_response"
        and response.peerDataOperationRequestType == PeerDataOperationRequestType.PLACEHOLDER_MESSAGE_RESEND
    ):
        kind = "placeholder_response"
    return Said(kind)


def _edited(message: Message) -> Body:
    """What an edit puts in the original's place; a caption is the text of what has one."""
    content = _unwrap(message, is_own=False).content
    if content is None or content[0] == "protocolMessage":
        return {"text": None}
    body = describe(*content).body or {}
    edited = {"text": body.get("text", body.get("caption"))}
    return edited | {name: body[name] for name in ("mentions", "truncated") if name in body}


# Add-ons


def _vote(plaintext: bytes, options: Sequence[str]) -> Body:
    names = {hashlib.sha256(name.encode()).digest(): name for name in options}
    chosen = set(parse(PollVoteMessage, plaintext).selectedOptions)
    body: Body = {"options": [name for digest, name in names.items() if digest in chosen]}
    if missing := len(chosen - names.keys()):
        body["unknown_options"] = missing
    return body


def _reaction(plaintext: bytes, _: Sequence[str]) -> Body:
    return {"emoji": Reader().text(parse(ReactionMessage, plaintext).text, 128)}


def _edit(plaintext: bytes, _: Sequence[str]) -> Body:
    message = parse(Message, plaintext)
    return _edited(message.protocolMessage.editedMessage if message.HasField("protocolMessage") else message)


_REVEALERS: Final[dict[UseCase, Callable[[bytes, Sequence[str]], Body]]] = {
    UseCase.POLL_VOTE: _vote,
    UseCase.REACTION: _reaction,
    UseCase.MESSAGE_EDIT: _edit,
}
