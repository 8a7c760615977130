"""What our own devices tell each other beside the conversation: requests to the phone and its answers, keys, history.

Rule: builders give a serialized `Message` without padding, readers take the `message` of a `Content` of that kind.
Whoever reads has checked who sent it (`normalise` does): anybody could make one of these. Readers raise
`RemoteProtocolError` and are bounded.

Source: WhatsApp Web, as whatsmeow and Baileys do it.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from whatisup.errors import RemoteProtocolError
from whatisup.wire.message import (
    AppStateSyncKeyFingerprint,
    AppStateSyncKeyShare,
    HistorySync,
    HistorySyncType,
    LIDMigrationMappingSyncPayload,
    Message,
    MessageKey,
    PeerDataOperationRequestMessage,
    PeerDataOperationRequestResponseMessage,
    PeerDataOperationRequestType,
    ProtocolMessage,
    WebMessageInfo,
    parse,
)

MAX_ITEMS: Final = 1_000
"""Most keys, messages or requests that one message is read for."""

MAX_PAIRS: Final = 100_000
"""Most LID mappings that one message is read for: an account's whole address book comes at once."""

_Request = PeerDataOperationRequestMessage
_Response = PeerDataOperationRequestResponseMessage


@dataclass(frozen=True, slots=True)
class MessageName:
    """One message as we name it: its chat, whether it is ours, its id, and its author in a group (non-device JIDs)."""

    chat: str
    from_me: bool
    wa_id: str
    participant: str | None = None


@dataclass(frozen=True, slots=True)
class HistoryNotice:
    """A piece of history is ready: its keys (32 bytes each) and path, or the whole of it inline (a zlib stream).

    `sync_type` is a `HistorySyncType` (0 initial, 2 full, 3 recent, 4 push names, …), `progress` 0..100.
    """

    sync_type: int
    chunk_order: int = 0
    progress: int | None = None
    direct_path: str | None = field(default=None, repr=False)
    media_key: bytes | None = field(default=None, repr=False)
    file_sha256: bytes | None = None
    file_enc_sha256: bytes | None = None
    file_length: int = 0
    enc_handle: str | None = field(default=None, repr=False)
    original_message_id: str | None = None
    inline: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class AppStateKey:
    """A key that app state is encrypted with: its id, `data` (32 bytes), and its serialized fingerprint."""

    key_id: bytes
    data: bytes = field(repr=False)
    timestamp: int = 0
    fingerprint: bytes = b""


@dataclass(frozen=True, slots=True)
class ResentMessage:
    """A message as the phone remembers it: its name, serialized `Message` and message secret (32 bytes), and when."""

    name: MessageName
    message: bytes | None = field(repr=False)
    unix_t: int | None = None
    push_name: str | None = None
    secret: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class PlaceholderAnswer:
    """What the phone answers to the request that had the stanza id `request_id`: the messages that it could find."""

    request_id: str
    messages: tuple[ResentMessage, ...]


@dataclass(frozen=True, slots=True)
class PeerRequest:
    """A companion asks its phone: `kind` is `placeholder_resend` (for `wanted`) or `other`."""

    kind: str
    wanted: tuple[MessageName, ...] = ()


def placeholder_resend_request(chat: str, from_me: bool, wa_id: str, participant: str | None = None) -> bytes:
    """Ask the phone for a message that we cannot read: its chat and, in groups, author (non-device JIDs)."""
    request = _Request(peerDataOperationRequestType=PeerDataOperationRequestType.PLACEHOLDER_MESSAGE_RESEND)
    name = MessageName(chat, from_me, wa_id, participant)
    request.placeholderMessageResendRequest.add(messageKey=_key(name))
    kind = ProtocolMessage.PEER_DATA_OPERATION_REQUEST_MESSAGE
    return _protocol(ProtocolMessage(type=kind, peerDataOperationRequestMessage=request))


def placeholder_resend_response(request_id: str, messages: Sequence[ResentMessage]) -> bytes:
    """Answer `placeholder_resend_request`, as the phone; `request_id` is the id of its stanza."""
    kind = PeerDataOperationRequestType.PLACEHOLDER_MESSAGE_RESEND
    response = _Response(peerDataOperationRequestType=kind, stanzaId=request_id)
    for message in messages:
        result = response.peerDataOperationResult.add()
        result.placeholderMessageResendResponse.webMessageInfoBytes = _web_message(message)
    answer = ProtocolMessage.PEER_DATA_OPERATION_REQUEST_RESPONSE_MESSAGE
    return _protocol(ProtocolMessage(type=answer, peerDataOperationRequestResponseMessage=response))


def history_notification(notice: HistoryNotice) -> bytes:
    """Tell a companion of a piece of history, as the phone."""
    protocol = ProtocolMessage(type=ProtocolMessage.HISTORY_SYNC_NOTIFICATION)
    history = protocol.historySyncNotification
    # HistorySyncType is open: a kind that is newer than our list is passed on as it is.
    history.syncType = notice.sync_type  # type: ignore[assignment]  # an open enumeration takes any int
    history.chunkOrder, history.fileLength = notice.chunk_order, notice.file_length
    for theirs, ours in _HISTORY_FIELDS.items():
        if (value := getattr(notice, ours)) is not None:
            setattr(history, theirs, value)
    return _protocol(protocol)


def empty_history() -> bytes:
    """Return a `HistorySync` of the initial kind that holds nothing, deflated as `HistoryNotice.inline` wants it."""
    return zlib.compress(HistorySync(syncType=HistorySyncType.INITIAL_BOOTSTRAP, progress=100).SerializeToString())


def app_state_key_request(key_ids: Sequence[bytes]) -> bytes:
    """Ask the phone for keys of app state."""
    protocol = ProtocolMessage(type=ProtocolMessage.APP_STATE_SYNC_KEY_REQUEST)
    for key_id in key_ids:
        protocol.appStateSyncKeyRequest.keyIds.add(keyId=key_id)
    return _protocol(protocol)


def app_state_key_share(keys: Sequence[AppStateKey]) -> bytes:
    """Hand keys of app state to a companion, as the phone."""
    share = AppStateSyncKeyShare()
    for key in keys:
        item = share.keys.add()
        item.keyId.keyId, item.keyData.keyData, item.keyData.timestamp = key.key_id, key.data, key.timestamp
        item.keyData.fingerprint.CopyFrom(parse(AppStateSyncKeyFingerprint, key.fingerprint))
    return _protocol(ProtocolMessage(type=ProtocolMessage.APP_STATE_SYNC_KEY_SHARE, appStateSyncKeyShare=share))


def lid_mapping_sync(pairs: Sequence[tuple[str, str]]) -> bytes:
    """Tell a companion which (PN user digits, LID user digits) are one person, as the phone."""
    payload = LIDMigrationMappingSyncPayload()
    for pn, lid in pairs:
        payload.pnToLidMappings.add(pn=int(pn), assignedLid=int(lid))
    protocol = ProtocolMessage(type=ProtocolMessage.LID_MIGRATION_MAPPING_SYNC)
    protocol.lidMigrationMappingSyncMessage.encodedMappingPayload = payload.SerializeToString()
    return _protocol(protocol)


def read_history_notification(message: bytes) -> HistoryNotice:
    """Read a `history_sync`."""
    history = _read(message).historySyncNotification
    present = {field.name: value for field, value in history.ListFields()}
    return HistoryNotice(
        sync_type=history.syncType,
        chunk_order=history.chunkOrder,
        file_length=history.fileLength,
        **{ours: present.get(theirs) for theirs, ours in _HISTORY_FIELDS.items()},
    )


def read_app_state_keys(message: bytes) -> tuple[AppStateKey, ...]:
    """Read an `app_state_key_share`; keys without an id or data are left out."""
    keys = _read(message).appStateSyncKeyShare.keys
    return tuple(
        AppStateKey(
            key.keyId.keyId, key.keyData.keyData, key.keyData.timestamp, key.keyData.fingerprint.SerializeToString()
        )
        for key in keys[:MAX_ITEMS]
        if key.keyId.keyId and key.keyData.keyData
    )


def read_key_request(message: bytes) -> tuple[bytes, ...]:
    """Read the key ids of an `app_state_key_request`."""
    return tuple(item.keyId for item in _read(message).appStateSyncKeyRequest.keyIds[:MAX_ITEMS] if item.keyId)


def read_placeholder_response(message: bytes) -> PlaceholderAnswer:
    """Read a `placeholder_response`; messages without a name are left out."""
    response = _read(message).peerDataOperationRequestResponseMessage
    pieces = [result.placeholderMessageResendResponse for result in response.peerDataOperationResult[:MAX_ITEMS]]
    found = [_read_web_message(piece.webMessageInfoBytes) for piece in pieces if piece.webMessageInfoBytes]
    return PlaceholderAnswer(response.stanzaId, tuple(item for item in found if item is not None))


def read_peer_request(message: bytes) -> PeerRequest:
    """Read a `peer_request`."""
    request = _read(message).peerDataOperationRequestMessage
    if request.peerDataOperationRequestType != PeerDataOperationRequestType.PLACEHOLDER_MESSAGE_RESEND:
        return PeerRequest("other")
    keys = [item.messageKey for item in request.placeholderMessageResendRequest[:MAX_ITEMS]]
    return PeerRequest("placeholder_resend", tuple(_name(key) for key in keys if key.id))


def read_lid_mapping(message: bytes) -> tuple[tuple[str, str], ...]:
    """Read a `lid_mapping`: pairs of (PN user digits, LID user digits), the newest LID where there are two."""
    payload = parse(LIDMigrationMappingSyncPayload, _read(message).lidMigrationMappingSyncMessage.encodedMappingPayload)
    if len(payload.pnToLidMappings) > MAX_PAIRS:
        raise RemoteProtocolError("that many LID mappings are no address book")
    pairs = ((pair.pn, pair.latestLid or pair.assignedLid) for pair in payload.pnToLidMappings)
    return tuple((str(pn), str(lid)) for pn, lid in pairs if pn and lid)


# Fields of a history notification that may be absent -> our name for them.
_HISTORY_FIELDS: Final = {
    "progress": "progress",
    "directPath": "direct_path",
    "mediaKey": "media_key",
    "fileSha256": "file_sha256",
    "fileEncSha256": "file_enc_sha256",
    "encHandle": "enc_handle",
    "originalMessageId": "original_message_id",
    "initialHistBootstrapInlinePayload": "inline",
}


def _protocol(protocol: ProtocolMessage) -> bytes:
    return Message(protocolMessage=protocol).SerializeToString()


def _read(message: bytes) -> ProtocolMessage:
    return parse(Message, message).protocolMessage


def _key(name: MessageName) -> MessageKey:
    return MessageKey(remoteJid=name.chat, fromMe=name.from_me, id=name.wa_id, participant=name.participant)


def _name(key: MessageKey) -> MessageName:
    return MessageName(key.remoteJid, key.fromMe, key.id, key.participant or None)


def _web_message(message: ResentMessage) -> bytes:
    info = WebMessageInfo(key=_key(message.name), pushName=message.push_name, messageSecret=message.secret)
    if message.message is not None:
        info.message.CopyFrom(parse(Message, message.message))
    if message.unix_t is not None:
        info.messageTimestamp = message.unix_t
    if message.name.participant is not None:
        info.participant = message.name.participant
    return info.SerializeToString()


def _read_web_message(data: bytes) -> ResentMessage | None:
    info = parse(WebMessageInfo, data)
    if not info.key.id:
        return None
    name = _name(info.key)
    if name.participant is None and info.participant:
        name = MessageName(name.chat, name.from_me, name.wa_id, info.participant)
    secret = info.messageSecret or info.message.messageContextInfo.messageSecret
    return ResentMessage(
        name,
        info.message.SerializeToString() if info.HasField("message") else None,
        info.messageTimestamp or None,
        info.pushName or None,
        secret or None,
    )
