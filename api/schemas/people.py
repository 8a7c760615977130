"""Simulated people of the sandbox, as test keys drive them: the shapes of `/v1/sandbox/contacts`.

Rule: a person is known by the number; an instance stands for the number it is linked to.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta

from api.schemas.parse import Invalid, check_text
from api.schemas.replies import Reply, Time
from api.schemas.requests import InstanceId, Request, SandboxNumber
from api.schemas.times import iso, iso_or_none
from whatisup import control
from whatisup.protocol.content.bodies import Body

MAX_BURST = 100_000

WaId: TypeAlias = Annotated[
    str, Meta(pattern=r"^[!-~]+$(?!\n)", min_length=1, max_length=64, description="A `wa_message_id`.")
]
Position: TypeAlias = Annotated[int, Meta(ge=0, description="Go on after this `position`.")]


class CreateContact(Request, frozen=True, kw_only=True):
    """A simulated person; without `number` a free one is taken."""

    number: SandboxNumber | None = None
    name: Annotated[str, Meta(min_length=1, max_length=100, description="Its push name.")] | None = None
    persona: control.Persona = control.Persona.SILENT

    def __post_init__(self) -> None:
        if self.name is not None:
            check_text("name", self.name)


class _Addressed(Request, frozen=True, kw_only=True):
    """Whom it is for: one of your sandbox numbers, or the instance that is linked to it."""

    to: SandboxNumber | None = None
    instance_id: InstanceId | None = None

    def __post_init__(self) -> None:
        if (self.to is None) == (self.instance_id is None):
            raise Invalid("send `to` or `instance_id`, and not both", field="to")


class ContactSends(_Addressed, frozen=True, kw_only=True):
    """Let the person send a message; `body` is what `POST /v1/instances/{id}/messages` takes."""

    body: Body


class ContactVotes(_Addressed, frozen=True, kw_only=True):
    """Let the person vote in a poll; no options withdraw the vote."""

    wa_message_id: WaId
    options: Annotated[list[Annotated[str, Meta(min_length=1, max_length=100)]], Meta(max_length=12)]


class ContactReads(_Addressed, frozen=True, kw_only=True):
    """Let the person read a chat: these messages, or with none everything unread."""

    wa_message_ids: Annotated[tuple[WaId, ...], Meta(max_length=256)] = ()


class ContactTypes(_Addressed, frozen=True, kw_only=True):
    """Let the person be seen typing or recording, or pausing."""

    presence: Literal["typing", "recording", "paused"] = "typing"


class ContactNetwork(Request, frozen=True, kw_only=True):
    """Take the person's phone off the network, or back on it; meanwhile everything waits."""

    online: bool


class ContactPersona(Request, frozen=True, kw_only=True):
    """Give the person another persona."""

    persona: control.Persona


class ContactBurst(_Addressed, frozen=True, kw_only=True):
    """Let the person send `count` texts, `rate` a second (unset: at once): `text`, a blank and a number from 1."""

    count: Annotated[int, Meta(ge=1, le=MAX_BURST)]
    rate: Annotated[float, Meta(gt=0, le=10_000)] | None = None
    text: Annotated[str, Meta(min_length=1, max_length=1000)] = "burst"


class LogQuery(Request, frozen=True, kw_only=True):
    """Where in a log to go on, and how far."""

    after: Position = 0
    limit: Annotated[int, Meta(ge=1, le=control.MAX_PAGE, description="At most this many rows.")] = 100


class SandboxContact(Reply, frozen=True):
    """A simulated person: a phone of the sandbox, and how it behaves of its own accord."""

    number: str
    lid: str
    name: str | None
    persona: str
    is_online: bool
    created_at: Time

    @classmethod
    def of(cls, account: control.Account) -> SandboxContact:
        """Render a sandbox account."""
        return cls(
            number=account.number,
            lid=account.lid,
            name=account.name,
            persona=account.persona,
            is_online=account.is_online,
            created_at=iso(account.created_at),
        )


class SandboxContactPage(Reply, frozen=True):
    """Simulated people of the customer, oldest first."""

    data: list[SandboxContact]
    next_cursor: str | None


class ContactQueued(Reply, frozen=True):
    """The person's phone will send it, under this id."""

    wa_message_id: str


class BurstBody(Reply, frozen=True):
    """A burst as it stands; it is over when `done` is `count`."""

    id: int
    to: str
    count: int
    done: int
    rate: float | None
    text: str
    started_at: Time

    @classmethod
    def of(cls, burst: control.Burst) -> BurstBody:
        """Render a burst."""
        return cls(
            id=burst.id,
            to=burst.to,
            count=burst.count,
            done=burst.done,
            rate=burst.rate,
            text=burst.text,
            started_at=iso(burst.started_at),
        )


class BurstList(Reply, frozen=True):
    """The person's last bursts, oldest first."""

    data: list[BurstBody]


class ReceivedByContact(Reply, frozen=True):
    """One ciphertext that reached the person's phone: an id that was `read` twice was encrypted twice."""

    position: int
    wa_message_id: str
    chat: str
    number: Annotated[str, Meta(description="The sender's.")]
    lid: str
    device: int
    is_own: bool
    kind: str
    text: str | None
    body: dict[str, Any] | None
    ciphertext_sha256: str
    verdict: Annotated[str, Meta(description="read, duplicate or undecryptable.")]
    reason: str | None
    at: Time

    @classmethod
    def of(cls, row: control.ReceivedMessage) -> ReceivedByContact:
        """Render a row of the phone's log."""
        return cls(
            position=row.position,
            wa_message_id=row.id,
            chat=row.chat,
            number=row.number,
            lid=row.lid,
            device=row.device,
            is_own=row.is_own,
            kind=row.kind,
            text=row.text,
            body=row.body,
            ciphertext_sha256=row.ciphertext_sha256,
            verdict=row.verdict,
            reason=row.reason,
            at=iso(row.at),
        )


class ReceivedByContactLog(Reply, frozen=True):
    """What reached the person, oldest first; go on with `after`, the last position."""

    data: list[ReceivedByContact]


class ReceiptBody(Reply, frozen=True):
    """That a device has a message, as the sender's phone was told."""

    number: str
    device: int
    kind: str
    at: Time


class SentByContact(Reply, frozen=True):
    """A message of the person's: whether the server took it, and who has it."""

    position: int
    wa_message_id: str
    to: str
    kind: str
    text: str | None
    body: dict[str, Any] | None
    queued_at: Time
    acked_at: Time | None
    error: int | None
    failure: str | None
    receipts: list[ReceiptBody]

    @classmethod
    def of(cls, row: control.SentMessage) -> SentByContact:
        """Render a row of the phone's log."""
        return cls(
            position=row.position,
            wa_message_id=row.id,
            to=row.to,
            kind=row.kind,
            text=row.text,
            body=row.body,
            queued_at=iso(row.queued_at),
            acked_at=iso_or_none(row.acked_at),
            error=row.error,
            failure=row.failure,
            receipts=[
                ReceiptBody(number=one.number, device=one.device, kind=one.kind, at=iso(one.at)) for one in row.receipts
            ],
        )


class SentByContactLog(Reply, frozen=True):
    """What the person sent, oldest first; go on with `after`, the last position."""

    data: list[SentByContact]


class SeenByContact(Reply, frozen=True):
    """What the person was shown of somebody: composing, recording, paused, available or unavailable."""

    number: str
    device: int
    state: str
    at: Time

    @classmethod
    def of(cls, row: control.ChatState) -> SeenByContact:
        """Render a row of the phone's log."""
        return cls(number=row.number, device=row.device, state=row.state, at=iso(row.at))


class SeenByContactLog(Reply, frozen=True):
    """The last things the person was shown, oldest first."""

    data: list[SeenByContact]
