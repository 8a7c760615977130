"""What the `data` of each event holds: the table that names every event there is.

Rule: an event that is not in `PAYLOADS` is not ours to tell; a test holds real events against it, field by field.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType

from api.schemas.replies import Reply, Time
from whatisup.lifecycle import Reason, State

UnixTime: TypeAlias = Annotated[int, Meta(description="Unix seconds, WhatsApp's time where there is one.")]
Content: TypeAlias = Annotated[
    dict[str, Any] | None,
    Meta(description="As in `POST …/messages`, and more kinds; null with `body_expired: true` once it is dropped."),
]
Name: TypeAlias = Annotated[str, Meta(description="Digits, or <lid>@lid where WhatsApp shows no number.")]


class InstanceStatusData(Reply, frozen=True):
    """An instance moved from one state to another."""

    status: State
    previous_status: State
    reason: Reason | None
    detail: str | None
    expires_at: Time | None


class InstanceConnectedData(Reply, frozen=True):
    """An instance is logged in."""

    phone_number: str | None


class InstanceDisconnectedData(Reply, frozen=True):
    """An instance lost its connection, or needs a person."""

    status: State
    reason: Reason | None
    detail: str | None
    expires_at: Time | None


class CrashLoopingData(Reply, frozen=True):
    """An instance crashes again and again; it is tried again later."""

    next_try_in_s: float


class QrUpdatedData(Reply, frozen=True):
    """A new QR is on offer."""

    code: str
    expires_at: Time
    qr: Annotated[str, Meta(description="A PNG as a data: URL.")] | UnsetType = UNSET


class ChatData(Reply, frozen=True):
    """The chat of a message; `phone` and `lid` (digits) as far as they are known."""

    jid: str
    phone: str | None
    lid: str | None
    type: Literal["user", "group", "broadcast", "newsletter"]


class _Incoming(Reply, frozen=True, rename={"from_": "from"}):
    message_id: str
    wa_message_id: str
    chat: ChatData
    from_: Name
    phone: str | None
    lid: str | None
    push_name: str | None
    timestamp: UnixTime
    received_at: Time
    is_backlog: Annotated[bool, Meta(description="It waited at WhatsApp while we were away.")]


class MessageReceivedData(_Incoming, frozen=True):
    """Somebody wrote."""

    body: Content
    is_flagged: Annotated[bool, Meta(description="Another message has the same id and says something else.")]
    body_expired: bool | UnsetType = UNSET
    view_once: bool | UnsetType = UNSET
    ephemeral: bool | UnsetType = UNSET
    resent_by: Annotated[str, Meta(description="`phone`: our own phone told what it said.")] | UnsetType = UNSET


class RetryData(Reply, frozen=True):
    """How often the sender was asked again, and whether we still ask."""

    count: int
    state: Literal["pending", "ended"]


class MessageUndecryptableData(_Incoming, frozen=True):
    """Somebody wrote, and it cannot be read (yet); `message.received` follows under the same id if it can be."""

    reason: str
    retry: RetryData
    hide: Annotated[bool, Meta(description="The sender wants no placeholder shown.")]
    source: Literal["contact", "phone"]


class UnprocessableData(Reply, frozen=True):
    """A stanza made no sense; it is kept sealed."""

    reason: str
    detail: str
    wa_message_id: str | None


class _Progress(Reply, frozen=True):
    message_id: str
    wa_message_id: str
    client_ref: str | None
    to: Name
    chat: ChatData
    status: str
    source: Literal["api", "phone"]
    request_id: str | None
    timestamp: UnixTime


class MessageSentData(_Progress, frozen=True):
    """WhatsApp took a message of ours; one that was typed on a device of the account comes with its body."""

    body: Content | UnsetType = UNSET
    received_at: Time | UnsetType = UNSET
    is_backlog: bool | UnsetType = UNSET
    is_flagged: bool | UnsetType = UNSET
    body_expired: bool | UnsetType = UNSET
    view_once: bool | UnsetType = UNSET
    ephemeral: bool | UnsetType = UNSET
    resent_by: str | UnsetType = UNSET


class MessageReceiptData(_Progress, frozen=True):
    """A device has a message of ours, or its user saw or heard it."""

    participant: Annotated[str, Meta(description="Who says so; empty in a chat of two.")]


class EventErrorData(Reply, frozen=True):
    """Why a message failed."""

    code: str
    message: str


class MessageFailedData(_Progress, frozen=True):
    """A message of ours will not be sent."""

    error: EventErrorData


class AccountRestrictedData(Reply, frozen=True):
    """WhatsApp limits whom this number may write to first, or lifts that again."""

    kind: str
    is_active: bool
    ends_at: Annotated[int, Meta(description="Unix seconds.")] | None
    code: Annotated[int, Meta(description="The error that told of it.")] | UnsetType | None = UNSET
    enforcement: str | UnsetType | None = UNSET
    quota: int | UnsetType | None = UNSET
    used: int | UnsetType | None = UNSET
    status: str | UnsetType | None = UNSET


class IdentityChangedData(Reply, frozen=True):
    """A contact has new keys, as after a new phone."""

    phone: str | None
    lid: str | None
    device: int


class WebhookDisabledData(Reply, frozen=True):
    """A webhook endpoint gets nothing any more, until it is enabled again."""

    endpoint_id: str
    url_host: str
    reason: Literal["gone", "failing"]
    last_error: str | None
    last_response_status: int | None
    failing_since: Time | None


class WebhookTestData(Reply, frozen=True):
    """Somebody asked for a test of a webhook endpoint; it goes there alone."""

    endpoint_id: str
    message: str


PAYLOADS: Final[Mapping[str, type[Struct]]] = {
    "instance.status": InstanceStatusData,
    "instance.connected": InstanceConnectedData,
    "instance.disconnected": InstanceDisconnectedData,
    "instance.crash_looping": CrashLoopingData,
    "qr.updated": QrUpdatedData,
    "message.received": MessageReceivedData,
    "message.undecryptable": MessageUndecryptableData,
    "message.unprocessable": UnprocessableData,
    "message.sent": MessageSentData,
    "message.delivered": MessageReceiptData,
    "message.read": MessageReceiptData,
    "message.played": MessageReceiptData,
    "message.failed": MessageFailedData,
    "account.restricted": AccountRestrictedData,
    "contact.identity_changed": IdentityChangedData,
    "webhook.disabled": WebhookDisabledData,
    "webhook.test": WebhookTestData,
}
