"""What our own devices tell each other beside the conversation: requests to the phone and its answers, keys, history.

Rule: builders give a serialized `Message` without padding, readers take the `message` of a `Content` of that kind.
Whoever reads has checked who sent it (`normalise` does): anybody could make one of these. Readers raise
`RemoteProtocolError` and are bounded.

Source: WhatsApp Web, as whatsmeow and Baileys do it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


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
    """Ask the phone for a message that we cannot read."""
    raise NotImplementedError


def placeholder_resend_response(request_id: str, messages: Sequence[ResentMessage]) -> bytes:
    """Answer `placeholder_resend_request`, as the phone; `request_id` is the id of its stanza."""
    raise NotImplementedError


def history_notification(notice: HistoryNotice) -> bytes:
    """Tell a companion of a piece of history, as the phone."""
    raise NotImplementedError


def empty_history() -> bytes:
    """Return a `HistorySync` of the initial kind that holds nothing, deflated as `HistoryNotice.inline` wants it."""
    raise NotImplementedError


def app_state_key_request(key_ids: Sequence[bytes]) -> bytes:
    """Ask the phone for keys of app state."""
    raise NotImplementedError


def app_state_key_share(keys: Sequence[AppStateKey]) -> bytes:
    """Hand keys of app state to a companion, as the phone."""
    raise NotImplementedError


def lid_mapping_sync(pairs: Sequence[tuple[str, str]]) -> bytes:
    """Tell a companion which (PN user digits, LID user digits) are one person, as the phone."""
    raise NotImplementedError


def read_history_notification(message: bytes) -> HistoryNotice:
    """Read a `history_sync`."""
    raise NotImplementedError


def read_app_state_keys(message: bytes) -> tuple[AppStateKey, ...]:
    """Read an `app_state_key_share`; keys without an id or data are left out."""
    raise NotImplementedError


def read_key_request(message: bytes) -> tuple[bytes, ...]:
    """Read the key ids of an `app_state_key_request`."""
    raise NotImplementedError


def read_placeholder_response(message: bytes) -> PlaceholderAnswer:
    """Read a `placeholder_response`."""
    raise NotImplementedError


def read_peer_request(message: bytes) -> PeerRequest:
    """Read a `peer_request`."""
    raise NotImplementedError


def read_lid_mapping(message: bytes) -> tuple[tuple[str, str], ...]:
    """Read a `lid_mapping`: pairs of (PN user digits, LID user digits), the newest LID where there are two."""
    raise NotImplementedError
