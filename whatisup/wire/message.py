"""The protobuf messages that devices send each other inside the encryption, and the one way to read them from a peer.

Rule: what a peer sent is read with `parse` and nothing else. The generated code is not imported past this file; the
command that makes it stands in `message.proto`.

Every field has presence, strings are checked while they are read, and what we do not know is kept: a message that is
read and written again is the same message. Reading and writing run in C and refuse more than 100 levels of nesting.
"""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import DecodeError
from google.protobuf.message import Message as AnyMessage

from whatisup.errors import RemoteProtocolError
from whatisup.wire.message_pb2 import (
    AlbumMessage,
    AppStateSyncKey,
    AppStateSyncKeyData,
    AppStateSyncKeyFingerprint,
    AppStateSyncKeyId,
    AppStateSyncKeyRequest,
    AppStateSyncKeyShare,
    AudioMessage,
    CommentMessage,
    ContactMessage,
    ContactsArrayMessage,
    ContextInfo,
    Conversation,
    DeviceSentMessage,
    DocumentMessage,
    EncCommentMessage,
    EncEventResponseMessage,
    EncReactionMessage,
    EventMessage,
    EventResponseMessage,
    ExtendedTextMessage,
    FutureProofMessage,
    GroupParticipant,
    HistorySync,
    HistorySyncMsg,
    HistorySyncNotification,
    HistorySyncType,
    ImageMessage,
    KeepInChatMessage,
    KeepType,
    LIDMigrationMapping,
    LIDMigrationMappingSyncMessage,
    LIDMigrationMappingSyncPayload,
    LiveLocationMessage,
    LocationMessage,
    Message,
    MessageAssociation,
    MessageContextInfo,
    MessageKey,
    Opaque,
    PeerDataOperationRequestMessage,
    PeerDataOperationRequestResponseMessage,
    PeerDataOperationRequestType,
    PhoneNumberToLIDMapping,
    PinInChatMessage,
    PollContentType,
    PollCreationMessage,
    PollEncValue,
    PollType,
    PollUpdateMessage,
    PollVoteMessage,
    ProtocolMessage,
    Pushname,
    ReactionMessage,
    SecretEncryptedMessage,
    SenderKeyDistributionMessage,
    StickerMessage,
    VideoMessage,
    WebMessageInfo,
)

__all__ = [
    "AlbumMessage",
    "AppStateSyncKey",
    "AppStateSyncKeyData",
    "AppStateSyncKeyFingerprint",
    "AppStateSyncKeyId",
    "AppStateSyncKeyRequest",
    "AppStateSyncKeyShare",
    "AudioMessage",
    "CommentMessage",
    "ContactMessage",
    "ContactsArrayMessage",
    "ContextInfo",
    "Conversation",
    "DeviceSentMessage",
    "DocumentMessage",
    "EncCommentMessage",
    "EncEventResponseMessage",
    "EncReactionMessage",
    "EventMessage",
    "EventResponseMessage",
    "ExtendedTextMessage",
    "FutureProofMessage",
    "GroupParticipant",
    "HistorySync",
    "HistorySyncMsg",
    "HistorySyncNotification",
    "HistorySyncType",
    "ImageMessage",
    "KeepInChatMessage",
    "KeepType",
    "LIDMigrationMapping",
    "LIDMigrationMappingSyncMessage",
    "LIDMigrationMappingSyncPayload",
    "LiveLocationMessage",
    "LocationMessage",
    "Message",
    "MessageAssociation",
    "MessageContextInfo",
    "MessageKey",
    "Opaque",
    "PeerDataOperationRequestMessage",
    "PeerDataOperationRequestResponseMessage",
    "PeerDataOperationRequestType",
    "PhoneNumberToLIDMapping",
    "PinInChatMessage",
    "PollContentType",
    "PollCreationMessage",
    "PollEncValue",
    "PollType",
    "PollUpdateMessage",
    "PollVoteMessage",
    "ProtocolMessage",
    "Pushname",
    "ReactionMessage",
    "SecretEncryptedMessage",
    "SenderKeyDistributionMessage",
    "StickerMessage",
    "VideoMessage",
    "WebMessageInfo",
    "parse",
]

M = TypeVar("M", bound=AnyMessage)


def parse(cls: type[M], data: bytes) -> M:
    """Read one message of that class, keeping fields we do not know. Raises `RemoteProtocolError`."""
    message = cls()
    try:
        message.ParseFromString(data)
    except DecodeError:
        raise RemoteProtocolError(f"a {cls.__name__} is broken") from None
    return message
