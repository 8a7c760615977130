"""Messages as clients send them and see them.

Rule: what is said is a body of `whatisup.protocol.content`, the same shape in requests, replies and events.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias

from msgspec import Meta

from api.schemas.addresses import ADDRESS_PATTERN, CHAT_PATTERN, MAX_ADDRESS, read_address, read_chat
from api.schemas.parse import Invalid, check_text
from api.schemas.payloads import ChatData
from api.schemas.replies import Reply, Time
from api.schemas.requests import Cursor, Limit, Request
from api.schemas.times import iso, iso_or_none, unix_ms
from whatisup.jid import Jid
from whatisup.protocol.content.bodies import Body
from whatisup.store import Message, MessageStatus, Moment, payloads

MAX_EXPIRES_S: Final = 2_592_000

MEDIA_TYPES: Final = ("image", "audio", "video", "document", "sticker")

Address: TypeAlias = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_ADDRESS,
        description="A number with its country code (`+`, spaces and dashes are forgiven), …@s.whatsapp.net or …@lid.",
        extra_json_schema={"pattern": ADDRESS_PATTERN},
    ),
]
Chat: TypeAlias = Annotated[
    str,
    Meta(
        max_length=MAX_ADDRESS,
        description="A number, or a chat's JID.",
        extra_json_schema={"pattern": CHAT_PATTERN},
    ),
]
WaId: TypeAlias = Annotated[str, Meta(description="WhatsApp's id of the message: its author's device made it.")]
ClientRef: TypeAlias = Annotated[str, Meta(description="What you sent as `client_ref`.")]
Source: TypeAlias = Literal["api", "phone", "contact"]


class SendMessage(Request, frozen=True):
    """A message to one person. `client_ref` comes back in everything that is said about the message."""

    LATER: ClassVar[Mapping[tuple[str, str], str]] = {
        ("body.type", tag): "media_not_supported_yet" for tag in MEDIA_TYPES
    }

    to: Address
    body: Body
    client_ref: Annotated[str, Meta(min_length=1, max_length=255, description="Yours; need not be unique.")] | None = (
        None
    )
    expires_in: (
        Annotated[int, Meta(ge=1, le=MAX_EXPIRES_S, description="Seconds it may wait to be sent; then it fails.")]
        | None
    ) = None

    def __post_init__(self) -> None:
        if self.client_ref is not None:
            check_text("client_ref", self.client_ref)
        read_address(self.to, "to")

    @property
    def chat(self) -> Jid:
        """The person's JID."""
        return read_address(self.to, "to")


class SetPresenceRequest(Request, frozen=True):
    """What the chat is shown; `typing` and `recording` end by themselves."""

    presence: Literal["typing", "recording", "paused"]


class MessagesQuery(Request, frozen=True):
    """Which of an instance's messages, and where in the list to go on."""

    chat: Chat | None = None
    direction: Annotated[Literal["in", "out"], Meta(description="Only what was received, or sent.")] | None = None
    since: (
        Annotated[
            str,
            Meta(
                max_length=40,
                description="Only those created then or later; ISO 8601.",
                extra_json_schema={"format": "date-time"},
            ),
        ]
        | None
    ) = None
    limit: Limit = 50
    cursor: Cursor | None = None

    def __post_init__(self) -> None:
        _ = self.chat_jid, self.since_ms

    @property
    def chat_jid(self) -> Jid | None:
        """The chat's JID, if one was named."""
        return None if self.chat is None else read_chat(self.chat, "chat")

    @property
    def since_ms(self) -> int | None:
        """`since` in unix milliseconds."""
        if self.since is None:
            return None
        try:
            return unix_ms(self.since)
        except ValueError as error:
            raise Invalid(f"`since` is no time: {error}"[:200], field="since") from None


class MessageQuery(Request, frozen=True):
    """The chat, where the path names a message by WhatsApp's id."""

    chat: Chat | None = None

    def __post_init__(self) -> None:
        _ = self.chat_jid

    @property
    def chat_jid(self) -> Jid | None:
        """The chat's JID, if one was named."""
        return None if self.chat is None else read_chat(self.chat, "chat")


class AcceptedMessage(Reply, frozen=True):
    """The message is stored and will be sent, or fail with an event that says why."""

    message_id: str
    wa_message_id: WaId
    client_ref: ClientRef | None
    status: MessageStatus


class FailureBody(Reply, frozen=True):
    """Why a message failed or could not be read: a stable slug, and a sentence."""

    code: str
    message: str | None


class MessageBody(Reply, frozen=True, rename={"from_": "from"}):
    """One message, either way."""

    message_id: str
    wa_message_id: WaId
    instance_id: str
    direction: Literal["in", "out"]
    source: Annotated[Source, Meta(description="phone: typed on a device of the account itself.")]
    chat: ChatData
    from_: Annotated[str, Meta(description="The author: digits, or <lid>@lid.")]
    kind: Annotated[str, Meta(description="What it is: the body's `type`, or what there is no body for.")]
    body: Annotated[dict[str, Any], Meta(description="Null once it expired, or while it cannot be read.")] | None
    body_expired: bool
    status: MessageStatus
    error: FailureBody | None
    client_ref: ClientRef | None
    push_name: Annotated[str, Meta(description="The name that the author goes by.")] | None
    is_flagged: Annotated[bool, Meta(description="Another message has the same id and says something else.")]
    created_at: Annotated[Time, Meta(description="When we took it.")]
    sent_at: Annotated[Time, Meta(description="When WhatsApp took it.")] | None

    @classmethod
    def of(cls, row: Message) -> MessageBody:
        """Render a stored message."""
        return cls(**_message_fields(row))


class HistoryEntry(Reply, frozen=True):
    """One step of a message's delivery; `participant` where there are several recipients."""

    status: str
    participant: str | None
    at: Time


class MessageWithHistory(MessageBody, frozen=True):
    """One message and how it went, oldest step first."""

    history: list[HistoryEntry]

    @classmethod
    def after(cls, row: Message, history: Iterable[Moment]) -> MessageWithHistory:
        """Render a stored message and the steps of its delivery."""
        steps = [HistoryEntry(status=one.kind, participant=one.participant or None, at=iso(one.at)) for one in history]
        return cls(**_message_fields(row), history=steps)


def _message_fields(row: Message) -> dict[str, Any]:
    return {
        "message_id": row.id,
        "wa_message_id": row.wa_id,
        "instance_id": row.instance_id,
        "direction": row.direction,
        "source": row.source,
        "chat": ChatData(
            **payloads.chat_of({"chat": row.chat, "chat_phone": row.chat_phone, "chat_lid": row.chat_lid})
        ),
        "from_": payloads.name_of(row.author, row.author_phone),
        "kind": row.kind,
        "body": row.body,
        "body_expired": row.is_body_expired,
        "status": row.status,
        "error": None if row.reason is None else FailureBody(code=row.reason, message=row.detail),
        "client_ref": row.client_ref,
        "push_name": row.push_name,
        "is_flagged": row.is_flagged,
        "created_at": iso(row.created_at),
        "sent_at": iso_or_none(row.server_at),
    }


class MessagePage(Reply, frozen=True):
    """Messages, newest first."""

    data: list[MessageBody]
    next_cursor: str | None


class PresenceBody(Reply, frozen=True):
    """What the chat is shown now."""

    chat: str
    presence: str


class ContactExists(Reply, frozen=True):
    """Whether a number is on WhatsApp, and whose it is there."""

    exists: bool
    phone: Annotated[str, Meta(description="Digits.")] | None
    lid: Annotated[str, Meta(description="The hidden id's digits.")] | None
